import asyncio
import json
from pathlib import Path

import pytest
from followbench_folder import write_followbench

from spar_core.engines.base import Completion
from spar_core.engines.scripted import Rule, ScriptedEngine, rules
from spar_core.errors import DataError, RequestRejectedError
from spar_core.evaluation.followbench import FollowBench, ItemKey, eval_items, judge_answers, load_followbench
from spar_core.evaluation.followbench.judging import judge_texts
from spar_core.evaluation.followbench.runner import Transcript, outcomes, unanswered

ANSWERS = {
    ItemKey("content", 1, 1): "exact",
    ItemKey("content", 1, 2): "not exact",
    **{ItemKey("content", 2, level): "an answer" for level in range(1, 6)},
    ItemKey("example", 1, 1): "<a>",
}


@pytest.fixture
def bench(tmp_path: Path) -> FollowBench:
    return load_followbench(write_followbench(tmp_path), "en")


def judge() -> ScriptedEngine:
    table = (
        Rule("with 5 constraints", (RequestRejectedError("no", reason="too_long"),)),
        Rule("with 4 constraints", (Completion("I think YES", "length", 3),)),
        Rule("with 3 constraints", ("['YES', 'NO', 'YES']",)),
        Rule("with 2 constraints", ("both are met",)),
        Rule("with 1 constraint\n", ("It is met: YES",)),
    )
    return ScriptedEngine(rules(*table), model_digest="judge")


def said(bench: FollowBench) -> dict[ItemKey, Transcript]:
    return {one.outcome.item.key: one for one in asyncio.run(judge_answers(bench, ANSWERS, judge()))}


def test_rules_decide_where_they_can_and_the_judge_elsewhere(bench: FollowBench) -> None:
    verdicts = {key: transcript.outcome for key, transcript in said(bench).items()}
    assert verdicts[ItemKey("content", 1, 1)].verdict == (1, 1.0)
    assert verdicts[ItemKey("content", 1, 2)].verdict == (0, 0.0)
    assert verdicts[ItemKey("example", 1, 1)].verdict == (1, 1.0)
    judged = [verdicts[ItemKey("content", 2, level)] for level in range(1, 6)]
    assert [outcome.verdict for outcome in judged] == [(1, 1.0), None, (0, pytest.approx(2 / 3)), None, None]
    assert [outcome.reason for outcome in judged] == ["", "judge_not_in_form", "", "judge_truncated", "no_judge_text"]


def test_rows_of_the_catalogue_hold_who_decided_and_are_read_back(bench: FollowBench) -> None:
    found = said(bench)
    rows = [item for one in found.values() for item in eval_items(one, "actor", "d", "a judge")]
    rows += eval_items(unanswered(bench.items[ItemKey("example", 1, 2)]), "actor", "d", "a judge", "too_many_tokens")
    assert {row.cluster_id for row in rows} == {"en/content/1", "en/content/2", "en/example/1"}
    details = {row.item_id: json.loads(row.detail) for row in rows if row.metric == "hard"}
    assert details["en/content/1/1"] == {"scored_by": "rule"}
    assert details["en/content/2/2"] == {
        "scored_by": "judge a judge",
        "judge_text": "both are met",
        "reason": "judge_not_in_form",
    }
    assert details["en/content/2/5"]["reason"] == "too_long"
    assert details["en/example/1/2"]["reason"] == "too_many_tokens"
    again = {outcome.item.key: outcome.verdict for outcome in outcomes(bench, rows)}
    assert again == {key: one.outcome.verdict for key, one in found.items()} | {ItemKey("example", 1, 2): None}


def test_a_judge_may_be_asked_in_other_words(bench: FollowBench, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "followbench_en.txt").write_text("{{opening}} THEIRS {{steps}} {{answer}} {{count}}")
    (folder / "followbench_en_step.txt").write_text("[{{instruction}}]")
    categories = ("content", "situation", "style", "format", "mixed")
    (folder / "followbench_en_openings.txt").write_text("".join(f"{name}: About {name}.\n" for name in categories))
    engine = ScriptedEngine(lambda request, index: "YES")
    answers = {ItemKey("content", 2, 1): "my answer"}
    asyncio.run(judge_answers(bench, answers, engine, texts=judge_texts("en", folder)))
    assert engine.requests[0].messages[-1].content.startswith("About content. THEIRS [")
    (folder / "followbench_en_openings.txt").write_text("content: only this\n")
    with pytest.raises(DataError, match="no line 'situation: TEXT'"):
        judge_texts("en", folder)
