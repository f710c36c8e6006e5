"""LLMBar metrics of one evaluator: accuracy and positional agreement, as published and over readable verdicts.

*Statistics* follow the reference: an unparsed winner is wrong, two unparsed winners agree. *Scores* are over
readable verdicts, each with a 95 % interval and the number that were not readable.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from spar_core.evaluation.llmbar.dataset import ADVERSARIAL, SUBSETS, Instance, LLMBar, Subset
from spar_core.evaluation.llmbar.reading import Pair
from spar_core.evaluation.scores import Score, Stratum, stratified_score
from spar_core.evaluation.truncation import Truncation

JUDGE_TRUNCATED = "judge_truncated"


class Judged(NamedTuple):
    """An instance and the winners an evaluator named."""

    instance: Instance
    pair: Pair


@dataclass(frozen=True, slots=True)
class SubsetStatistics:
    """Counts and percentages of one subset by the reference's arithmetic. Kappa is null where it is undefined.

    `unparsed_*` count null winners, `unreadable_ratings` the pairs in which a rating is no number.
    """

    n: int
    correct_unswapped: int
    correct_swapped: int
    correct_both: int
    equal: int
    unparsed_unswapped: int
    unparsed_swapped: int
    accuracy_pct: float
    agreement_pct: float
    correct_both_pct: float
    kappa_agreement: float | None
    unreadable_ratings: int


class Averages(NamedTuple):
    """Plain means over subsets, in percent; null while a subset of the mean is absent."""

    accuracy_pct: float
    agreement_pct: float


@dataclass(frozen=True, slots=True)
class LLMBarReport:
    """Scores of one evaluator with one strategy.

    Metrics of `scores`: `accuracy/SUBSET`, `agreement/SUBSET`, and both for `adversarial` and `overall` (plain means
    over subsets). Accuracy counts readings (two per instance), agreement instances read in both orders.
    """

    evaluator: str
    strategy: str
    statistics: Mapping[Subset, SubsetStatistics]
    adversarial: Averages | None
    overall: Averages | None
    scores: tuple[Score, ...]
    missing: Mapping[Subset, int]
    data_is_published: bool
    data_digest: str = ""


@dataclass(slots=True)
class _Cell:
    correct: int = 0
    read: int = 0
    agreeing: int = 0
    read_twice: int = 0


@dataclass(slots=True)
class _SubsetTally:
    counts: Counter[str] = field(default_factory=Counter)
    coded: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    cells: dict[int, _Cell] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """Gathers judged instances one by one; memory is bounded by the benchmark's size."""

    bench: LLMBar
    evaluator: str = ""
    strategy: str = ""
    cut: Truncation = field(default_factory=Truncation)
    """Instances on which a reply was cut, among those where it is known."""
    _subsets: dict[Subset, _SubsetTally] = field(default_factory=dict)

    def add(self, judged: Judged) -> None:
        """Count one instance's pair of winners; an instance may be judged several times."""
        instance, pair = judged
        tally = self._subsets.setdefault(instance.subset, _SubsetTally())
        right = (pair.winner == instance.label, pair.winner_swapped == instance.label)
        tally.counts.update(
            n=1,
            correct_unswapped=right[0],
            correct_swapped=right[1],
            correct_both=all(right),
            equal=pair.winner == pair.winner_swapped,
            unparsed_unswapped=pair.winner is None,
            unparsed_swapped=pair.winner_swapped is None,
            unreadable_ratings=not pair.readable,
        )
        tally.coded[pair.winner == "1", pair.winner_swapped == "1"] += 1
        cell = tally.cells.setdefault(instance.index, _Cell())
        read = [pair.readable and winner is not None for winner in (pair.winner, pair.winner_swapped)]
        cell.read += sum(read)
        cell.correct += sum(known and hit for known, hit in zip(read, right, strict=True))
        cell.read_twice += all(read)
        cell.agreeing += all(read) and pair.winner == pair.winner_swapped

    def report(self) -> LLMBarReport:
        """The scores of what was added."""
        present = [subset for subset in SUBSETS if subset in self._subsets]
        statistics = {subset: _statistics(self._subsets[subset]) for subset in present}
        scores = [score for subset in present for score in self._scores(subset, (subset,))]
        for name, subsets in (("adversarial", ADVERSARIAL), ("overall", SUBSETS)):
            if all(subset in statistics for subset in subsets):
                scores += self._scores(name, subsets)
        judged = {subset: len(tally.cells) for subset, tally in self._subsets.items()}
        lacking = {subset: len(rows) - judged.get(subset, 0) for subset, rows in self.bench.subsets.items()}
        return LLMBarReport(
            self.evaluator,
            self.strategy,
            statistics,
            _averages(statistics, ADVERSARIAL),
            _averages(statistics, SUBSETS),
            (*scores, *self.cut.scores(JUDGE_TRUNCATED)),
            {subset: count for subset, count in lacking.items() if count},
            self.bench.is_published,
            self.bench.data_digest,
        )

    def _scores(self, name: str, subsets: tuple[Subset, ...]) -> tuple[Score, Score]:
        tallies = [self._subsets[subset] for subset in subsets]
        answers = sum(tally.counts["n"] for tally in tallies)
        accuracy = [_stratum([(cell.correct, cell.read) for cell in tally.cells.values()]) for tally in tallies]
        agreement = [_stratum([(cell.agreeing, cell.read_twice) for cell in tally.cells.values()]) for tally in tallies]
        read = sum(cell.read for tally in tallies for cell in tally.cells.values())
        twice = sum(cell.read_twice for tally in tallies for cell in tally.cells.values())
        return (
            stratified_score(f"accuracy/{name}", accuracy, (1.0,), 2 * answers - read),
            stratified_score(f"agreement/{name}", agreement, (1.0,), answers - twice),
        )


