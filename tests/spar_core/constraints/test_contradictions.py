"""What cannot be met is said, and what can be is not: held against published prompts and against repairs."""

import json

import pytest

from spar_core.constraints.contradictions import contradiction
from spar_core.records import Constraint

SENTENCES, WORDS = "length_constraints:number_sentences", "length_constraints:number_words"


def least(kind: str, number: int) -> Constraint:
    return Constraint.create(kind, relation="at least", **{f"num_{kind.rpartition('_')[2]}": number})


def below(kind: str, number: int) -> Constraint:
    return Constraint.create(kind, relation="less than", **{f"num_{kind.rpartition('_')[2]}": number})


def word(relation: str, number: int, keyword: str = "bird") -> Constraint:
    return Constraint.create("keywords:frequency", keyword=keyword, relation=relation, frequency=number)


CAPITAL, LOWER = Constraint.create("change_case:english_capital"), Constraint.create("change_case:english_lowercase")
NO_COMMA = Constraint.create("punctuation:no_comma")
FORBIDDEN = Constraint.create("keywords:forbidden_words", forbidden_words=["bird", "sky"])


def ends(phrase: str) -> Constraint:
    return Constraint.create("startend:end_checker", end_phrase=phrase)


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        ((CAPITAL, LOWER), "all capitals and all lower case"),
        ((least(SENTENCES, 5), below(SENTENCES, 5)), "at least 5 and less than 5"),
        ((below(WORDS, 1),), "at least 1 and less than 1"),
        ((least(SENTENCES, 10), below(WORDS, 10)), "at least 10 and less than 10"),
        ((word("at least", 3), word("less than", 3)), "bird: at least 3 and less than 3"),
        ((FORBIDDEN, word("at least", 1)), "bird forbidden, and 'bird' asked for"),
        ((FORBIDDEN, Constraint.create("keywords:existence", keywords=["blue Sky"])), "sky forbidden"),
        ((NO_COMMA, ends("So, that is it.")), "no comma, and 'So, that is it.' with one"),
        ((ends("Goodbye."), ends("The end.")), "two endings"),
        (
            (
                Constraint.create("length_constraints:number_paragraphs", num_paragraphs=2),
                Constraint.create("length_constraints:number_paragraphs", num_paragraphs=3),
            ),
            "number_paragraphs",
        ),
    ],
)
def test_what_no_answer_can_meet_is_said(constraints, said):
    assert said in (contradiction(constraints) or "")
    assert said in (contradiction(constraints[::-1]) or "")


@pytest.mark.parametrize(
    "constraints",
    [
        (),
        (CAPITAL, NO_COMMA),
        (least(SENTENCES, 5), below(SENTENCES, 6)),
        (least(SENTENCES, 9), below(WORDS, 10)),
        (word("at least", 3), word("less than", 3, "fish")),
        (FORBIDDEN, word("less than", 1)),
        (FORBIDDEN, word("at least", 1, "birdsong")),
        (ends("The end."), ends("end.")),
        (Constraint("a:kind nobody knows", "{}"), Constraint("keywords:existence", "no JSON")),
    ],
)
def test_what_may_be_met_is_not_called_impossible(constraints):
    assert contradiction(constraints) is None


def test_four_published_prompts_of_ifeval_cannot_be_met(benchmark_data):
    found = {}
    data = benchmark_data / "ifeval" / "input_data.jsonl"
    for line in data.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        arguments = [{k: v for k, v in given.items() if v is not None} for given in row["kwargs"]]
        pairs = zip(row["instruction_id_list"], arguments, strict=True)
        if reason := contradiction([Constraint.create(kind, **given) for kind, given in pairs]):
            found[row["key"]] = reason.split(",")[0]
    assert found == {
        1627: "no comma",
        3371: "economy forbidden",
        3718: "no comma",
        374: "youngins forbidden",
    }
