"""Running an evaluator - the refiner, or any engine - on LLMBar, in both orders."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from spar_core.engines.base import Engine, Sampling
from spar_core.errors import ConfigError
from spar_core.evaluation.asking import ask
from spar_core.evaluation.llmbar.dataset import Instance, LLMBar
from spar_core.evaluation.llmbar.reading import Pair, by_value, conflict, read_comparison, read_ratings
from spar_core.evaluation.llmbar.scoring import Judged, LLMBarReport, Tally
from spar_core.evaluation.llmbar.strategies import (
    OURS,
    STRATEGIES,
    Aids,
    Case,
    Form,
    OurWording,
    Wording,
    pattern_of,
    structure_of,
)
from spar_core.records import EvalItem, Message, ModelRole

_MAX_TOKENS: Mapping[str, int] = {"compare": 32, "explain": 1024, "rate": 16, "questions": 256, "reference": 1024}

OutputValue = Callable[[str, str, str], Awaitable[float | None]]
"""(instruction, output, call id) -> how well the output follows the instruction; null if there is no verdict."""


class Transcript(NamedTuple):
    """The winners on one instance and what was said: the columns that `score_file` reads, or the two values."""

    judged: Judged
    row: Mapping[str, Any]


class LLMBarRun(NamedTuple):
    """A finished run: scores, and every instance's transcript in order."""

    report: LLMBarReport
    transcripts: tuple[Transcript, ...]


async def run_llmbar(
    bench: LLMBar,
    evaluator: Engine,
    strategy: str,
    *,
    evaluator_name: str,
    published: Wording | None = None,
    seed: int = 0,
) -> LLMBarRun:
    """Ask `evaluator` about every instance, greedily; a refused request is an unparsed answer.

    `strategy`: `ours-NAME`, or NAME alone with the `published` wording.

    Raises:
        ConfigError: unknown strategy, or a published one without its wording.
        EngineUnavailableError: no answer after all retries.
    """
    structure = structure_of(strategy)
    if structure is None:
        raise ConfigError(
            f"unknown LLMBar strategy {strategy!r}; allowed: {', '.join(STRATEGIES)}, each also {OURS}NAME"
        )
    ours = strategy.startswith(OURS)
    if not ours and published is None:
        raise ConfigError(
            f"{strategy} is a published prompt, which is not part of this project: give its files with --judge-prompts "
            "(LLMEvaluator/evaluators/prompts of princeton-nlp/LLMBar), or take this project's wording: "
            f"{OURS}{strategy}"
        )
    session = _Session(evaluator, strategy, OurWording() if ours or published is None else published, seed)
    judged = await asyncio.gather(*(session.judge(instance) for instance in bench.instances()))
    return _finish(bench, evaluator_name, strategy, judged)


async def run_by_value(bench: LLMBar, value: OutputValue, *, evaluator_name: str, strategy: str = "Votes") -> LLMBarRun:
    """Compare outputs by a value each gets alone, such as the refiner's share of approving votes.

    Ties count as the Rating strategies count them (half right, not in agreement); without a verdict on both outputs
    the instance is unparsed.
    """

    async def one(instance: Instance) -> tuple[Instance, Pair, dict[str, Any]]:
        first, second = await asyncio.gather(
            value(instance.instruction, instance.output_1, f"{instance.item_id}/1"),
            value(instance.instruction, instance.output_2, f"{instance.item_id}/2"),
        )
        pair = Pair(None, None) if first is None or second is None else by_value(first, second)
        return instance, pair, {"kind": "value", "value_1": first, "value_2": second}

    return _finish(bench, evaluator_name, strategy, await asyncio.gather(*(one(item) for item in bench.instances())))


