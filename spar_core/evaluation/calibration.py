"""How far a refiner's votes can be trusted, measured where a checker knows the truth.

The positive class is NO: a search needs the judge to find what fails. With "failing" for truly wrong,

    precision          failing among the texts called NO        recall       called NO among the failing
    specificity        called YES among the right               balanced accuracy   mean of recall and specificity

all over texts whose votes made a majority. Of one constraint kind they are taken over the failing texts that break the
kind and the right texts whose prompt holds it. Calibration is that of the votes: nothing here reads a verdict that a
checker decided (`judging.anchor`).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.judged_texts import JudgedText
from spar_core.evaluation.statistics import Clusters, Floats, bootstrap, mean_of_two, share_interval

RELIABILITY_STEPS = 5
"""The reliability curve has a point per fifth: with five votes, one per vote share there can be."""


class Figure(NamedTuple):
    """A metric, or why there is none: `reason` where `interval` is null."""

    metric: str
    interval: Estimate | None
    reason: str = ""


def judge_quality(texts: Sequence[JudgedText], suffix: str = "", *, sampled_by_truth: bool = False) -> list[Figure]:
    """Precision, recall, specificity and balanced accuracy of the majority verdicts.

    Args:
        texts: judged texts; those without a majority do not count.
        suffix: appended to the metrics' names.
        sampled_by_truth: the share of wrong texts was set, not found; precision would only mirror it and is left out.
    """
    scored = [text for text in texts if text.said is not None]
    wrong, right = [t for t in scored if not t.right], [t for t in scored if t.right]
    recall = _share(f"judge_recall{suffix}", wrong, [not t.said for t in wrong], "no failing text was judged")
    specificity = _share(f"judge_specificity{suffix}", right, [bool(t.said) for t in right], "no right text was judged")
    figures = [recall, specificity]
    if not sampled_by_truth:
        called = [t for t in scored if not t.said]
        figures.append(_share(f"judge_precision{suffix}", called, [not t.right for t in called], "nothing called NO"))
    metric = f"judge_balanced_accuracy{suffix}"
    if recall.interval is None or specificity.interval is None:
        return [*figures, Figure(metric, None, recall.reason or specificity.reason)]
    return [*figures, Figure(metric, mean_of_two(recall.interval, specificity.interval))]


def approval(texts: Sequence[JudgedText], suffix: str = "") -> list[Figure]:
    """What a search that accepts by these votes takes: `judge_approved`, the share called YES, and of those the share
    that is truly right, `judge_approved_right`."""
    scored = [text for text in texts if text.said is not None]
    approved = [text for text in scored if text.said]
    return [
        _share(f"judge_approved{suffix}", scored, [bool(text.said) for text in scored], "no text has a majority"),
        _share(f"judge_approved_right{suffix}", approved, [text.right for text in approved], "nothing called YES"),
    ]


def quality_by_kind(texts: Sequence[JudgedText], suffix: str = "", *, sampled_by_truth: bool = False) -> list[Figure]:
    """The same per constraint kind (`METRIC/KIND`), where there is something to measure."""
    figures: list[Figure] = []
    for kind in sorted({kind for text in texts for kind in text.kinds}):
        of_kind = [t for t in texts if kind in t.broken or (t.right and kind in t.kinds)]
        figures += judge_quality(of_kind, f"{suffix}/{kind}", sampled_by_truth=sampled_by_truth)
    return [figure for figure in figures if figure.interval is not None]


def quality_by_source(texts: Sequence[JudgedText]) -> list[Figure]:
    """The same of each half of a world (`METRIC/iid`, `METRIC/heldout`), where there is something to measure."""
    sources = sorted({text.source for text in texts})
    figures: list[Figure] = []
    for source in sources if len(sources) > 1 else ():
        figures += judge_quality([t for t in texts if t.source == source], f"/{source.rpartition('/')[2]}")
    return [figure for figure in figures if figure.interval is not None]


def error_causes(texts: Sequence[JudgedText], suffix: str = "") -> list[Figure]:
    """Which kinds the judge's mistakes are about.

    `judge_overlooked/KIND`: share called YES of the texts that break this kind alone, so that nothing else could have
    given them away. `judge_missed/KIND`: share that breaks the kind among all failing texts called YES.
    `judge_false_alarm/KIND`: share called NO of the right texts whose prompt holds the kind; a verdict names no
    constraint, so an alarm counts for every kind of its prompt.
    """
    scored = [text for text in texts if text.said is not None]
    passed = [t for t in scored if t.said and not t.right]
    figures: list[Figure] = []
    for kind in sorted({kind for text in scored for kind in text.kinds}):
        alone = [t for t in scored if set(t.broken) == {kind}]
        figures.append(_share(f"judge_overlooked{suffix}/{kind}", alone, [bool(t.said) for t in alone]))
        figures.append(_share(f"judge_missed{suffix}/{kind}", passed, [kind in t.broken for t in passed]))
        right = [t for t in scored if t.right and kind in t.kinds]
        figures.append(_share(f"judge_false_alarm{suffix}/{kind}", right, [not t.said for t in right]))
    return [figure for figure in figures if figure.interval is not None]


def reliability(texts: Sequence[JudgedText], suffix: str = "") -> list[Figure]:
    """Share of truly right texts per share of approving votes, and the expected calibration error.

    `judge_reliability/0.2` is over the texts whose vote share is nearest to 0.2 (a half rounds up). The calibration
    error is the mean over texts of |mean vote share - share right| of the text's bin (Naeini et al. 2015).
    """
    scored = [(text, text.share) for text in texts if text.share is not None]
    metric = f"judge_calibration_error{suffix}"
    if not scored:
        return [Figure(metric, None, "no text has a majority of votes")]
    bins = [math.floor(share * RELIABILITY_STEPS + 0.5) for _, share in scored]
    figures = []
    for place in sorted(set(bins)):
        there = [text for (text, _), own in zip(scored, bins, strict=True) if own == place]
        name = f"judge_reliability{suffix}/{place / RELIABILITY_STEPS:.1f}"
        figures.append(_share(name, there, [text.right for text in there]))
    error = _calibration_error([t for t, _ in scored], [share for _, share in scored], bins)
    return [*figures, Figure(metric, error)]


def _calibration_error(texts: Sequence[JudgedText], shares: Sequence[float], bins: Sequence[int]) -> Estimate:
    """Bootstrapped by prompt. Drawing again adds noise that only raises this error, so the interval is reflected."""
    rows = {prompt: row for row, prompt in enumerate(dict.fromkeys(text.prompt_id for text in texts))}
    surplus = np.zeros((len(rows), RELIABILITY_STEPS + 1))  # vote shares less truth, summed by prompt and bin
    for text, share, place in zip(texts, shares, bins, strict=True):
        surplus[rows[text.prompt_id], place] += share - text.right
    sizes = np.bincount([rows[text.prompt_id] for text in texts], minlength=len(rows)).astype(np.float64)

    def error(totals: Sequence[Floats]) -> Floats:
        (total,) = totals
        found: Floats = np.abs(total[:, :-1]).sum(axis=1) / total[:, -1]
        return found

    value, low, high = bootstrap([Clusters.of(np.column_stack([surplus, sizes]))], error)
    low, high = max(0.0, 2 * value - high), 2 * value - low
    return Estimate(value, min(low, value), max(high, value), len(texts))


def _share(
    metric: str, texts: Sequence[JudgedText], hits: Sequence[bool], reason: str = "nothing to measure"
) -> Figure:
    if not texts:
        return Figure(metric, None, reason)
    return Figure(metric, share_interval(hits, [text.prompt_id for text in texts]))
