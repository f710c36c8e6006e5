"""Self-evaluation bias: how much more a refiner likes its own rewrites than equally right or wrong texts of others.

Compared are mean shares of approving votes, all given by this refiner, within strata of equal truth: right texts by
how many constraints their prompt has, wrong texts by the set of kinds they break. Over the strata that both sides
have, weighted by the refiner's own rewrites there,

    bias = sum of n_own(s) * (mean_own(s) - mean_others(s)) / sum of n_own(s)

Positive: it is fond of its own. Others are the first actor's answers and the first refiner's rewrites. Only rewrites
at depth 1 are compared: deeper ones exist because the votes refused those above them, which is no fair draw.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spar_core.evaluation.calibration import Figure
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.judged_texts import JudgedText
from spar_core.evaluation.statistics import Clusters, Floats, bootstrap

METRIC = "self_evaluation_bias"
FEWEST_PROMPTS = 5
"""Prompts either side must have in common strata: below, resampling prompts gives no interval to speak of."""
_Stratum = tuple[bool, object]


class Others(NamedTuple):
    """Texts of others, judged by the refiner that is measured."""

    answers: Sequence[JudgedText]
    """Of the first actor."""
    rewrites: Sequence[JudgedText]
    """Of the first refiner; empty where it is the refiner that is measured."""


def self_evaluation_bias(own: Sequence[JudgedText], others: Others) -> list[Figure]:
    """The bias, and its parts.

    `METRIC` is over all; `/right` and `/wrong` over right and wrong texts alone; `/answers` against the first actor's
    answers alone (comparable from the start on), `/first_refiner` against the first refiner's rewrites of the answers
    that both refiners rewrote. `n` counts own rewrites that found a counterpart.
    """
    own, rewrites = _comparable(own), _comparable(others.rewrites)
    answers = [text for text in others.answers if text.share is not None]
    everyone = [*answers, *rewrites]
    roots = {text.root_id for text in own} & {text.root_id for text in rewrites}
    parts = [
        _difference(f"{METRIC}/{name}", [t for t in own if t.right == truth], everyone)
        for name, truth in (("right", True), ("wrong", False))
    ]
    lacking = next((part for part in parts if part.interval is None), None)
    if lacking is None:
        whole = _difference(METRIC, own, everyone)
    else:
        whole = Figure(METRIC, None, f"{lacking.metric.rpartition('/')[2]} rewrites: {lacking.reason}")
    against = [
        _difference(f"{METRIC}/answers", own, answers),
        _difference(
            f"{METRIC}/first_refiner",
            [text for text in own if text.root_id in roots],
            [text for text in rewrites if text.root_id in roots],
        ),
    ]
    return [whole, *(figure for figure in [*parts, *against] if figure.interval is not None)]


def _comparable(rewrites: Sequence[JudgedText]) -> list[JudgedText]:
    return [text for text in rewrites if text.depth == 1 and text.share is not None]


def _stratum(text: JudgedText) -> _Stratum:
    return (True, len(text.kinds)) if text.right else (False, frozenset(text.broken))


def _difference(metric: str, own: Sequence[JudgedText], others: Sequence[JudgedText]) -> Figure:
    common = {_stratum(text) for text in own} & {_stratum(text) for text in others}
    own, others = ([text for text in side if _stratum(text) in common] for side in (own, others))
    for side, name in ((own, "own rewrites"), (others, "equally right or wrong texts of others")):
        prompts = len({text.prompt_id for text in side})
        if prompts < FEWEST_PROMPTS:
            return Figure(metric, None, f"{name} of only {prompts} prompts ({FEWEST_PROMPTS} are needed)")
    strata = {stratum: column for column, stratum in enumerate(dict.fromkeys(map(_stratum, own)))}
    rows = {prompt: row for row, prompt in enumerate(dict.fromkeys(text.prompt_id for text in [*own, *others]))}
    tables = np.hstack([*_sums(own, rows, strata), *_sums(others, rows, strata)])

    def bias(totals: Sequence[Floats]) -> Floats:
        own_sums, here, other_sums, there = np.split(totals[0], 4, axis=1)
        both = (here > 0) & (there > 0)
        mean = np.divide(other_sums, there, out=np.zeros_like(there), where=there > 0)
        surplus = np.where(both, own_sums - here * mean, 0.0).sum(axis=1)
        compared = np.where(both, here, 0.0).sum(axis=1)
        found: Floats = np.divide(surplus, compared, out=np.full_like(surplus, np.nan), where=compared > 0)
        return found

    return Figure(metric, Estimate(*bootstrap([Clusters.of(tables)], bias), len(own)))


def _sums(texts: Sequence[JudgedText], rows: dict[str, int], strata: dict[_Stratum, int]) -> tuple[Floats, Floats]:
    """Vote shares summed, and texts counted, by prompt (rows) and stratum (columns)."""
    sums, counts = (np.zeros((len(rows), len(strata))) for _ in range(2))
    for text in texts:
        place = rows[text.prompt_id], strata[_stratum(text)]
        sums[place] += text.share or 0.0
        counts[place] += 1
    return sums, counts