class _Session:
    """One evaluator under one strategy."""

    def __init__(self, engine: Engine, name: str, wording: Wording, seed: int) -> None:
        self._engine = engine
        self._published_name = name.removeprefix(OURS)
        self._strategy = STRATEGIES[self._published_name]
        self._name = name
        self._wording = wording
        self._seed = seed
        self._refused: dict[str, str] = {}
        self._cut: set[str] = set()

    async def judge(self, instance: Instance) -> tuple[Instance, Pair, dict[str, Any]]:
        """The pair of winners; the row says `refused` and why where the engine took a request not at all, and
        `truncated` where the token limit cut a reply."""
        _, pair, row = await self._compare(instance)
        reason = self._refused.get(instance.item_id)
        cut = {"truncated": True} if instance.item_id in self._cut else {}
        return instance, pair, {**row, **cut} if reason is None else {**row, **cut, "refused": reason}

    async def _compare(self, instance: Instance) -> tuple[Instance, Pair, dict[str, Any]]:
        strategy, name = self._strategy, self._published_name
        aids = await self._aids(instance)
        if strategy.form == "rate":
            raw_1, raw_2 = await asyncio.gather(
                *(
                    self._ask(
                        self._wording.rating(name, instance.instruction, output, aids), strategy.form, instance, number
                    )
                    for number, output in enumerate((instance.output_1, instance.output_2), start=1)
                )
            )
            return instance, read_ratings(raw_1, raw_2), {"kind": "rating", "raw_score_1": raw_1, "raw_score_2": raw_2}
        raw, raw_swapped = await asyncio.gather(
            *(
                self._ask(self._wording.comparison(name, instance, swapped, aids), strategy.form, instance, 1 + swapped)
                for swapped in (False, True)
            )
        )
        stage = {"parse": strategy.pattern, "raw": raw, "raw_swapped": raw_swapped}
        pair = read_comparison(raw, raw_swapped, strategy.pattern)
        if strategy.second_stage is None:
            return instance, pair, {"kind": "comparison", **stage}
        stages = [stage]
        if conflict(pair):
            pair, second = await self._debate(instance, pair, raw, raw_swapped, strategy.second_stage)
            stages.append(second)
        return instance, pair, {"kind": "swap_and_synthesize", "stages": stages}

    async def _debate(
        self, instance: Instance, pair: Pair, raw: str, raw_swapped: str, form: Form
    ) -> tuple[Pair, dict[str, Any]]:
        cases = (Case(raw, False), Case(raw_swapped, True))
        case_1, case_2 = cases if pair.winner == "1" else cases[::-1]
        texts = await asyncio.gather(
            *(
                self._ask(
                    self._wording.debate(self._published_name, instance, swapped, case_1, case_2),
                    form,
                    instance,
                    f"debate-{swapped}",
                )
                for swapped in (False, True)
            )
        )
        pattern = pattern_of(form)
        stage = {"parse": pattern, "raw": texts[0], "raw_swapped": texts[1]}
        return read_comparison(texts[0], texts[1], pattern), stage

    async def _aids(self, instance: Instance) -> Aids:
        questions = reference = None
        if self._strategy.questions:
            messages = self._wording.questions(instance.instruction)
            questions = await self._ask(messages, "questions", instance, "questions")
        if self._strategy.reference:
            messages = self._wording.reference(instance.instruction)
            reference = await self._ask(messages, "reference", instance, "reference")
        return Aids(questions, reference)

    async def _ask(self, messages: tuple[Message, ...], kind: str, instance: Instance, call: int | str) -> str:
        """The text, empty where the engine refused the request (as the published records have it)."""
        sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=_MAX_TOKENS[kind])
        call_id = f"{self._name}/{instance.item_id}/{call}"
        reply = await ask(self._engine, messages, sampling, self._seed, "llmbar", call_id)
        if reply.text is None:
            self._refused[instance.item_id] = reply.reason
        if reply.truncated:
            self._cut.add(instance.item_id)
        return reply.text or ""


def _finish(
    bench: LLMBar, evaluator: str, strategy: str, judged: list[tuple[Instance, Pair, dict[str, Any]]]
) -> LLMBarRun:
    tally = Tally(bench, evaluator, strategy)
    transcripts: list[Transcript] = []
    for instance, pair, raw in judged:
        tally.add(Judged(instance, pair))
        place = {"subset": instance.subset, "index": instance.index, "evaluator": evaluator, "strategy": strategy}
        transcripts.append(Transcript(Judged(instance, pair), {**place, **raw}))
    return LLMBarRun(tally.report(), tuple(transcripts))


def eval_items(run: LLMBarRun, role: ModelRole, model_digest: str) -> tuple[EvalItem, ...]:
    """The run as catalogue rows: right or wrong in each order; value null where the verdict was not readable."""
    rows: list[EvalItem] = []
    for (instance, pair), _ in run.transcripts:
        for metric, winner in (("correct_unswapped", pair.winner), ("correct_swapped", pair.winner_swapped)):
            read = pair.readable and winner is not None
            value = float(winner == instance.label) if read else None
            detail = run.report.strategy if read else f"{run.report.strategy}: unparsed"
            place = (instance.item_id, instance.item_id)
            rows.append(EvalItem("llmbar", role, model_digest, *place, metric, value, detail))
    return tuple(rows)
