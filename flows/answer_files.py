"""Scoring files of answers or judgements made elsewhere: no model, no orchestration, nothing kept."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.evaluation import ifbench, ifeval
from spar_core.evaluation.data_sources import SOURCES, Benchmark, find_data, prompts_warning
from spar_core.evaluation.followbench import FollowBenchReport
from spar_core.evaluation.followbench import score_file as score_followbench_file
from spar_core.evaluation.ifeval import InstructionReport
from spar_core.evaluation.llmbar import LLMBarReport
from spar_core.evaluation.llmbar import score_file as score_llmbar_file
from spar_core.evaluation.row_files import row_writer
from spar_core.evaluation.scores import Score

_UNMATCHED_SHOWN = 10


class FileRequest(NamedTuple):
    """What to score. `prompts` and `data_dir` say where the benchmark lies, `judge` who wrote the judgements."""

    benchmark: Benchmark
    answers: Path
    items: Path | None = None
    prompts: Path | None = None
    data_dir: Path | None = None
    judge: str | None = None


class FileScores(NamedTuple):
    """What a file came to: JSON-like values, the scores by title, and what a reader must know (warnings)."""

    plain: dict[str, Any]
    sections: tuple[tuple[str, tuple[Score, ...]], ...]
    notes: tuple[str, ...]


def score_answer_file(request: FileRequest) -> FileScores:
    """Score a file; the items go to `request.items` where it is given.

    Raises:
        DataError: naming file and line, or saying which data is missing.
    """
    if request.benchmark == "followbench":
        return _followbench(request)
    if request.benchmark == "llmbar":
        return _llmbar(request)
    return _instructions(request, request.benchmark)


def _instructions(request: FileRequest, benchmark: Benchmark) -> FileScores:
    path = request.prompts or find_data(benchmark, request.data_dir)
    if benchmark == "ifeval":
        prompts = ifeval.read_prompts(path)
        report = ifeval.score_file(prompts, request.answers)
    else:
        prompts = ifbench.read_prompts(path)
        report = ifbench.score_responses(prompts, request.answers)
    with row_writer(request.items) as sink:
        for item in report.items:
            reasons = [verdict.reason for verdict in item.verdicts]
            sink.write(item.row() | ({"reasons": reasons} if any(reasons) else {}))
    notes = [] if request.prompts else [prompts_warning(benchmark, prompts)]
    notes += _instruction_notes(report)
    kinds = {score.metric: score.plain() for score in report.scores if "/" in score.metric}
    plain = {
        "benchmark": benchmark,
        **report.headline(),
        "missing": report.missing,
        "unmatched": len(report.unmatched),
        "kinds": kinds,
        "warnings": [note for note in notes if note],
    }
    return FileScores(plain, ((benchmark, report.scores),), tuple(note for note in notes if note))


def _instruction_notes(report: InstructionReport) -> list[str]:
    notes = []
    if report.missing:
        what = "count as failed, as in the reference" if report.benchmark == "ifbench" else "are left out of the scores"
        notes.append(f"{report.missing} of {len(report.items)} prompts have no answer and {what}")
    if report.unmatched:
        shown = ", ".join(where.rpartition(", ")[2] for where in report.unmatched[:_UNMATCHED_SHOWN])
        more = " and more" if len(report.unmatched) > _UNMATCHED_SHOWN else ""
        notes.append(f"{len(report.unmatched)} rows answer no prompt of the set: {shown}{more}")
    open_checks = sum(v.reason.startswith("check_timeout") for item in report.items for v in item.verdicts)
    if open_checks:
        notes.append(f"{open_checks} checks were stopped at their time limit and are left out of the scores")
    return notes


def _followbench(request: FileRequest) -> FileScores:
    folder = find_data("followbench", request.data_dir)
    report = score_followbench_file(request.answers, folder, items_out=request.items, judge_name=request.judge)
    notes = [*report.judge.warnings, *_unscored_notes(report.unscored)]
    if not all(run.data_is_published for run in report.runs):
        notes.append(f"{folder} is not the published data; scores are not comparable with published figures")
    plain = {
        "benchmark": "followbench",
        "rows": report.rows,
        "judge": report.judge.name,
        "runs": [_plain_followbench(run) for run in report.runs],
        "judge_texts": {score.metric: score.plain() for score in report.judge_texts},
        "unscored": dict(report.unscored),
        "warnings": notes,
    }
    sections = [(f"followbench-{run.language} {run.run}".strip(), run.scores) for run in report.runs]
    if report.judge_texts:
        sections.append(("judge texts", report.judge_texts))
    return FileScores(plain, tuple(sections), tuple(notes))


def _plain_followbench(run: FollowBenchReport) -> dict[str, Any]:
    published = {
        category: {"hsr": list(scores.hsr), "ssr": None if scores.ssr is None else list(scores.ssr), "csl": scores.csl}
        for category, scores in (run.published or {}).items()
    }
    return {
        "run": run.run,
        "language": run.language,
        "scores": {score.metric: score.plain() for score in run.scores},
        "published": published or None,
        "published_level_weighted": None if run.published_level_weighted is None else {**run.published_level_weighted},
        "unscored": dict(run.unscored),
    }


def _llmbar(request: FileRequest) -> FileScores:
    folder = find_data("llmbar", request.data_dir)
    report = score_llmbar_file(request.answers, folder, items_out=request.items)
    notes = _unscored_notes(report.unscored)
    if not all(run.data_is_published for run in report.runs):
        notes.append(f"{folder} is not the published data; scores are not comparable with published figures")
    plain = {
        "benchmark": "llmbar",
        "rows": report.rows,
        "runs": [_plain_llmbar(run) for run in report.runs],
        "unscored": dict(report.unscored),
        "warnings": notes,
    }
    sections = ((f"llmbar {run.evaluator} {run.strategy}".rstrip(), run.scores) for run in report.runs)
    return FileScores(plain, tuple(sections), tuple(notes))


def _plain_llmbar(run: LLMBarReport) -> dict[str, Any]:
    return {
        "evaluator": run.evaluator,
        "strategy": run.strategy,
        "scores": {score.metric: score.plain() for score in run.scores},
        "statistics": {subset: asdict(statistics) for subset, statistics in run.statistics.items()},
        "adversarial": None if run.adversarial is None else run.adversarial._asdict(),
        "overall": None if run.overall is None else run.overall._asdict(),
        "missing": dict(run.missing),
    }


def licence_of(benchmark: Benchmark) -> str:
    """The line that names a benchmark's licence."""
    return SOURCES[benchmark].licence


def _unscored_notes(unscored: Mapping[str, int]) -> list[str]:
    return [f"not scored: {_counted(unscored.items())}"] if unscored else []


def _counted(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts)
