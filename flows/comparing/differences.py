"""Two sides, metric by metric: the paired difference, what flipped, and a gate for continuous integration.

gate = parse_gate("prompt_strict>=-0.01")
gate.passes(difference.change)          # False where the whole 95 % interval lies below -0.01
gate.promise(difference.sensitivity)    # which true drop fails it in 8 of 10 comparisons, and for how many items more
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from flows.comparing.sides import Side
from spar_core.errors import ConfigError
from spar_core.evaluation.comparison import Observation, paired_change, stratified_mean
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.power import POWER, Sensitivity, sensitivity

_GATE = re.compile(r"(?P<metric>[\w./-]+)\s*>=\s*(?P<bound>[+-]?\d*\.?\d+)")


class Difference(NamedTuple):
    """One metric on the items of both sides. `better` and `worse` hold the keys of the items that changed."""

    metric: str
    before: Estimate
    after: Estimate
    change: Estimate
    better: list[Any]
    worse: list[Any]
    sensitivity: Sensitivity

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        figures = {"before": self.before.plain(), "after": self.after.plain(), "change": self.change.plain()}
        flips = {"better": [_plain(key) for key in self.better], "worse": [_plain(key) for key in self.worse]}
        return {"metric": self.metric, **figures, **flips, "detectable_drop": self.sensitivity.detectable}


class Promise(NamedTuple):
    """What a gate catches with the items at hand. `fails_at`: the true change that fails it in 80 % of comparisons.

    `needed`: the items that fail a change as far below the bound as the bound is from no change, as often; null where
    the bound is no change.
    """

    items: int
    fails_at: float
    needed: int | None

    @property
    def enough(self) -> bool:
        """Whether there are as many items as needed."""
        return self.needed is None or self.needed <= self.items


class Gate(NamedTuple):
    """A bound on a metric's change, as a fraction: it fails where the whole 95 % interval lies below it.

    So what is equal fails a bound of 0 in at most one of forty comparisons, and a smaller bound more rarely.
    """

    metric: str
    bound: float

    def passes(self, change: Estimate) -> bool:
        """Whether the change may be at or above the bound."""
        return not change.ci_high < self.bound

    def promise(self, of: Sensitivity) -> Promise:
        """What it catches with these items."""
        margin = min(1.0, abs(self.bound))
        return Promise(of.n, self.bound - of.detectable, of.pairs_for(margin) if margin else None)

    def plain(self, difference: Difference) -> dict[str, Any]:
        """JSON-like: the gate, whether it passes, and what it promises."""
        promise = self.promise(difference.sensitivity)
        passed = {"metric": self.metric, "bound": self.bound, "passed": self.passes(difference.change)}
        return {**passed, "power": POWER, **promise._asdict(), "enough": promise.enough}

    def told(self, difference: Difference) -> str:
        """The same in words."""
        promise = self.promise(difference.sensitivity)
        reached = f"a true change of {100 * promise.fails_at:+.1f} points" if promise.fails_at >= -1 else "no change"
        said = (
            f"gate {self.metric}>={self.bound:g}: with {promise.items:,} items {reached} fails it {POWER:.0%} of times"
        )
        if promise.enough:
            return said
        margin = f"{100 * abs(self.bound):.1f} points"
        return f"{said}; too few for a margin of {margin}, which needs about {promise.needed:,}"


def parse_gate(text: str) -> Gate:
    """`METRIC>=-0.01`.

    Raises:
        ConfigError: it is not of that form.
    """
    match = _GATE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"--gate {text!r}: write METRIC>=BOUND, a fraction such as accuracy>=-0.01")
    return Gate(match["metric"], float(match["bound"]))


def compare(before: Side, after: Side) -> list[Difference]:
    """Every metric that both sides have items in common for.

    Raises:
        ConfigError: they have none.
    """
    found = [
        difference
        for metric in before.items
        if metric in after.items and (difference := _difference(metric, before.items[metric], after.items[metric]))
    ]
    if not found:
        raise ConfigError(
            f"{before.name} and {after.name} have no measured item in common (metrics: {_names(before)}; "
            f"{_names(after)}); compare what the same benchmark measured on the same prompts"
        )
    return found


def _difference(metric: str, before: list[Observation], after: list[Observation]) -> Difference | None:
    first = {entry.key: entry for entry in before}
    second = {entry.key: entry for entry in after}
    common = first.keys() & second.keys()
    ours = stratified_mean(entry for entry in before if entry.key in common)
    theirs = stratified_mean(entry for entry in after if entry.key in common)
    change = paired_change(before, after)
    if ours is None or theirs is None or change is None:
        return None
    better = [key for key in first if key in common and second[key].value > first[key].value]
    worse = [key for key in first if key in common and second[key].value < first[key].value]
    return Difference(metric, ours, theirs, change, better, worse, sensitivity(before, after, change))


def changed_settings(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[Any, Any]]:
    """What two configurations differ in, by dotted key."""
    changed: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*before, *after}):
        one, other = before.get(key), after.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            changed |= changed_settings(one, other, f"{prefix}{key}.")
        elif one != other:
            changed[f"{prefix}{key}"] = (one, other)
    return changed


def _names(side: Side) -> str:
    return ", ".join(side.items) or "none"


def _plain(key: Any) -> Any:
    return [*key] if isinstance(key, tuple) else key
