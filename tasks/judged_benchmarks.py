"""Stages of the benchmarks that need a judge: FollowBench's judge, and LLMBar's evaluator."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from spar_core.evaluation.followbench import FollowBench, ItemKey, judge_answers
from spar_core.evaluation.followbench.judging import Verdict
from spar_core.evaluation.followbench.runner import Transcript
from spar_core.evaluation.followbench.scoring import Outcome, Tally
from spar_core.evaluation.llmbar import LLMBarRun, Pair, eval_items, run_by_value, run_llmbar
from spar_core.evaluation.llmbar.dataset import Winner
from spar_core.evaluation.llmbar.scoring import Judged
from spar_core.evaluation.llmbar.scoring import Tally as ComparisonTally
from spar_core.evaluation.scores import Score, score_records
from spar_core.records import EvalItem
from tasks.benchmarks import Asked, asked, followbench, item_id, llmbar, restricted
from tasks.judgements import refiner_of
from tasks.stages import ShardContext, ShardRows, Stage

VOTES = "Votes"


def _followbench_verdicts(context: ShardContext) -> ShardRows:
    return asyncio.run(_judge_answers(context))


async def _judge_answers(context: ShardContext) -> ShardRows:
    """Rules or the judge on this shard's answers; what the judge said stays in the items' detail."""
    bench, rows = followbench(context), asked(context, context.shard)
    by_id = {item.item_id: item for item in bench.asked()}
    answers: dict[ItemKey, str | None] = {
        by_id[row.item_id].key: row.response.text for row in rows if row.response is not None
    }
    judge, name = context.engine("judge"), context.call.config["judge"]
    run = await judge_answers(bench, answers, judge, name, seed=context.call.seed)
    spoken = {transcript.outcome.item.item_id: transcript for transcript in run.transcripts}
    context.part.write("eval_items", ())
    for row in rows:
        context.part.write("eval_items", list(_verdict_items(context, row, spoken[row.item_id], name)))
    return ShardRows(len(rows), len(rows))


def _verdict_items(context: ShardContext, row: Asked, said: Transcript, judge: str) -> Iterator[EvalItem]:
    item, verdict, reason = said.outcome
    detail: dict[str, Any] = {"scored_by": "rule" if item.by_rule else f"judge {judge}"}
    if verdict is None:
        detail["reason"] = reason if row.response is not None else row.reason
    if said.judge_reply is not None:
        detail["judge_text"] = said.judge_reply.text
        if said.judge_reply.text is None:
            detail["reason"] = said.judge_reply.reason
    place = (item.item_id, item.item_id.rpartition("/")[0])
    who = (f"followbench-{item.language}", context.call.config["role"], context.call.models["model"].digest)
    for metric in ("hard", "soft"):
        value = None if verdict is None else float(getattr(verdict, metric))
        yield EvalItem(*who, *place, metric, value, json.dumps(detail, ensure_ascii=False, sort_keys=True))


def _followbench_scores(context: ShardContext) -> ShardRows:
    bench, config = followbench(context), context.call.config
    tally, rows = Tally(bench), 0
    for outcome in _outcomes(context, bench):
        tally.add(outcome)
        rows += 1
    who = (f"followbench-{bench.language}", config["role"], context.call.models["model"].digest)
    context.part.write("eval_scores", score_records(*who, tally.report().scores))
    return ShardRows(rows, rows)


def _outcomes(context: ShardContext, bench: FollowBench) -> Iterator[Outcome]:
    by_id = {item.item_id: item for item in bench.asked()}
    hard: dict[str, EvalItem] = {}
    for row in context.call.inputs["verdicts"].read("eval_items"):
        if row.metric == "hard":
            hard[row.item_id] = row
            continue
        met = hard.pop(row.item_id)
        verdict = None if met.value is None or row.value is None else Verdict(int(met.value), row.value)
        yield Outcome(by_id[row.item_id], verdict, json.loads(row.detail).get("reason", ""))


def _llmbar_verdicts(context: ShardContext) -> ShardRows:
    run, reasons = asyncio.run(_compare(context))
    config, digest = context.call.config, context.call.models["refiner"].digest
    said = {transcript.judged.instance.item_id: transcript for transcript in run.transcripts}
    items = []
    for item in eval_items(run, config["role"], digest):
        pair, row = said[item.item_id].judged.pair, dict(said[item.item_id].row)
        detail = {**row, **pair._asdict()}
        if (reason := row.get("refused") or reasons.get(item.item_id)) is not None:
            detail["reason"] = reason
        items.append(replace(item, metric=f"{config['strategy']}/{item.metric}", detail=_json(detail)))
    context.part.write("eval_items", items)
    return ShardRows(len(said), len(said))


async def _compare(context: ShardContext) -> tuple[LLMBarRun, dict[str, str]]:
    """The comparisons, and by instance why the refiner's votes gave an output no value."""
    config = context.call.config
    here = {item_id(prompt) for prompt in context.read("prompts", "eval_prompts")}
    bench = restricted(llmbar(context), here)
    if config["strategy"] != VOTES:
        engine = context.engine("refiner")
        name = config["evaluator"]
        run = await run_llmbar(bench, engine, config["strategy"], evaluator_name=name, seed=context.call.seed)
        return run, {}
    refiner = refiner_of(context)
    reasons: dict[str, str] = {}

    async def share(instruction: str, output: str, call: str) -> float | None:
        outcome = await refiner.judge(call, instruction, output, context.call.seed)
        if outcome.judgement is None:
            reasons[call.rpartition("/")[0]] = outcome.failure or "no_judgement"
            return None
        return outcome.judgement.value

    return await run_by_value(bench, share, evaluator_name=config["evaluator"], strategy=VOTES), reasons


def _llmbar_scores(context: ShardContext) -> ShardRows:
    config, bench = context.call.config, llmbar(context)
    instances = {instance.item_id: instance for instance in bench.instances()}
    tally, rows = ComparisonTally(bench, config["evaluator"], config["strategy"]), 0
    for row in context.call.inputs["verdicts"].read("eval_items"):
        if not row.metric.endswith("/correct_unswapped"):
            continue
        detail = json.loads(row.detail)
        winners = (cast("Winner | None", detail["winner"]), cast("Winner | None", detail["winner_swapped"]))
        tally.add(Judged(instances[row.item_id], Pair(*winners, detail["readable"])))
        rows += 1
    scores = [_renamed(score, config["strategy"]) for score in tally.report().scores]
    context.part.write(
        "eval_scores", score_records("llmbar", config["role"], context.call.models["refiner"].digest, scores)
    )
    return ShardRows(rows, rows)


def _renamed(score: Score, strategy: str) -> Score:
    return replace(score, metric=f"{strategy}/{score.metric}")


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


_JUDGE_PROMPTS = ("spar_core.prompts/judges",)
FOLLOWBENCH_VERDICTS = Stage(
    "followbench_verdicts", version=1, work=_followbench_verdicts, sharded_by="answers", data=_JUDGE_PROMPTS
)
FOLLOWBENCH_SCORES = Stage("followbench_scores", version=1, work=_followbench_scores)
LLMBAR_VERDICTS = Stage("llmbar_verdicts", version=1, work=_llmbar_verdicts, sharded_by="prompts", data=_JUDGE_PROMPTS)
LLMBAR_SCORES = Stage("llmbar_scores", version=1, work=_llmbar_scores)
