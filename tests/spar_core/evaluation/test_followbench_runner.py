import asyncio
from pathlib import Path

import pytest
from followbench_folder import write_followbench

from spar_core.engines.base import Completion
from spar_core.engines.scripted import Rule, ScriptedEngine, rules
from spar_core.errors import RequestRejectedError
from spar_core.evaluation.followbench import (
    FollowBench,
    ItemKey,
    eval_items,
    judge_answers,
    load_followbench,
    run_followbench,
)


@pytest.fixture
def bench(tmp_path: Path) -> FollowBench:
    return load_followbench(write_followbench(tmp_path), "en")


def actor(digest: str = "actor") -> ScriptedEngine:
    table = (
        Rule("example", ("<a>",)),
        Rule("content 1", ("exact",)),
        Rule("wish 5", (RequestRejectedError("no", "too_long"),)),
    )
    return ScriptedEngine(rules(*table, Rule("content 2", ("an answer",))), model_digest=digest)


def judge() -> ScriptedEngine:
    table = (
        Rule("with 4 constraints", (Completion("I think YES", "length", 3),)),
        Rule("with 3 constraints", ("['YES', 'NO', 'YES']",)),
        Rule("with 2 constraints", ("both are met",)),
        Rule("with 1 constraint\n", ("It is met: YES",)),
    )
    return ScriptedEngine(rules(*table), model_digest="judge")


def test_run_scores_by_rule_and_judge(bench: FollowBench) -> None:
    run = asyncio.run(run_followbench(bench, actor(), judge(), "a judge"))
    verdicts = {transcript.outcome.item.key: transcript.outcome for transcript in run.transcripts}
    assert all(verdicts[ItemKey("content", 1, level)].verdict == (1, 1.0) for level in range(1, 6))
    judged = [verdicts[ItemKey("content", 2, level)] for level in range(1, 6)]
    assert [outcome.verdict for outcome in judged] == [(1, 1.0), None, (0, pytest.approx(2 / 3)), None, None]
    reasons = {"judge_not_in_form": 1, "judge_truncated": 1, "no_answer": 1}
    assert run.report.unscored == reasons
    assert (run.judge.name, run.judge.model_digest, run.judge.warnings) == ("a judge", "judge", ())
    assert run.transcripts[9].answer.reason == "too_long"
    items = eval_items(run, "actor", "actor")
    assert sum(item.value is None for item in items) == 2 * 3
    assert {item.cluster_id for item in items} == {"en/content/1", "en/content/2", "en/example/1"}


def test_a_model_judging_itself_is_flagged(bench: FollowBench) -> None:
    run = asyncio.run(run_followbench(bench, actor("judge"), judge(), "itself"))
    assert "is the model under test" in run.judge.warnings[0]


def test_answers_made_elsewhere_are_judged(bench: FollowBench) -> None:
    engine = judge()
    given = {ItemKey("content", 2, 1): "text", ItemKey("example", 1, 1): "<a>"}
    run = asyncio.run(judge_answers(bench, given, engine, "a judge"))
    assert engine.calls == 1
    assert run.report.unscored == {"no_answer": 13}
    assert run.transcripts[5].outcome.verdict == (1, 1.0)
