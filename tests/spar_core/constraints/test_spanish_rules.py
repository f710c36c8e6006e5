"""M-IFEval's Spanish rules, by hand."""

from types import SimpleNamespace

import pytest

from spar_core.constraints import check, kinds
from spar_core.constraints.multilingual import resources, spanish
from spar_core.errors import DataError
from spar_core.records import Constraint

LEAST, MOST = "al menos", "como máximo"


def met(kind: str, text: str, **arguments: object) -> bool:
    return check(Constraint.create(f"es:{kind}", **arguments), text)


@pytest.mark.parametrize(
    ("kind", "arguments", "passes", "fails"),
    [
        ("keywords:existence", {"keywords": ["niño"]}, "El NIÑO", "El nino"),
        ("keywords:frequency", {"keyword": "mar", "frequency": 2, "relation": MOST}, "mar y mar", "mar, mar, mar"),
        ("keywords:frequency", {"keyword": "mar", "frequency": 2, "relation": LEAST}, "mar y mar", "mar"),
        ("keywords:forbidden_words", {"forbidden_words": ["mar"]}, "marea", "la Mar"),
        ("keywords:letter_frequency", {"letter": "a", "let_frequency": 2, "let_relation": MOST}, "Ala", "Alá a A"),
        # Marks of lists and punctuation are no words, hyphens join.
        (
            "length_constraints:number_words",
            {"num_words": 4, "relation": MOST},
            "* El piña-colada,\n1. ¿La casa?",
            "a b c d e",
        ),
        ("length_constraints:number_words", {"num_words": 5, "relation": LEAST}, "a b c d e", "* a b c d"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "Uno\n***\nDos", "Uno"),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "por fin"},
            "Uno\n\n*Por* fin, dos",
            "Uno\n\nPor dos",
        ),
        # The relation is given, and not looked at.
        ("detectable_content:number_placeholders", {"num_placeholders": 2, "relation": MOST}, "[a] [b] [c]", "[a]"),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 1, "relation": MOST}, "*a* *b*", "a"),
        (
            "detectable_format:multiple_sections",
            {"section_spliter": "Sección", "num_sections": 1, "relation": LEAST},
            "Sección 1",
            "Seccion 1",
        ),
        ("detectable_content:postscript", {"postscript_marker": "P.D."}, "Bien. p. d. Adiós", "Bien. PD adiós"),
        ("detectable_content:postscript", {"postscript_marker": "Nota"}, "NOTA: adiós", "Adiós"),
        ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "* uno\n- dos", "- uno"),
        ("detectable_format:constrained_response", {}, "Pues sí. Quizás.", "Sí"),
        ("detectable_format:json_format", {}, "[1]", "[1"),
        ("detectable_format:title", {}, "<<Poema>>", "##Poema##"),
        ("combination:two_responses", {}, "Sí ****** No", "Sí"),
        ("combination:repeat_prompt", {"prompt_to_repeat": "Dime."}, "DIME. Vale", "Vale"),
        ("startend:end_checker", {"end_phrase": "Un saludo"}, 'Gracias. "un saludo."', "Un saludo. Gracias"),
        ("startend:end_checker", {"end_phrase": "Adiós"}, "Adiós", "Adiós.."),
        ("startend:quotation", {}, '"Sí"', "«Sí»"),
        ("punctuation:no_comma", {}, "Sí", "Sí, no"),
        ("punctuation:question_marks", {}, "¿Qué\ntal?", "Qué tal?"),
        ("punctuation:question_marks", {}, "¿? ¿Sí?", "¿ ? ¿"),
        ("punctuation:exclamation_marks", {}, "¡¡Hola!", "¡! Hola!"),
        (
            "change_case:capital_word_frequency",
            {"capital_frequency": 1, "capital_relation": MOST},
            "La ONU",
            "La ONU y la OTAN",
        ),
        ("special_character:tildes", {"num_words": 2, "relation": LEAST}, "Él está así-así", "Él esta aqui"),
        ("special_character:enie", {"let_frequency": 2}, "Niño pequeño, no", "Un ÑANDÚ"),
        ("special_character:dieresis", {"let_frequency": 1}, "El pingüino", "El pinguino"),
    ],
)
def test_rules(kind: str, arguments: dict[str, object], passes: str, fails: str) -> None:
    assert met(kind, passes, **arguments) is True
    assert met(kind, fails, **arguments) is False


def test_case_and_language() -> None:
    text = "el niño pequeño juega tranquilamente en el jardín de la casa"
    other = "the small child plays quietly in the garden of the house"
    assert met("change_case:spanish_lowercase", text) is True
    assert met("change_case:spanish_lowercase", other) is False
    assert met("change_case:spanish_capital", text.upper()) is True
    assert met("change_case:spanish_capital", text.upper().replace("Í", "í")) is False
    assert met("change_case:spanish_capital", other.upper()) is False
    assert met("change_case:spanish_capital", "1, 2") is True  # no letter is lower case, and no language is detected


def test_white_space_between_words_counts_as_the_published_tokenizer_has_it() -> None:
    assert spanish.words_of("El  niño, ¿verdad?") == ["El", " ", "niño", "verdad"]


def test_sentences_by_the_trained_model_of_the_detected_language(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def model(name: str) -> object:
        def cut(text: str) -> SimpleNamespace:
            asked.append((name, text))
            return SimpleNamespace(sents=iter(text.split("\n")))

        return cut

    monkeypatch.setattr(spanish, "trained_pipeline", model)
    spanish_text = "- El niño juega en el jardín.\n2. La casa es muy grande y bonita."
    assert met("length_constraints:number_sentences", spanish_text, num_sentences=2, relation=MOST) is True
    assert met("length_constraints:number_sentences", spanish_text, num_sentences=1, relation=MOST) is False
    english = "The small child plays quietly in the garden of the house."
    assert met("length_constraints:number_sentences", english, num_sentences=1, relation=LEAST) is True
    assert asked[0] == ("es_core_news_sm", "El niño juega en el jardín.\nLa casa es muy grande y bonita.")
    assert asked[-1][0] == "xx_sent_ud_sm"


def test_without_the_trained_model_there_is_no_verdict() -> None:  # no pipeline of that name can be installed
    resources.trained_pipeline.cache_clear()
    with pytest.raises(resources.CheckUnavailableError, match="spacy download no_such_model"):
        resources.trained_pipeline("no_such_model")


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(DataError, match="'al menos' or 'como máximo'"):
        met("keywords:frequency", "mar", keyword="mar", frequency=1, relation="less than")
    with pytest.raises(DataError, match="has no argument 'num'"):
        met("detectable_content:number_placeholders", "mar", num_placeholders=1, relation=LEAST, num=2)


def test_there_are_thirty_kinds_and_none_is_drawn() -> None:
    met("punctuation:no_comma", "Sí")
    assert len(kinds("es:")) == 30
    assert all(kind.sampler is None for kind in kinds("es:"))
