"""Running FollowBench: an engine answers, another judges what no rule decides."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from spar_core.engines.base import Engine, Sampling
from spar_core.evaluation.asking import JudgeIdentity, Reply, ask, identify_judge
from spar_core.evaluation.followbench.dataset import FollowBench, FollowBenchItem, ItemKey
from spar_core.evaluation.followbench.judging import judge_messages
from spar_core.evaluation.followbench.scoring import (
    NO_ANSWER,
    FollowBenchReport,
    Outcome,
    Tally,
    judge_outcome,
    rule_outcome,
)
from spar_core.records import EvalItem, Message, ModelRole

ANSWERING = Sampling(temperature=0.0, top_p=1.0, max_tokens=2048)
JUDGING = Sampling(temperature=0.0, top_p=1.0, max_tokens=1024)


class Transcript(NamedTuple):
    """What was said on one row: the answer, the judge's text (null for rules), and the outcome."""

    answer: Reply
    judge_reply: Reply | None
    outcome: Outcome


class FollowBenchRun(NamedTuple):
    """A finished run: scores, who judged, and every row's transcript in file order."""

    report: FollowBenchReport
    judge: JudgeIdentity
    transcripts: tuple[Transcript, ...]


async def run_followbench(
    bench: FollowBench, actor: Engine, judge: Engine, judge_name: str, *, seed: int = 0, answering: Sampling = ANSWERING
) -> FollowBenchRun:
    """Let `actor` answer every row with level >= 1, score by rule or by `judge`.

    Each row is judged as soon as it is answered. Refused requests and judge texts not in form are unscored.

    Raises:
        EngineUnavailableError: an engine gave no answer after all retries.
    """

    async def one(item: FollowBenchItem) -> Transcript:
        chat = (Message("user", item.instruction),)
        answer = await ask(actor, chat, answering, seed, "followbench/answer", item.item_id)
        return await _score(bench, item, answer, judge, seed)

    transcripts = await asyncio.gather(*(one(item) for item in bench.asked()))
    return _finish(bench, transcripts, identify_judge(judge, judge_name, actor.model_digest))


async def judge_answers(
    bench: FollowBench,
    answers: Mapping[ItemKey, str | None],
    judge: Engine,
    judge_name: str,
    *,
    subject_digest: str = "",
    seed: int = 0,
) -> FollowBenchRun:
    """Score answers made elsewhere; `subject_digest` (where known) lets the report warn of a model that judges itself.

    Raises:
        EngineUnavailableError: the judge gave no answer after all retries.
    """

    async def one(item: FollowBenchItem) -> Transcript:
        text = answers.get(item.key)
        return await _score(bench, item, Reply(text, "" if text is not None else NO_ANSWER), judge, seed)

    transcripts = await asyncio.gather(*(one(item) for item in bench.asked()))
    return _finish(bench, transcripts, identify_judge(judge, judge_name, subject_digest))


async def _score(bench: FollowBench, item: FollowBenchItem, answer: Reply, judge: Engine, seed: int) -> Transcript:
    if answer.text is None or item.by_rule:
        outcome = rule_outcome(item, answer.text) if item.by_rule else Outcome(item, None, NO_ANSWER)
        return Transcript(answer, None, outcome)
    reply = await ask(judge, judge_messages(bench, item, answer.text), JUDGING, seed, "followbench/judge", item.item_id)
    # A text cut off in mid-argument has no final line, whatever its last words look like.
    outcome = Outcome(item, None, "judge_truncated") if reply.truncated else judge_outcome(item, reply.text)
    return Transcript(answer, reply, outcome)


def _finish(bench: FollowBench, transcripts: list[Transcript], judge: JudgeIdentity) -> FollowBenchRun:
    tally = Tally(bench)
    for transcript in transcripts:
        tally.add(transcript.outcome)
    return FollowBenchRun(tally.report(), judge, tuple(transcripts))


def eval_items(run: FollowBenchRun, role: ModelRole, model_digest: str) -> tuple[EvalItem, ...]:
    """The run as catalogue rows: metrics `hard` and `soft` per row, clustered by group; value null where unscored."""
    rows: list[EvalItem] = []
    for transcript in run.transcripts:
        item, verdict, reason = transcript.outcome
        cluster = item.item_id.rpartition("/")[0]
        scored_by = "rule" if item.by_rule else f"judge {run.judge.name}"
        benchmark = f"followbench-{item.language}"
        for metric in ("hard", "soft"):
            value = None if verdict is None else float(getattr(verdict, metric))
            rows.append(
                EvalItem(benchmark, role, model_digest, item.item_id, cluster, metric, value, reason or scored_by)
            )
    return tuple(rows)
