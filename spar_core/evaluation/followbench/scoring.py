"""FollowBench metrics of one model: HSR, SSR and CSL, once as published and once honest about the unscored.

*Published* keeps the reference's arithmetic, in which an unreadable judge text enters the sums as -1.
*Scores* are over the rows that have a verdict, each with a 95 % interval and the number that have none.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from spar_core.evaluation.followbench.dataset import (
    CATEGORIES,
    JUDGED_CATEGORIES,
    LEVELS,
    Category,
    FollowBench,
    FollowBenchItem,
    ItemKey,
)
from spar_core.evaluation.followbench.judging import Verdict, parse_judge
from spar_core.evaluation.followbench.rules import check_rule
from spar_core.evaluation.scores import Score, Stratum, clustered_score, share_score, stratified_score
from spar_core.evaluation.truncation import Truncation

NOT_IN_FORM = "judge_not_in_form"
NO_JUDGE_TEXT = "no_judge_text"
NO_ANSWER = "no_answer"


class Outcome(NamedTuple):
    """The verdict on one answer, or the reason why there is none."""

    item: FollowBenchItem
    verdict: Verdict | None
    reason: str = ""


class RawSums(NamedTuple):
    """What the reference adds up over the judged or the rule-scored groups of a category; five levels."""

    groups: int
    hard: tuple[int, ...]
    soft: tuple[float, ...]
    run_lengths: int


@dataclass(frozen=True, slots=True)
class PublishedScores:
    """One category by the reference's arithmetic: percentages by level, CSL in levels. `ssr` is null for `example`."""

    hsr: tuple[float, ...]
    ssr: tuple[float, ...] | None
    csl: float
    judged: RawSums
    rule: RawSums


@dataclass(frozen=True, slots=True)
class FollowBenchReport:
    """Scores of one model. `published` is null unless every row has exactly one answer.

    Metrics of `scores`: `hsr`, `ssr` (level-weighted mean over the five judged categories), `csl` (mean over the
    groups of all six), and `hsr/CATEGORY/LEVEL`, `ssr/CATEGORY/LEVEL`, `csl/CATEGORY`.
    """

    run: str
    language: str
    scores: tuple[Score, ...]
    published: Mapping[Category, PublishedScores] | None
    published_level_weighted: Mapping[str, float] | None
    unscored: Mapping[str, int]
    data_is_published: bool
    data_digest: str = ""


def rule_outcome(item: FollowBenchItem, generation: str | None) -> Outcome:
    """Score a rule-scored row; an absent generation is unscored."""
    if generation is None:
        return Outcome(item, None, NO_ANSWER)
    met = check_rule(item, generation)
    return Outcome(item, Verdict(int(met), float(met)))


def judge_outcome(item: FollowBenchItem, judge_text: str | None) -> Outcome:
    """Read the judge's text on a judged row."""
    if judge_text is None:
        return Outcome(item, None, NO_JUDGE_TEXT)
    verdict = parse_judge(judge_text, item.key.level, item.language)
    return Outcome(item, verdict, "" if verdict else NOT_IN_FORM)


def score_answers(
    bench: FollowBench,
    answers: Mapping[ItemKey, str | None],
    judge_texts: Mapping[ItemKey, str | None],
    run: str = "",
) -> tuple[FollowBenchReport, tuple[Outcome, ...]]:
    """Score one model's answers to the whole benchmark; rows absent from the mappings are unscored."""
    outcomes = tuple(
        rule_outcome(item, answers.get(item.key)) if item.by_rule else judge_outcome(item, judge_texts.get(item.key))
        for item in bench.asked()
    )
    tally = Tally(bench, run)
    for outcome in outcomes:
        tally.add(outcome)
    return tally.report(), outcomes


@dataclass(slots=True)
class _Cell:
    hard: int = 0
    soft: float = 0.0
    scored: int = 0
    last: Outcome | None = None
    rows: int = 0


