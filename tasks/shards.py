"""What the work on one shard of a stage is given, and how a stage cuts its rows into the shards of those after it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from spar_core.engines.base import Engine
from spar_core.engines.journaled import JournaledEngine
from spar_core.engines.usage import MeteredEngine, UsageMeter
from spar_core.errors import StorageError
from spar_core.roles.watch import Watch
from storage.artifacts import ArtifactStore
from storage.digests import RowsDigest
from storage.parts import PartWriter, split_of
from tasks.calls import StageCall
from tasks.runtime import Runtime
from tasks.spending import BudgetedEngine


class ShardRows(NamedTuple):
    """What one shard did with its rows: rows_in = rows_out + rows it wrote to `drops`.

    `unasked` of them came out without a model being asked, in a stage that asks for others.
    """

    rows_in: int
    rows_out: int
    unasked: int = 0


@dataclass(frozen=True, slots=True)
class ShardContext:
    """What the work of a shard may touch."""

    call: StageCall
    shard: int
    runtime: Runtime
    part: PartWriter
    meter: UsageMeter = field(default_factory=UsageMeter)
    """Counts what this shard's engines answer."""
    cut: str | None = None
    """Which rows the shard is about; null: all of them."""
    opened: ExitStack = field(default_factory=ExitStack)
    """What is closed at the end of the shard."""

    @property
    def store(self) -> ArtifactStore:
        """The home's artifacts."""
        return self.runtime.store

    def read(self, name: str, table: str) -> Any:
        """This shard's rows of an input that was written in the same parts.

        Raises:
            StorageError: it was cut in another way than the input this stage is sharded by.
        """
        source = self.call.inputs[name]
        if self.cut is not None and source.cut_of_part(self.shard) != self.cut:
            raise StorageError(
                f"stage {self.call.stage!r}: its input {name!r} was cut into other parts than the rows it belongs to; "
                "run again, what does not fit is made anew"
            )
        return source.read(table, part=self.shard)

    def share(self, items: int, name: str) -> int:
        """This shard's equal share of a number of items, by an input that was written in the same parts."""
        parts = len(self.call.inputs[name].manifest().parts)
        return items // parts + (self.shard < items % parts)

    def engine(self, role: str) -> Engine:
        """The engine of a role; every completion is journaled until the stage is committed."""
        model = self.call.models[role]
        if self.call.surroundings.orchestration.placement == "side_by_side":
            self.runtime.engines.keep_seats(2, self.call.key)
        engine = self.runtime.engines.engine(self.call.engines[role], model, self.call.key)
        spending = self.runtime.spending(self.call.run_id)
        paid = BudgetedEngine(engine, spending, self.call.surroundings.budget)
        return MeteredEngine(self.journaled(paid), self.meter)

    def journaled(self, engine: Engine) -> Engine:
        """With the shard's journal, and with what was asked ahead of the stage (`tasks.ahead`)."""
        ahead = self.runtime.answered_ahead.get(self.call.key)
        journal = self.runtime.journal(self.call, self.shard)
        self.opened.callback(journal.close)
        return JournaledEngine(engine if ahead is None else JournaledEngine(engine, ahead), journal)

    def keep_together(self, *roles: str) -> None:
        """Keep the models of these roles loaded side by side until the stage ends: it asks them by turns."""
        call = self.call
        self.runtime.engines.keep([(call.engines[role], call.models[role]) for role in roles], call.key)

    def watch(self) -> Watch:
        """What ends the shard when too little of what its models write can be used."""
        health = self.call.surroundings.health
        if health is None:
            return Watch({})
        return Watch(
            {
                "votes": health.max_unreadable_votes,
                "rewrites": health.max_unusable_rewrites,
                "answers": health.max_cut_answers,
            }
        )


def write_in_parts(
    context: ShardContext,
    table: str,
    records: Iterable[Any],
    beside: Mapping[str, Callable[[Sequence[Any]], Iterable[Any]]] | None = None,
    together: Callable[[Any], str] | None = None,
) -> int:
    """Cut records into parts, so that later stages run one shard per part; returns the number of records.

    `beside` gives for further tables the rows that belong to some records; `together` names what neighbours must not
    be cut apart. The first part is the shard's own and
    appears last: with it, all are there. Parts that an earlier try cut in the very same way stay. The records of one
    part are held at a time.
    """
    call, size = context.call, context.call.surroundings.orchestration.shard_size
    with ExitStack() as others:
        parts: list[PartWriter] = []
        digests: list[RowsDigest] = []
        for rows in _slices(records, size, together):
            part = others.enter_context(context.store.part(call.stage, call.key, len(parts))) if parts else context.part
            part.write(table, rows)
            for other, belonging in (beside or {}).items():
                part.write(other, belonging(rows))
            digests.append(part.rows_of(table))
            if part is not context.part:
                part.seal()
            parts.append(part)
        context.store.discard_parts_from(call.stage, call.key, len(parts))
        for part in parts:
            part.split = split_of(digests)
    return sum(found.rows for found in digests)


def _slices(records: Iterable[Any], size: int, together: Callable[[Any], str] | None) -> Iterator[Sequence[Any]]:
    """Parts of `size` records; where some belong together, a part ends with the first whole group that fills it.

    One without any where there are none.
    """
    groups = (
        ([record] for record in records) if together is None else (group for _, group in groupby(records, together))
    )
    part: list[Any] = []
    empty = True
    for group in groups:
        part += group
        if len(part) >= size:
            yield part
            part, empty = [], False
    if part or empty:
        yield part
