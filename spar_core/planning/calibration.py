"""What earlier runs took, in place of what is assumed: a stage's figures in proportion to its work."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spar_core.planning.stage_work import Work


class Observed(NamedTuple):
    """One finished stage of an earlier run.

    `expected`: its work as it would have been planned from its configuration and the rows it really read; `work`: what
    it was. `seconds` of all of it, `start_s` of them before the first step of a training.
    """

    expected: Work
    work: Work
    seconds: float
    start_s: float = 0.0


class Measured(NamedTuple):
    """A stage's work and the seconds it will take, by what was observed."""

    work: Work
    seconds: float


def calibrated(expected: Work, observed: Sequence[Observed]) -> Measured | None:
    """The work and time of a stage that is expected like that; None where no earlier stage says anything of it.

    Every figure is that of all observed stages together, times the ratio of expected works: a stage that is planned
    with twice as many votes gets twice as many tokens, and twice the seconds.
    """
    alike = [entry for entry in observed if entry.expected.kind == expected.kind]
    if not alike:
        return None
    before = _sum([entry.expected for entry in alike])
    happened = _sum([entry.work for entry in alike])
    tables = {name: _scaled(rows, happened.tables, before.tables, name) for name, rows in expected.tables.items()}
    work = expected._replace(
        tables=tables,
        requests=round(_ratio(expected.requests, before.requests) * happened.requests),
        read=_ratio(expected.read, before.read) * happened.read,
        written=_ratio(expected.written, before.written) * happened.written,
    )
    if expected.kind == "train":
        return Measured(work._replace(read=expected.read), _training_seconds(expected, alike))
    size = _size(expected)
    return Measured(work, sum(entry.seconds for entry in alike) * _ratio(size, sum(map(_size_of, alike))))


def _training_seconds(expected: Work, observed: Sequence[Observed]) -> float:
    starts = sum(entry.start_s for entry in observed) / len(observed)
    steps = sum(entry.work.steps for entry in observed)
    stepping = sum(entry.seconds - entry.start_s for entry in observed)
    return starts + (stepping / steps * expected.steps if steps else stepping / len(observed))


def _size(work: Work) -> float:
    """What a stage's time goes with: what is written and read, or rows where no model is asked."""
    return work.written + work.read / 10 or float(work.rows)


def _size_of(entry: Observed) -> float:
    return _size(entry.expected)


def _ratio(now: float, then: float) -> float:
    return now / then if then else 0.0


def _scaled(rows: int, happened: Mapping[str, int], before: Mapping[str, int], table: str) -> int:
    if table not in happened or not before.get(table):
        return rows
    return round(rows * happened[table] / before[table])


def _sum(works: Sequence[Work]) -> Work:
    tables: dict[str, int] = {}
    for work in works:
        for name, rows in work.tables.items():
            tables[name] = tables.get(name, 0) + rows
    return Work(
        works[0].kind,
        sum(work.rows for work in works),
        tables,
        sum(work.requests for work in works),
        sum(work.read for work in works),
        sum(work.written for work in works),
        sum(work.steps for work in works),
    )
