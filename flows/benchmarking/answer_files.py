"""Scoring files of answers or judgements made elsewhere: no model, no orchestration, nothing kept."""

from collections import Counter
from typing import Any, NamedTuple

from flows.showing.evaluation_record import EvaluationRecord, truncation_note
from flows.showing.score_rows import ScoreRow, rows_of_scores
from spar_core.benchmarks.plugin import Benchmark, FileRequest


class ScoredFile(NamedTuple):
    """What a file came to: JSON-like values, rows by title, and what a reader must know."""

    plain: dict[str, Any]
    sections: tuple[tuple[str, tuple[ScoreRow, ...]], ...]
    notes: tuple[str, ...]


def score_answer_file(benchmark: Benchmark, request: FileRequest) -> ScoredFile:
    """Score a file; the items go to `request.items` where it is given.

    Raises:
        ConfigError: the benchmark scores no files.
        DataError: naming file and line, or saying which data is missing.
    """
    found = benchmark.score_file(request)
    sections = tuple((title, tuple(rows_of_scores(title, scores))) for title, scores in found.sections)
    notes = list(found.notes)
    for title, scores in found.sections:
        said = (truncation_note(score.metric, score.value, score.n) for score in scores)
        notes += [note if len(sections) == 1 else f"{title}: {note}" for note in said if note]
    licence = benchmark.source.licence if benchmark.source is not None else None
    record = EvaluationRecord(
        benchmark.name,
        [row for _, rows in sections for row in rows],
        notes,
        request={name: None if value is None else _plain(value) for name, value in request._asdict().items()},
        data={benchmark.name: {"digest": found.data_digest, "licence": licence, "left_out": len(found.left_out)}},
        left_out=Counter(drop.reason for drop in found.left_out),
        judge=found.judge,
    )
    return ScoredFile({**record.plain(), **found.plain}, sections, tuple(notes))


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, str)) else str(value)
