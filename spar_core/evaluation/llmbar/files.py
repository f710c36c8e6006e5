"""Scoring a file of LLMBar judgements made elsewhere, row by row.

A row names its instance (`subset`, `index`), its `evaluator` and `strategy` (optional), and brings the raw texts:

* `comparison`: `raw`, `raw_swapped`, and `parse` (`line_start` or `is_better`; by the strategy where absent);
* `rating`: `raw_score_1`, `raw_score_2`;
* `swap_and_synthesize`: `stages`, one or two of `{parse, raw, raw_swapped}`.

`id` tells several rows of one instance apart; `finish_reason` (`length`: cut) says how they ended. Other columns are
ignored, but a `label` must be the data's.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from spar_core.evaluation.llmbar.dataset import SUBSETS, Instance, LLMBar, Subset, load_llmbar
from spar_core.evaluation.llmbar.reading import Pair, Pattern, conflict, read_comparison, read_ratings
from spar_core.evaluation.llmbar.scoring import Judged, LLMBarReport, Tally
from spar_core.evaluation.llmbar.strategies import OURS
from spar_core.evaluation.row_files import FileRow, RowSink, SeenIds, read_rows, row_writer

_KINDS = ("comparison", "rating", "swap_and_synthesize")
_PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
_NO_SECOND_STAGE = "second_stage_missing"


@dataclass(frozen=True, slots=True)
class LLMBarFileReport:
    """What a file holds: one report per evaluator and strategy; `unscored` counts readings by reason."""

    rows: int
    runs: tuple[LLMBarReport, ...]
    unscored: Mapping[str, int]


def score_file(path: Path, data_dir: Path, *, items_out: Path | None = None) -> LLMBarFileReport:
    """Score every row of `path`, in memory bounded by the benchmark's size; winners by row go to `items_out`.

    A row of `items_out` carries the row's `id`, `winner` and `winner_swapped` ("1", "2" or null), and for Swap
    strategies the same by stage.

    Raises:
        DataError: wrong columns, unknown instances, duplicates, text that is not UTF-8 or JSON; names file and line.
    """
    bench = load_llmbar(data_dir)
    tallies: dict[tuple[str, str], Tally] = {}
    unscored: Counter[str] = Counter()
    seen, rows = SeenIds(), 0
    with row_writer(items_out) as sink:
        for row in read_rows(path):
            rows += 1
            instance = _instance(row, bench)
            run = (row.optional_text("evaluator") or "", row.optional_text("strategy") or "")
            identity = row.identity("/".join((*run, instance.item_id)))
            seen.add(row, identity)
            pair, stages, reason = _read(row, run[1])
            tally = tallies.setdefault(run, Tally(bench, *run))
            tally.add(Judged(instance, pair))
            tally.cut.add(row.optional_text("finish_reason"))
            if reason:
                unscored[reason] += 2
            else:
                unscored.update(unparsed=(pair.winner is None) + (pair.winner_swapped is None))
            _write(sink, identity, instance, run, pair, stages, reason)
    reasons = {reason: count for reason, count in unscored.items() if count}
    return LLMBarFileReport(rows, tuple(tally.report() for tally in tallies.values()), reasons)


def _write(
    sink: RowSink,
    identity: str,
    instance: Instance,
    run: tuple[str, str],
    pair: Pair,
    stages: list[Pair],
    reason: str,
) -> None:
    row: dict[str, Any] = {"id": identity, "subset": instance.subset, "index": instance.index}
    row |= {"evaluator": run[0], "strategy": run[1]}
    if stages:
        row["stages"] = [{"winner": stage.winner, "winner_swapped": stage.winner_swapped} for stage in stages]
    sink.write({**row, "winner": pair.winner, "winner_swapped": pair.winner_swapped, "unscored": reason or None})


def _instance(row: FileRow, bench: LLMBar) -> Instance:
    subset = cast("Subset", row.choice("subset", SUBSETS))
    index = row.integer("index")
    if not 0 <= index < len(bench.subsets[subset]):
        raise row.fail(f"{subset} has instances 0 to {len(bench.subsets[subset]) - 1}, not {index}")
    instance = bench.subsets[subset][index]
    if "label" in row.values and row.integer("label") != int(instance.label):
        raise row.fail(f"label {row.values['label']} of {instance.item_id} is {instance.label} in the data")
    return instance


def _read(row: FileRow, strategy: str) -> tuple[Pair, list[Pair], str]:
    """The final pair, the pairs by stage (Swap only), and the reason if the row as a whole has no verdict."""
    kind = row.choice("kind", _KINDS, _guess_kind(row))
    if kind == "comparison":
        return _comparison(row, _default_pattern(strategy)), [], ""
    if kind == "rating":
        pair = read_ratings(_raw(row, "raw_score_1"), _raw(row, "raw_score_2"))
        return pair, [], "" if pair.readable else "rating_not_a_number"
    stages = _stages(row, strategy)
    first, last = stages[0], stages[-1]
    if not conflict(first):
        return first, stages, ""
    # Without the second stage a conflict has no outcome; taking the first stage's would invent one.
    return (last, stages, "") if len(stages) == 2 else (Pair(None, None), stages, _NO_SECOND_STAGE)


def _stages(row: FileRow, strategy: str) -> list[Pair]:
    stages = row.values.get("stages")
    if not isinstance(stages, list) or not 1 <= len(stages) <= 2 or not all(isinstance(s, dict) for s in stages):
        raise row.fail("column 'stages' must be a list of one or two objects with raw and raw_swapped")
    second = "is_better" if strategy.removeprefix(OURS) == "Swap_CoT" else "line_start"
    defaults: tuple[Pattern, Pattern] = ("is_better", cast("Pattern", second))
    return [
        _comparison(FileRow(f"{row.where}, stage {number + 1}", stage), default)
        for number, (stage, default) in enumerate(zip(stages, defaults, strict=False))
    ]


def _comparison(row: FileRow, default: Pattern) -> Pair:
    pattern = cast("Pattern", row.choice("parse", _PATTERNS, default))
    return read_comparison(_raw(row, "raw"), _raw(row, "raw_swapped"), pattern)


def _default_pattern(strategy: str) -> Pattern:
    return "is_better" if strategy.removeprefix(OURS) == "CoT" else "line_start"


def _raw(row: FileRow, name: str) -> str | None:
    """A text that must be there; null means that the evaluator gave none."""
    return row.optional_text(name) if name in row.values else row.text(name)


def _guess_kind(row: FileRow) -> str:
    if "raw_score_1" in row.values:
        return "rating"
    return "swap_and_synthesize" if "stages" in row.values else "comparison"