@dataclass(slots=True)
class Tally:
    """Gathers outcomes one by one; memory is bounded by the benchmark's size, not by the number of answers."""

    bench: FollowBench
    run: str = ""
    cut: Truncation = field(default_factory=Truncation)
    """Answers of a file that says how they ended; a model's own are counted by the stage."""
    _cells: dict[ItemKey, _Cell] = field(default_factory=dict)
    _unscored: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one answer's outcome; an item may be answered several times."""
        cell = self._cells.setdefault(outcome.item.key, _Cell())
        cell.rows += 1
        cell.last = outcome
        if outcome.verdict is None:
            self._unscored[outcome.reason] += 1
        else:
            cell.scored += 1
            cell.hard += outcome.verdict.hard
            cell.soft += outcome.verdict.soft

    def report(self) -> FollowBenchReport:
        """The scores of what was added."""
        bench = self.bench
        missing = sum(item.key not in self._cells for item in bench.asked())
        unscored = dict(self._unscored) | ({"not_in_file": missing} if missing else {})
        published = self._published() if not missing and self._single() else None
        complete = published is not None and bench.language == "en" and published.keys() >= set(JUDGED_CATEGORIES)
        weighted = level_weighted(published) if published and complete else None
        categories = (score for category in CATEGORIES for score in self._category(category))
        scores = (*self._overall(), *categories, *self.cut.scores())
        return FollowBenchReport(
            self.run, bench.language, scores, published, weighted, unscored, bench.is_published, bench.data_digest
        )

    def _single(self) -> bool:
        return all(cell.rows == 1 for cell in self._cells.values())

    def _overall(self) -> Iterable[Score]:
        weights = tuple(float(level) for level in LEVELS)
        for metric in ("hsr", "ssr"):
            strata = [self._stratum(category, metric) for category in JUDGED_CATEGORIES]
            unscored = sum(self._lacking(category, level) for category in JUDGED_CATEGORIES for level in LEVELS)
            yield stratified_score(metric, strata, weights, unscored)
        if self._single():
            runs = [run for category in CATEGORIES for run in self._runs(category)]
            yield _run_score("csl", runs)

    def _category(self, category: Category) -> Iterable[Score]:
        for metric in ("hsr", "ssr") if category != "example" else ("hsr",):
            stratum = self._stratum(category, metric)
            for column, level in enumerate(LEVELS):
                sums = [row[column] for row in stratum.sums]
                counts = [row[column] for row in stratum.counts]
                name, unscored = f"{metric}/{category}/{level}", self._lacking(category, level)
                if metric == "hsr" and max(counts, default=0) <= 1:
                    yield share_score(name, int(sum(sums)), sum(counts), unscored)
                else:
                    present = [(s, c) for s, c in zip(sums, counts, strict=True) if c]
                    yield clustered_score(name, [s for s, _ in present], [c for _, c in present], unscored)
        if self._single():
            yield _run_score(f"csl/{category}", self._runs(category))

    def _stratum(self, category: Category, metric: str) -> Stratum:
        sums: list[list[float]] = []
        counts: list[list[int]] = []
        for example_id in self.bench.groups(category):
            cells = [self._cells.get(ItemKey(category, example_id, level), _Cell()) for level in LEVELS]
            sums.append([float(cell.hard) if metric == "hsr" else cell.soft for cell in cells])
            counts.append([cell.scored for cell in cells])
        return Stratum(sums, counts)

    def _lacking(self, category: Category, level: int) -> int:
        """Answers without a verdict, a group without any answer counting as one."""
        cells = (self._cells.get(ItemKey(category, group, level)) for group in self.bench.groups(category))
        return sum(1 if cell is None else cell.rows - cell.scored for cell in cells)

    def _runs(self, category: Category) -> list[int | None]:
        """Consistent levels of each group; null where an unscored row decides the length."""
        return [self._run_length(category, group) for group in self.bench.groups(category)]

    def _run_length(self, category: Category, group: int) -> int | None:
        for level in LEVELS:
            cell = self._cells.get(ItemKey(category, group, level))
            if cell is None or not cell.scored:
                return None
            if not cell.hard:
                return level - 1
        return len(LEVELS)

    def _published(self) -> dict[Category, PublishedScores]:
        return {category: self._published_category(category) for category in CATEGORIES if self.bench.groups(category)}

    def _published_category(self, category: Category) -> PublishedScores:
        groups = self.bench.groups(category)
        judged = self._raw_sums(category, [group for group, by_rule in groups.items() if not by_rule])
        rule = self._raw_sums(category, [group for group, by_rule in groups.items() if by_rule])
        hsr = _percentages(judged.hard, rule.hard, len(groups))
        ssr = None if category == "example" else _percentages(judged.soft, rule.soft, len(groups))
        csl = round((judged.run_lengths + rule.run_lengths) / len(groups), 1)
        return PublishedScores(hsr, ssr, csl, judged, rule)

    def _raw_sums(self, category: Category, groups: list[int]) -> RawSums:
        rows = [
            [reference_verdict(self._cells[ItemKey(category, group, level)].last) for level in LEVELS]
            for group in groups
        ]
        hard = tuple(sum(row[column].hard for row in rows) for column in range(len(LEVELS)))
        soft = tuple(sum(row[column].soft for row in rows) for column in range(len(LEVELS)))
        lengths = [next((i for i, verdict in enumerate(row) if verdict.hard != 1), len(LEVELS)) for row in rows]
        return RawSums(len(groups), hard, soft, sum(lengths))


def _percentages(judged: Sequence[float], rule: Sequence[float], groups: int) -> tuple[float, ...]:
    return tuple(round(100 * (one + other) / groups, 2) for one, other in zip(judged, rule, strict=True))


def _run_score(metric: str, runs: list[int | None]) -> Score:
    known = [float(run) for run in runs if run is not None]
    return clustered_score(metric, known, [1] * len(known), len(runs) - len(known), (0.0, float(len(LEVELS))))


def reference_verdict(outcome: Outcome | None) -> Verdict:
    """The numbers the reference adds up: -1 for a text not in form, 0 for an absent answer or Chinese judge text."""
    if outcome is None or (outcome.verdict is None and outcome.reason == NO_ANSWER):
        return Verdict(0, 0.0)
    if outcome.verdict is not None:
        return outcome.verdict
    if outcome.reason == NO_JUDGE_TEXT and outcome.item.language == "zh":
        return Verdict(0, 0.0)
    return Verdict(-1, -1.0)


def level_weighted(published: Mapping[Category, PublishedScores]) -> dict[str, float]:
    """Percentages weighted by level, averaged over the judged categories (`example` has no part in it)."""
    total = sum(LEVELS)

    def mean(rows: list[tuple[float, ...]]) -> float:
        return sum(sum(level * v for level, v in zip(LEVELS, row, strict=True)) / total for row in rows) / len(rows)

    scored = [published[category] for category in JUDGED_CATEGORIES]
    return {"hsr": mean([entry.hsr for entry in scored]), "ssr": mean([entry.ssr or () for entry in scored])}
