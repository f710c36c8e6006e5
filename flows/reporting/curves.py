"""Figures over iterations as pictures with intervals. Templates draw them as SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from spar_core.evaluation.estimate import Estimate

WIDTH, HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 14, 12, 26
_STEPS = (1, 2, 5, 10, 20, 25, 50)  # percentage points between two lines of the grid
_MOST_TICKS = 5
_APART = 7  # pixels between the intervals of two series at one iteration


class Dot(NamedTuple):
    """One figure: its place in pixels, its interval from `low` to `high`, and what it says."""

    x: float
    y: float
    low: float
    high: float
    said: str


class Series(NamedTuple):
    """One line: its name, the number of its colour, and its figures."""

    name: str
    colour: int
    dots: list[Dot]

    @property
    def points(self) -> str:
        """The dots as SVG's `points`."""
        return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in self.dots)


class Tick(NamedTuple):
    """A line of the grid, or a place of the axis, with its number."""

    place: float
    said: str


class Chart(NamedTuple):
    """A picture of `WIDTH` x `HEIGHT` pixels."""

    title: str
    series: list[Series]
    across: list[Tick]
    down: list[Tick]


def chart(title: str, series: Mapping[str, Mapping[int, Estimate]]) -> Chart | None:
    """Figures by series and iteration, in percent; None where none is known.

    Args:
        title: what is measured.
        series: estimates (fractions) by the name of the series and by iteration.
    """
    known = {name: {x: _bounded(e) for x, e in sorted(own.items()) if e.known} for name, own in series.items()}
    estimates = [estimate for own in known.values() for estimate in own.values()]
    if not estimates:
        return None
    numbers = sorted({x for own in known.values() for x in own})
    ticks = _ticks(min(100 * e.ci_low for e in estimates), max(100 * e.ci_high for e in estimates))

    def down(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return HEIGHT - _BOTTOM - share * (HEIGHT - _BOTTOM - _TOP)

    def across(number: int) -> float:
        inner = WIDTH - _LEFT - _RIGHT - 20
        share = 0.5 if len(numbers) == 1 else (number - numbers[0]) / (numbers[-1] - numbers[0])
        return _LEFT + 10 + share * inner

    drawn = []
    for place, (name, own) in enumerate(known.items()):
        aside = _APART * (place - (len(known) - 1) / 2)
        dots = [
            Dot(across(x) + aside, down(100 * e.value), down(100 * e.ci_low), down(100 * e.ci_high), _said(name, x, e))
            for x, e in own.items()
        ]
        drawn.append(Series(name, place, dots))
    labels = [Tick(across(number), str(number)) for number in _thinned(numbers)]
    return Chart(title, drawn, labels, [Tick(down(value), f"{value:g}") for value in ticks])


def _bounded(estimate: Estimate) -> Estimate:
    """A figure of too few items for an interval stands alone."""
    if math.isfinite(estimate.ci_low) and math.isfinite(estimate.ci_high):
        return estimate
    return replace(estimate, ci_low=estimate.value, ci_high=estimate.value)


def _said(name: str, number: int, estimate: Estimate) -> str:
    return f"{f'{name}, ' if name else ''}iteration {number}: {estimate.shown()} (n = {estimate.n:,})"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers that enclose both."""
    step = next((s for s in _STEPS if math.ceil(high / s) - math.floor(low / s) < _MOST_TICKS), _STEPS[-1])
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(step * number) for number in range(first, max(last, first + 1) + 1)]


def _thinned(numbers: Sequence[int]) -> list[int]:
    """At most about ten of them, the last always."""
    every = -(-len(numbers) // 10)
    return [number for place, number in enumerate(reversed(numbers)) if place % every == 0][::-1]
