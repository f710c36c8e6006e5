"""`spar refine` on a scripted model: what it says of an answer whose votes say nothing."""

import json

import pytest

from flows.cli import invoke
from spar_core.engines.base import GenerationRequest
from spar_core.roles import format_rewrite

ENGINE = ("--set", "engine.kind=scripted", "--set", f"engine.script={__name__}:answer")


def answer(request: GenerationRequest, index: int) -> str:
    text = request.messages[-1].content
    if text.startswith("Mend"):
        return format_rewrite("good")
    if text.startswith("Check"):
        if "unreadable" in text:
            return "I would rather not say."
        return f"Final verdict: {'YES' if text.endswith('good') else 'NO'}"
    return "unreadable" if "hard" in text else "bad"


@pytest.mark.parametrize(
    ("prompt", "code", "accepted", "found"),
    [("Say something hard", 1, False, "unreadable"), ("Say something", 0, True, "good")],
)
def test_nothing_is_accepted_where_no_vote_could_be_read(prompt, code, accepted, found, tmp_path, capsys):
    ended = invoke(["refine", prompt, "--home", str(tmp_path), "--preset", "starter", *ENGINE, "--json"])
    shown = capsys.readouterr()
    said = json.loads(shown.out)
    assert (ended, said["accepted"], said["answer"]) == (code, accepted, found)
    assert (said["problem"] is None) is accepted
    if not accepted:
        assert "gave no majority (quorum: 0 yes, 0 no, 15 unparseable)" in shown.err
        assert "prompt_set" in said["problem"]


def test_an_answer_given_and_approved_is_accepted_as_it_is(tmp_path, capsys):
    given = ["refine", "Say something", "--response", "good", "--home", str(tmp_path), "--preset", "starter"]
    assert invoke([*given, *ENGINE, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["accepted"], said["nodes"], said["problem"]) == (True, [], None)


def test_a_prompt_without_constraints_is_judged_by_votes_whatever_the_anchor(tmp_path, capsys):
    rules = ("--set", "method.judging.anchor=rules_only")
    asked = ["refine", "Say something", "--home", str(tmp_path), "--preset", "starter", *rules, *ENGINE, "--json"]
    assert invoke(asked) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "good"
