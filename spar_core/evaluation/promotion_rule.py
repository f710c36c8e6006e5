"""The gate's rule: a candidate against the champion, item by item."""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from spar_core.config.run import PromotionConfig
from spar_core.evaluation.comparison import Observation, paired_change, stratified_mean
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.measures import FIX_IN_USE
from spar_core.records import EvalItem, ModelRole

GATE_METRIC: Mapping[ModelRole, str] = {"actor": "accuracy", "refiner": "judge_balanced_accuracy"}
_ITEMS: Mapping[ModelRole, str] = {"actor": "accuracy", "refiner": "judge"}
_MENDED = "fix_rate_in_use"


class Duel(NamedTuple):
    """Two models on the items both were measured on: each, and candidate minus champion, paired."""

    candidate: Estimate
    champion: Estimate
    difference: Estimate


class Ruling(NamedTuple):
    """Whether a candidate may take the champion's place, and why."""

    promoted: bool
    reason: str


def gate_metric(role: ModelRole, items: Iterable[EvalItem]) -> str:
    """What models of a role are compared by: a refiner by what it mends where rules judge in self-play, for then its
    own verdicts decide nothing."""
    in_use = role == "refiner" and any(item.metric == FIX_IN_USE for item in items)
    return _MENDED if in_use else GATE_METRIC[role]


def gate_observations(role: ModelRole, items: Iterable[EvalItem]) -> list[Observation]:
    """What the gate compares (`gate_metric`): the mean over a prompt's samples; for a judge, right and wrong apart.

    A verdict that could not be read counts as wrong here: a judge is no better for being unreadable.
    """
    items = list(items)
    wanted = FIX_IN_USE if gate_metric(role, items) == _MENDED else _ITEMS[role]
    values: dict[tuple[str, str], list[float]] = {}
    for item in items:
        if item.metric == wanted:
            truth = str(json.loads(item.detail).get("truth", "")) if item.detail else ""
            values.setdefault((item.cluster_id, truth), []).append(item.value or 0.0)
    return [Observation(key, key[0], sum(row) / len(row), key[1]) for key, row in values.items()]


def duel(champion: Iterable[Observation], candidate: Iterable[Observation]) -> Duel | None:
    """Candidate against champion on the items of both; None where they have none in common."""
    before, after = list(champion), list(candidate)
    common = {item.key for item in before} & {item.key for item in after}
    ours = stratified_mean(item for item in after if item.key in common)
    theirs = stratified_mean(item for item in before if item.key in common)
    difference = paired_change(before, after)
    if ours is None or theirs is None or difference is None:
        return None
    return Duel(ours, theirs, difference)


def rule_on(difference: Estimate, gate: PromotionConfig) -> Ruling:
    """What the interval of candidate minus champion allows."""
    shown = f"{difference.shown(signed=True)} points on {difference.n} items"
    if gate.rule == "better":
        if difference.ci_low > 0:
            return Ruling(True, f"{shown}: better")
        return Ruling(False, f"{shown}: not shown to be better (promotion.rule better)")
    if difference.ci_high < 0:
        return Ruling(False, f"{shown}: worse")
    if difference.ci_low < -gate.margin:
        return Ruling(False, f"{shown}: it may be worse by more than promotion.margin {100 * gate.margin:g} points")
    return Ruling(True, f"{shown}: better" if difference.ci_low > 0 else f"{shown}: not worse")
