"""The benchmarks on a model or server: the flow behind `spar eval BENCHMARK --model REF`."""

from functools import partial
from typing import Any, cast

from prefect import flow

from flows.benchmarking.item_tables import publish_items
from flows.benchmarking.request import BenchmarkRequest, BenchmarkResult
from flows.benchmarking.session import BenchmarkSession, StageBenchmark
from flows.showing.evaluation_record import truncation_notes
from flows.wiring.runs import RunPlan, opened_run
from flows.wiring.stage_calls import plain
from spar_core.benchmarks import benchmark
from spar_core.benchmarks.plugin import AskedBenchmark, JudgedBenchmark, Part
from spar_core.errors import NothingAnsweredError
from spar_core.records import EvalScore
from storage.artifacts import ArtifactRef
from storage.home import Home
from tasks.benchmarks import (
    BENCHMARK_ANSWERS,
    BENCHMARK_MEASURES,
    BENCHMARK_PROMPTS,
    BENCHMARK_SCORES,
    BENCHMARK_VERDICTS,
    log_scores,
)
from tasks.runners import THREADS


@flow(name="benchmarks", flow_run_name="benchmarks", task_runner=THREADS)
def benchmarks(request: BenchmarkRequest) -> BenchmarkResult:
    """Run benchmarks; every stage is cached by content, so the same request resumes and other ones share its answers.

    What an engine refuses as a whole is not measured, and a note says so; the rest goes on.

    Raises:
        ConfigError: what was asked for does not go together.
        NothingAnsweredError: nothing of it could be measured.
        SparError: data, a model or a server that cannot be used.
    """
    home, config = Home(request.home), request.configuration()
    bench = BenchmarkSession(request, home, config)
    with opened_run(RunPlan(home, bench.run_id, config.model_dump(mode="json"), "run")):
        scores = [score for name in request.names() for score in scores_of(bench, name)]
        if bench.unmeasured and not scores:
            raise NothingAnsweredError("; ".join(bench.unmeasured.values()))
        log_scores(str(home.root), bench.run_id, bench.model.iteration, scores, bench.versions())
        publish_items(home, bench.run_id)
    return result_of(bench, scores)


def scores_of(session: BenchmarkSession, name: str) -> list[EvalScore]:
    """The scores of one benchmark, its stages run where they are not known."""
    found = benchmark(name)
    if isinstance(found, StageBenchmark):
        passes = [(name, partial(found.stages, session))]
    else:
        asked = cast("AskedBenchmark", found)
        parts = asked.parts(session.options())
        passes = [(_called(name, part), partial(_part, session, asked, part)) for part in parts]
    scores: list[EvalScore] = []
    for place, measure in passes:
        try:
            scores += [score for artifact in measure() for score in artifact.read("eval_scores")]
        except NothingAnsweredError as error:
            session.unmeasured[place] = str(error)
    return scores


def _called(benchmark: str, part: Part) -> str:
    return part.place if part.place.startswith(benchmark) else f"{benchmark}, {part.place}"


def result_of(session: BenchmarkSession, scores: list[EvalScore]) -> BenchmarkResult:
    """What the request came to."""
    unmeasured = [f"{place} is not measured: {reason}" for place, reason in session.unmeasured.items()]
    notes = dict.fromkeys([*session.notes, *truncation_notes(scores), *unmeasured])
    left_out: dict[str, int] = {}
    for artifact in session.artifacts.values():
        for reason, count in artifact.manifest().drops.items():
            left_out[reason] = left_out.get(reason, 0) + count
    return BenchmarkResult(
        session.run_id,
        tuple(scores),
        session.judge_name,
        tuple(notes),
        tuple(session.licences),
        {**plain(session.shown_answering.sampling), **session.shown_answering.under_system()},
        session.shown_answering.settings,
        session.config.seed,
        session.data,
        left_out,
    )


def _part(session: BenchmarkSession, found: AskedBenchmark, part: Part) -> list[ArtifactRef]:
    """The stages of one pass: prompts, answers where the model is asked, verdicts where somebody judges, scores."""
    skipping = {"skip_bad": True} if session.request.skip_bad and found.takes_prompts else {}
    data = {**part.data, **skipping}
    reads = {"benchmark": found.name, "version": found.version, "limit": session.request.limit, "data": data}
    files = {"data": session.load(found, data)}
    session.notes += [part.note] if part.note else []
    place = part.place if part.data else found.name
    inputs = {"prompts": session.run(BENCHMARK_PROMPTS.named(place), config=reads, files=files)}
    subject = {"model": session.model.served.model}
    if found.answered:
        asked = {**session.answering.asked(), **({"chats_of": found.name} if found.multi_turn else {})}
        inputs["answers"] = session.run(BENCHMARK_ANSWERS.named(place), inputs, subject, asked)
    scored = {**reads, "role": session.role(found), **(session.answering.scored() if found.answered else {})}
    if not isinstance(found, JudgedBenchmark):
        return [session.run(BENCHMARK_MEASURES.named(part.place), inputs, subject, scored, files=files)]
    return [_judged(session, found, part, inputs, scored, files)]


def _judged(
    session: BenchmarkSession,
    found: JudgedBenchmark,
    part: Part,
    inputs: dict[str, ArtifactRef],
    scored: dict[str, Any],
    files: dict[str, Any],
) -> ArtifactRef:
    judge = session.judge if found.judge == "judge" and session.judge is not None else session.refiner
    subject = {"model": session.model.served.model} if found.answered else {"refiner": session.refiner.served.model}
    named = {**scored, **part.judging, "evaluator": judge.name}
    judging = {**named, **session.judging()} if part.votes else named
    texts = session.judge_prompts() if part.own_prompts else {}
    asked = {**subject, found.judge: judge.served.model}
    verdicts = session.run(BENCHMARK_VERDICTS.named(part.place), inputs, asked, judging, files={**files, **texts})
    scores = {"verdicts": verdicts, **{name: ref for name, ref in inputs.items() if name == "answers"}}
    return session.run(BENCHMARK_SCORES.named(part.place), scores, subject, named, files=files)
