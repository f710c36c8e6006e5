"""M-IFEval's French rules, by hand."""

from pathlib import Path

import pytest

from spar_core.constraints import check, kinds
from spar_core.constraints.multilingual import resources
from spar_core.errors import DataError
from spar_core.records import Constraint


def met(kind: str, text: str, **arguments: object) -> bool:
    return check(Constraint.create(f"fr:{kind}", **arguments), text)


@pytest.mark.parametrize(
    ("kind", "arguments", "passes", "fails"),
    [
        ("keywords:existence", {"keywords": ["château"]}, "Le CHÂTEAU.", "Le chateau."),
        ("keywords:frequency", {"keyword": "mer", "frequency": 2, "relation": "au moins"}, "La mer, la mer.", "Mer."),
        ("keywords:frequency", {"keyword": "mer", "frequency": 2, "relation": "moins de"}, "Mer.", "mer et mer"),
        ("keywords:forbidden_words", {"forbidden_words": ["été"]}, "Répété.", "Un Été."),
        (
            "keywords:letter_frequency",
            {"letter": "e", "let_frequency": 2, "let_relation": "moins de"},
            "été-e",
            "Elle",
        ),
        ("length_constraints:number_words", {"num_words": 4, "relation": "au moins"}, "L'été est là", "Il est là"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "Un\n***\nDeux", "Un\n\nDeux"),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Été"},
            "Un\n\nété, deux",
            "été\n\nDeux",
        ),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[nom] [ville]", "[nom]"),
        ("detectable_content:postscript", {"postscript_marker": "P.-S."}, "Bien.\np.-s. Merci", "Bien. PS merci"),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* un\n- deux", "* un"),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "*vite*", "vite"),
        (
            "detectable_format:multiple_sections",
            {"section_spliter": "Section", "num_sections": 2},
            "Section 1 a Section 2 b",
            "SECTION 1 a SECTION 2 b",
        ),
        ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "a: 1"),
        ("detectable_format:constrained_response", {}, "Réponse : Peut-être.", "Oui"),
        ("detectable_format:title", {}, "##Hymne## puis", "<<Hymne>>"),
        ("detectable_format:title", {}, "# ##a##", "######"),
        ("combination:two_responses", {}, "Oui ****** Non", "Oui ****** Oui"),
        ("combination:repeat_prompt", {"prompt_to_repeat": "Dis-moi."}, "DIS-MOI. Voilà", "Voilà. Dis-moi."),
        ("startend:end_checker", {"end_phrase": "Au revoir."}, 'Merci. au revoir."', "Au revoir. Merci"),
        ("punctuation:no_comma", {}, "Oui；non、", "Oui, non"),
        ("startend:quotation", {}, " « Oui » ", "\u201cOui\u201d"),
        ("startend:quotation", {}, "'Oui'", '«Oui"'),
        ("special_character:ethel_or_cedilla", {"forbidden_char": "œ"}, "Un oeuf", "Un ŒUF"),
        ("special_character:no_accents", {}, "Un garcon, un œuf", "Un garçon"),
        (
            "special_character:accents",
            {"word_to_accentuate": {"lecons": "leçons", "eleve": "élève"}},
            "L'élève et ses Leçons",
            "L'élève et ses lecons",
        ),
        ("special_character:accents", {"word_to_accentuate": {"eleve": "élève"}}, "Rien", "Un éleve"),
        ("detectable_content:informal_address", {}, "Je t'aime", "Je vous aime, tutu"),
        ("detectable_content:no_digits", {}, "deux", "2"),
    ],
)
def test_rules(kind: str, arguments: dict[str, object], passes: str, fails: str) -> None:
    assert met(kind, passes, **arguments) is True
    assert met(kind, fails, **arguments) is False


def test_case_and_language() -> None:
    french = "le petit chat dort tranquillement sur le canapé de la maison"
    english = "the little cat sleeps quietly on the couch of the house all day"
    assert met("language:response_language", french, language="fr") is True
    assert met("change_case:french_lowercase", french) is True
    assert met("change_case:french_lowercase", french.capitalize()) is False
    assert met("change_case:french_lowercase", english) is False
    assert met("change_case:french_capital", french.upper()) is True
    assert met("change_case:french_capital", english.upper()) is False
    assert met("change_case:french_capital", french) is False
    assert met("change_case:french_lowercase", "123") is False  # no letters: not in lower case, whatever the language


def test_capital_words_by_token(benchmark_data) -> None:
    arguments = {"capital_frequency": 2, "capital_relation": "au moins"}
    assert met("change_case:capital_word_frequency", "La SNCF et la RATP.", **arguments) is True
    assert met("change_case:capital_word_frequency", "La SNCF et la Poste.", **arguments) is False


@pytest.fixture
def _french_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of Punkt that knows one abbreviation, in NLTK's layout."""
    import nltk.data

    for language in ("french", "english"):
        folder = tmp_path / "tokenizers" / "punkt_tab" / language
        folder.mkdir(parents=True)
        for name in ("collocations.tab", "sent_starters.txt", "ortho_context.tab"):
            (folder / name).write_text("")
        (folder / "abbrev_types.txt").write_text("apt\n")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    resources.french_sentences.cache_clear()
    yield
    resources.french_sentences.cache_clear()


@pytest.mark.usefixtures("_french_model")
def test_sentences_by_the_french_model_with_more_abbreviations() -> None:
    text = "Bonjour M. Martin. Voir à apt. B, cf. La note. Merci !"
    assert resources.french_sentences()(text) == ["Bonjour M. Martin.", "Voir à apt. B, cf. La note.", "Merci !"]
    asked = {"num_sentences": 3}
    assert met("length_constraints:number_sentences", text, relation="au moins", **asked) is True
    assert met("length_constraints:number_sentences", text, relation="moins de", **asked) is False


def test_without_the_french_model_there_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    from nltk.tokenize import punkt

    def absent(language: str) -> None:
        raise LookupError(language)

    monkeypatch.setattr(resources.nltk_data, "require", lambda resource: None)
    monkeypatch.setattr(punkt, "PunktTokenizer", absent)
    resources.french_sentences.cache_clear()
    with pytest.raises(resources.CheckUnavailableError, match="without its folder `french`"):
        met("length_constraints:number_sentences", "Oui.", relation="au moins", num_sentences=1)
    assert "punkt_tab" in resources.missing_part("fr:length_constraints:number_sentences")


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("keywords:frequency", {"keyword": "a", "frequency": 1, "relation": "at least"}, "'moins de' or 'au moins'"),
        ("special_character:accents", {"word_to_accentuate": {}}, "words without accents"),
        ("special_character:ethel_or_cedilla", {}, "needs the argument 'forbidden_char'"),
        ("special_character:tildes", {}, "unknown constraint kind 'fr:special_character:tildes'"),
    ],
)
def test_wrong_arguments_are_told(kind: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        met(kind, "Oui", **arguments)


def test_there_are_thirty_kinds_and_none_is_drawn() -> None:
    met("punctuation:no_comma", "Oui")
    assert len(kinds("fr:")) == 30
    assert all(kind.sampler is None for kind in kinds("fr:"))
