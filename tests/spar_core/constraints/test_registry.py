import random

import pytest

from spar_core.constraints import SamplingContext, check, conflict, get, kinds, register, render, samplable
from spar_core.constraints.vocabulary import BANKS
from spar_core.errors import DataError
from spar_core.records import Constraint

IFEVAL = {
    *(f"keywords:{name}" for name in ("existence", "frequency", "forbidden_words", "letter_frequency")),
    "language:response_language",
    *(
        f"length_constraints:{name}"
        for name in ("number_sentences", "number_paragraphs", "number_words", "nth_paragraph_first_word")
    ),
    *(f"detectable_content:{name}" for name in ("number_placeholders", "postscript")),
    *(
        f"detectable_format:{name}"
        for name in (
            "number_bullet_lists",
            "constrained_response",
            "number_highlighted_sections",
            "multiple_sections",
            "json_format",
            "title",
        )
    ),
    *(f"combination:{name}" for name in ("two_responses", "repeat_prompt")),
    *(f"startend:{name}" for name in ("end_checker", "quotation")),
    *(f"change_case:{name}" for name in ("capital_word_frequency", "english_capital", "english_lowercase")),
    "punctuation:no_comma",
}


def test_all_25_kinds_are_registered_and_can_be_drawn():
    assert len(IFEVAL) == 25
    assert {kind.id for kind in samplable()} >= IFEVAL


@pytest.mark.parametrize("kind_id", sorted(IFEVAL))
def test_drawn_arguments_are_valid_and_wordings_vary(kind_id):
    kind, context = get(kind_id), SamplingContext(instruction="Name a bird.")
    wordings = set()
    for seed in range(40):
        arguments = kind.sample(random.Random(seed), context)
        assert arguments == kind.sample(random.Random(seed), context)
        sentence = render(Constraint.create(kind_id, **arguments), random.Random(seed))
        assert sentence == kind.describe(arguments, random.Random(seed))
        assert sentence.strip()
        assert "{" not in sentence
        wordings.add(sentence)
    assert len(wordings) >= 2


def test_wording_holds_every_argument():
    sentence = get("keywords:frequency").describe(
        {"keyword": "harbor", "relation": "at least", "frequency": 17}, random.Random(0)
    )
    assert '"harbor"' in sentence
    assert "17" in sentence


def test_drawn_words_avoid_those_in_use():
    context = SamplingContext(bank=BANKS["train"]._replace(keywords=("oak", "elm")), avoid=frozenset({"oak"}))
    assert get("keywords:existence").sample(random.Random(1), context) == {"keywords": ["elm"]}


def test_conflicts_are_symmetric_and_name_known_kinds():
    assert conflict("change_case:english_capital", "change_case:english_lowercase")
    assert conflict("punctuation:no_comma", "detectable_format:json_format")
    assert conflict("detectable_format:json_format", "punctuation:no_comma")
    assert conflict("punctuation:no_comma", "punctuation:no_comma")
    assert not conflict("punctuation:no_comma", "detectable_format:title")
    known = {kind.id for kind in kinds()}
    assert all(kind.conflicts <= known for kind in kinds())


@pytest.mark.parametrize(
    ("kind", "kwargs", "parts"),
    [
        ("keywords:existance", {}, ["keywords:existance", "keywords:existence"]),
        ("keywords:existence", {"keyword": ["a"]}, ["'keyword'", "keywords"]),
        ("keywords:existence", {}, ["'keywords'", "list"]),
        ("keywords:existence", {"keywords": []}, ["keywords is []", "one or more"]),
        ("keywords:existence", {"keywords": ["*a"]}, ["'*a'", "not a valid regular expression"]),
        ("length_constraints:number_words", {"relation": "over", "num_words": 3}, ["'over'", "'at least' or"]),
        ("length_constraints:number_words", {"relation": "at least", "num_words": 2.5}, ["2.5", "whole number"]),
        ("length_constraints:number_words", {"relation": "at least", "num_words": True}, ["True", "whole number"]),
        ("language:response_language", {"language": "klingon"}, ["'klingon'", "one of"]),
    ],
)
def test_wrong_constraints_are_explained(kind, kwargs, parts):
    with pytest.raises(DataError) as caught:
        check(Constraint.create(kind, **kwargs), "text")
    assert all(part in str(caught.value) for part in parts), caught.value


def test_arguments_that_are_no_object_are_explained():
    with pytest.raises(DataError, match="JSON object"):
        check(Constraint("punctuation:no_comma", "[]"), "text")


def test_nulls_count_as_absent_and_whole_floats_as_numbers():
    given = Constraint.create("length_constraints:number_words", relation="at least", num_words=2.0, letter=None)
    assert check(given, "two words")


def test_an_id_is_registered_once():
    with pytest.raises(DataError, match="already registered"):
        register(get("punctuation:no_comma"))
