"""Scoring a file of FollowBench answers and judge texts made elsewhere, row by row.

Three shapes of row, told apart by `kind`, or by their columns where it is absent:

* `rule`: `lang, category, example_id, level, generation` (a judged row may bring its `judge_output` along);
* `judge_parse`: `lang, level, judge_output`, and `category, example_id` where it judges a benchmark row;
* `aggregate`: `lang, run, generations, judge_outputs`, a whole run as `{category: {example_id: {level: text}}}`.

`run` names the model answered with; `id` tells several rows of one item apart; `finish_reason` (`length`: cut) says
how an answer ended. Other columns are ignored.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from spar_core.evaluation.asking import JudgeIdentity, judge_of_file
from spar_core.evaluation.followbench.dataset import (
    CATEGORIES,
    LANGUAGES,
    LEVELS,
    Category,
    FollowBench,
    FollowBenchItem,
    ItemKey,
    Language,
    load_followbench,
)
from spar_core.evaluation.followbench.judging import Verdict, parse_judge
from spar_core.evaluation.followbench.scoring import (
    NO_JUDGE_TEXT,
    NOT_IN_FORM,
    FollowBenchReport,
    Outcome,
    PublishedScores,
    RawSums,
    Tally,
    judge_outcome,
    reference_verdict,
    rule_outcome,
    score_answers,
)
from spar_core.evaluation.row_files import FileRow, RowSink, SeenIds, read_rows, row_writer
from spar_core.evaluation.scores import Score, histogram_score, share_score

_KINDS = ("rule", "judge_parse", "aggregate")


@dataclass(frozen=True, slots=True)
class FollowBenchFileReport:
    """What a file holds.

    `runs` has one report per language and `run`; `judge_texts` scores the judge texts that belong to no row
    (`judge_texts/LANG/hard`, `.../soft`); `unscored` counts rows without verdict by reason.
    """

    rows: int
    runs: tuple[FollowBenchReport, ...]
    judge_texts: tuple[Score, ...]
    unscored: Mapping[str, int]
    judge: JudgeIdentity


def score_file(
    path: Path, data_dir: Path, *, items_out: Path | None = None, judge_name: str | None = None
) -> FollowBenchFileReport:
    """Score every row of `path`, in memory bounded by the benchmark's size; verdicts by row go to `items_out`.

    A row of `items_out` carries the row's `id` and columns named like those of the published expectations: `expected`
    (rule), `hard` and `soft` (-1 where the judge's text is not in form), or `expected` by category (aggregate).

    Raises:
        DataError: wrong columns, unknown items, duplicates, text that is not UTF-8 or JSON; names file and line.
    """
    scorer = _FileScorer(data_dir)
    with row_writer(items_out) as sink:
        for row in read_rows(path):
            scorer.add(row, sink)
    return scorer.report(judge_of_file(judge_name))


@dataclass(slots=True)
class _Loose:
    """Judge texts that belong to no row of the benchmark."""

    hard: int = 0
    soft: Counter[float] = field(default_factory=Counter)
    unscored: int = 0


class _FileScorer:
    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._benches: dict[Language, FollowBench] = {}
        self._tallies: dict[tuple[str, Language], Tally] = {}
        self._whole_runs: list[FollowBenchReport] = []
        self._loose: dict[Language, _Loose] = {}
        self._unscored: Counter[str] = Counter()
        self._seen = SeenIds()
        self._rows = 0

    def add(self, row: FileRow, sink: RowSink) -> None:
        kind = row.choice("kind", _KINDS, _guess_kind(row))
        language = cast("Language", row.choice("lang", LANGUAGES))
        self._rows += 1
        if kind == "aggregate":
            self._add_run(row, self._bench(language), sink)
        elif kind == "judge_parse" and "example_id" not in row.values:
            self._add_loose(row, language, sink)
        else:
            self._add_item(row, kind, self._bench(language), sink)

    def report(self, judge: JudgeIdentity) -> FollowBenchFileReport:
        runs = (*(tally.report() for tally in self._tallies.values()), *self._whole_runs)
        scores: list[Score] = []
        for language, loose in sorted(self._loose.items()):
            n = sum(loose.soft.values())
            scores.append(share_score(f"judge_texts/{language}/hard", loose.hard, n, loose.unscored))
            scores.append(histogram_score(f"judge_texts/{language}/soft", loose.soft, loose.unscored))
        return FollowBenchFileReport(self._rows, runs, tuple(scores), dict(self._unscored), judge)

    def _bench(self, language: Language) -> FollowBench:
        if language not in self._benches:
            self._benches[language] = load_followbench(self._data_dir, language)
        return self._benches[language]

    def _add_item(self, row: FileRow, kind: str, bench: FollowBench, sink: RowSink) -> None:
        item, run = _item(row, bench), row.optional_text("run") or ""
        identity = row.identity(f"{run}/{item.item_id}")
        self._seen.add(row, identity)
        outcome = _outcome(row, kind, item)
        tally = self._tallies.setdefault((run, bench.language), Tally(bench, run))
        tally.add(outcome)
        tally.cut.add(row.optional_text("finish_reason"))
        self._count(outcome.verdict, outcome.reason)
        where: dict[str, Any] = {"id": identity, "kind": kind, "lang": bench.language, **item.key._asdict()}
        met = None if outcome.verdict is None else bool(outcome.verdict.hard)
        expected = {"expected": met} if item.by_rule else {}
        hard, soft = reference_verdict(outcome)
        sink.write({**where, **expected, "hard": hard, "soft": soft, "unscored": outcome.reason or None})

    def _add_loose(self, row: FileRow, language: Language, sink: RowSink) -> None:
        level, text = _level(row), _required_or_null(row, "judge_output")
        identity = row.identity(row.where)
        self._seen.add(row, identity)
        verdict = None if text is None else parse_judge(text, level, language)
        reason = "" if verdict else NO_JUDGE_TEXT if text is None else NOT_IN_FORM
        loose = self._loose.setdefault(language, _Loose())
        if verdict is None:
            loose.unscored += 1
        else:
            loose.hard += verdict.hard
            loose.soft[verdict.soft] += 1
        self._count(verdict, reason)
        hard, soft = verdict or ((0, 0) if text is None and language == "zh" else (-1, -1))
        sink.write({"id": identity, "kind": "judge_parse", "hard": hard, "soft": soft, "unscored": reason or None})

    def _add_run(self, row: FileRow, bench: FollowBench, sink: RowSink) -> None:
        run = row.text("run")
        identity = row.identity(f"{bench.language}/{run}")
        self._seen.add(row, identity)
        answers = dict(_nested(row, "generations", bench))
        judge_texts = dict(_nested(row, "judge_outputs", bench))
        report, outcomes = score_answers(bench, answers, judge_texts, run)
        self._whole_runs.append(report)
        for outcome in outcomes:
            self._count(outcome.verdict, outcome.reason)
        invalid = sum(outcome.reason == NOT_IN_FORM for outcome in outcomes)
        published = report.published or {}
        sink.write(
            {
                "id": identity,
                "kind": "aggregate",
                "lang": bench.language,
                "run": run,
                "contains_invalid_judge_output": invalid > 0,
                "invalid_judge_outputs": invalid,
                "expected": {category: _expected(category, scores) for category, scores in published.items()},
                "expected_level_weighted_mean": report.published_level_weighted,
                "unscored": dict(report.unscored),
            }
        )

    def _count(self, verdict: Verdict | None, reason: str) -> None:
        if verdict is None:
            self._unscored[reason] += 1


def _guess_kind(row: FileRow) -> str | None:
    if "generations" in row.values or "judge_outputs" in row.values:
        return "aggregate"
    if "generation" in row.values:
        return "rule"
    return "judge_parse" if "judge_output" in row.values else None


def _outcome(row: FileRow, kind: str, item: FollowBenchItem) -> Outcome:
    if item.by_rule:
        if kind == "judge_parse":
            raise row.fail(f"{item.item_id} is scored by rule; give its answer as 'generation'")
        return rule_outcome(item, _required_or_null(row, "generation"))
    if kind == "judge_parse":
        return judge_outcome(item, _required_or_null(row, "judge_output"))
    return judge_outcome(item, row.optional_text("judge_output"))


def _required_or_null(row: FileRow, name: str) -> str | None:
    """A text column that must be there; null means that there is no answer."""
    return row.optional_text(name) if name in row.values else row.text(name)


def _level(row: FileRow) -> int:
    level = row.integer("level")
    if level not in LEVELS:
        raise row.fail(f"column 'level' must be 1 to 5, not {level}")
    return level


def _item(row: FileRow, bench: FollowBench) -> FollowBenchItem:
    category = cast("Category", row.choice("category", CATEGORIES))
    key = ItemKey(category, row.integer("example_id"), _level(row))
    item = bench.items.get(key)
    if item is None:
        raise row.fail(f"no {category} example {key.example_id} in the {bench.language} data")
    source = row.optional_text("source")
    if source is not None and source != item.source:
        raise row.fail(f"{item.item_id} has source {item.source!r} in the data, not {source!r}")
    return item


def _nested(row: FileRow, name: str, bench: FollowBench) -> Iterator[tuple[ItemKey, str | None]]:
    for category, groups in row.table(name).items():
        for example_id, levels in _mapping(row, groups, f"{name}.{category}").items():
            for level, text in _mapping(row, levels, f"{name}.{category}.{example_id}").items():
                place = f"{name}.{category}.{example_id}.{level}"
                number = int(example_id) if example_id.isdecimal() else -1
                key = ItemKey(cast("Category", category), number, int(level) if level in "12345" and level else -1)
                if key not in bench.items:
                    raise row.fail(f"{place}: no such row in the {bench.language} data")
                if text is not None and not isinstance(text, str):
                    raise row.fail(f"{place} must be text, not {type(text).__name__}")
                yield key, text


def _mapping(row: FileRow, value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise row.fail(f"{place} must be an object, not {type(value).__name__}")
    return value


def _expected(category: Category, scores: PublishedScores) -> dict[str, Any]:
    shown: dict[str, Any] = {"hsr": list(scores.hsr), "csl": scores.csl}
    if category == "example":
        return shown
    return {**_sums("judged", scores.judged), **_sums("rule", scores.rule), **shown, "ssr": list(scores.ssr or ())}


def _sums(name: str, sums: RawSums) -> dict[str, Any]:
    shown: dict[str, Any] = {f"{name}_groups": sums.groups, f"{name}_hard": list(sums.hard)}
    if name == "judged":  # a rule's verdict is both hard and soft
        shown["judged_soft"] = [round(value, 6) for value in sums.soft]
    return {**shown, f"{name}_csl_sum": sums.run_lengths}
