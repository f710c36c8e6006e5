"""Judging answers to FollowBench: by rule where one decides, else by an engine."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from spar_core.engines.base import Engine, Sampling
from spar_core.evaluation.asking import Reply, ask
from spar_core.evaluation.followbench.dataset import FollowBench, FollowBenchItem, ItemKey
from spar_core.evaluation.followbench.judging import JudgeTexts, Verdict, judge_messages
from spar_core.evaluation.followbench.scoring import NO_ANSWER, Outcome, judge_outcome, rule_outcome
from spar_core.records import EvalItem, ModelRole

JUDGING = Sampling(temperature=0.0, top_p=1.0, max_tokens=1024)
JUDGE_TRUNCATED = "judge_truncated"


class Transcript(NamedTuple):
    """What was said on one row: the judge's text (null where none was asked), and the outcome."""

    judge_reply: Reply | None
    outcome: Outcome


async def judge_answers(
    bench: FollowBench,
    answers: Mapping[ItemKey, str],
    judge: Engine,
    *,
    texts: JudgeTexts | None = None,
    seed: int = 0,
) -> list[Transcript]:
    """Verdicts on answers, in their order; refused requests and judge texts not in form are unscored.

    `texts`: what the judge is asked with; null: this project's wording.

    Raises:
        EngineUnavailableError: the judge gave no answer after all retries.
    """

    async def one(key: ItemKey, answer: str) -> Transcript:
        item = bench.items[key]
        if item.by_rule:
            return Transcript(None, rule_outcome(item, answer))
        messages = judge_messages(bench, item, answer, texts)
        reply = await ask(judge, messages, JUDGING, seed, "followbench/judge", item.item_id)
        # A text cut off in mid-argument has no final line, whatever its last words look like.
        outcome = Outcome(item, None, JUDGE_TRUNCATED) if reply.truncated else judge_outcome(item, reply.text)
        return Transcript(reply, outcome)

    return list(await asyncio.gather(*(one(key, answer) for key, answer in answers.items())))


def unanswered(item: FollowBenchItem) -> Transcript:
    """What is known of a row without an answer."""
    return Transcript(None, Outcome(item, None, NO_ANSWER))


def eval_items(
    said: Transcript, role: ModelRole, model_digest: str, judge: str, reason: str = ""
) -> Iterator[EvalItem]:
    """One row as catalogue rows: metrics `hard` and `soft`, clustered by group; value null where unscored.

    `detail` holds who decided, the judge's text, and the reason where there is no verdict; `reason`: a better one.
    """
    item, verdict, known = said.outcome
    detail: dict[str, Any] = {"scored_by": "rule" if item.by_rule else f"judge {judge}"}
    if verdict is None:
        detail["reason"] = reason or known
    if said.judge_reply is not None:
        detail["judge_text"] = said.judge_reply.text
        if said.judge_reply.text is None:
            detail["reason"] = said.judge_reply.reason
    place = (item.item_id, item.item_id.rpartition("/")[0])
    text = json.dumps(detail, ensure_ascii=False, sort_keys=True)
    for metric in ("hard", "soft"):
        value = None if verdict is None else float(getattr(verdict, metric))
        yield EvalItem(f"followbench-{item.language}", role, model_digest, *place, metric, value, text)


def outcomes(bench: FollowBench, items: Iterable[EvalItem]) -> Iterator[Outcome]:
    """What `eval_items` wrote."""
    by_id = {item.item_id: item for item in bench.asked()}
    hard: dict[str, EvalItem] = {}
    for row in items:
        if row.metric == "hard":
            hard[row.item_id] = row
            continue
        met = hard.pop(row.item_id)
        verdict = None if met.value is None or row.value is None else Verdict(int(met.value), row.value)
        yield Outcome(by_id[row.item_id], verdict, json.loads(row.detail).get("reason", ""))
