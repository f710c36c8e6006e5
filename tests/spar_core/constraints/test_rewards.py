"""The registry as rewards, in the forms that TRL and verl call."""

import json

import pytest

from spar_core.constraints.rewards import all_met_reward, compute_score, constraint_reward, constraints_of
from spar_core.errors import DataError
from spar_core.records import Constraint

NO_COMMA = {"kind": "punctuation:no_comma", "kwargs": "{}"}
WORD = {"kind": "keywords:existence", "kwargs": {"keywords": ["harbor"], "num_words": None}}


def test_shares_and_all_met():
    given = {
        "completions": ["A harbor.", "A harbor, yes.", "Well, no.", "Any"],
        "constraints": [[NO_COMMA, WORD]] * 3 + [[]],
    }
    assert constraint_reward(**given) == [1.0, 0.5, 0.0, None]
    assert all_met_reward(**given) == [1.0, 0.0, 0.0, None]


def test_every_form_of_constraints_is_the_same():
    records = (Constraint.create("punctuation:no_comma"), Constraint.create("keywords:existence", keywords=["harbor"]))
    for form in (records, [NO_COMMA, WORD], json.dumps([NO_COMMA, WORD])):
        assert constraints_of(form) == records
    assert constraints_of(None) == ()


def test_trl_calls_it_with_chats_and_more_columns():
    chat = [{"role": "assistant", "content": "A harbor."}]
    rewards = constraint_reward(
        prompts=[[{"role": "user", "content": "Go, on."}]],
        completions=[chat],
        completion_ids=[[1, 2]],
        constraints=[[NO_COMMA]],
        trainer_state=None,
        log_extra=None,
        log_metric=None,
    )
    assert rewards == [1.0]


def test_verl_calls_it_for_one_answer():
    assert compute_score("rows", "A harbor, yes.", json.dumps([NO_COMMA, WORD]), None) == 0.5
    with pytest.raises(DataError, match="no constraints in ground_truth"):
        compute_score("rows", "A", "[]")


def test_a_check_without_a_verdict_is_not_met():
    endless = {"kind": "keywords:existence", "kwargs": {"keywords": ["(a+)+$"]}}
    assert constraint_reward(["a" * 40 + "!"], [[endless]]) == [0.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("[", "not JSON"),
        (7, "must be a list"),
        ([7], "must be a mapping"),
        ([{"kind": "punctuation:no_comma", "kwargs": [1]}], "must be a mapping or its JSON"),
        ([{"kind": "punctuation:no_coma"}], "punctuation:no_comma"),
    ],
)
def test_a_bad_row_is_named(given, words):
    with pytest.raises(DataError, match="row 1") as caught:
        constraint_reward(["a", "b"], [[NO_COMMA], given])
    assert words in str(caught.value)


def test_a_missing_row_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        constraint_reward(["a", "b"], [[NO_COMMA]])