def _stratum(cells: list[tuple[int, int]]) -> Stratum:
    known = [(total, count) for total, count in cells if count]
    return Stratum([[float(total)] for total, _ in known], [[count] for _, count in known])


def _statistics(tally: _SubsetTally) -> SubsetStatistics:
    counts = tally.counts
    n = counts["n"]
    return SubsetStatistics(
        n=n,
        correct_unswapped=counts["correct_unswapped"],
        correct_swapped=counts["correct_swapped"],
        correct_both=counts["correct_both"],
        equal=counts["equal"],
        unparsed_unswapped=counts["unparsed_unswapped"],
        unparsed_swapped=counts["unparsed_swapped"],
        accuracy_pct=(counts["correct_unswapped"] + counts["correct_swapped"]) / 2 / n * 100,
        agreement_pct=counts["equal"] / n * 100,
        correct_both_pct=counts["correct_both"] / n * 100,
        kappa_agreement=_kappa(tally.coded),
        unreadable_ratings=counts["unreadable_ratings"],
    )


def _kappa(coded: Mapping[tuple[bool, bool], int]) -> float | None:
    """Cohen's kappa between the orders, a winner coded as being "1" or not; null if chance alone agrees fully."""
    n = sum(coded.values())
    first = coded.get((True, True), 0) + coded.get((True, False), 0)
    second = coded.get((True, True), 0) + coded.get((False, True), 0)
    by_chance = first * (n - second) / n + (n - first) * second / n
    differing = coded.get((True, False), 0) + coded.get((False, True), 0)
    return 1 - differing / by_chance if by_chance else None


def _averages(statistics: Mapping[Subset, SubsetStatistics], subsets: tuple[Subset, ...]) -> Averages | None:
    if not all(subset in statistics for subset in subsets):
        return None
    rows = [statistics[subset] for subset in subsets]
    return Averages(
        sum(row.accuracy_pct for row in rows) / len(rows), sum(row.agreement_pct for row in rows) / len(rows)
    )
