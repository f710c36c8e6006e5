"""Continuous batching: rows join the running batch as slots free up, and leave it when they end.

A step costs one transfer of the inputs to the device, one forward, one draw, and one transfer of the
tokens back; bookkeeping is vectorised over the slots (`slot_table`).

Shapes are rounded so that on a CPU a row's numbers hardly depend on its company: matrix products of enough rows add up
in the same order however many there are (`least_rows`), and on many CPUs attention does when the columns are whole
vectors (measured with torch 2.13: to the last bit on an AMD Zen 5, and on an Intel CPU with AMX where every query head
has a key head of its own; else attention of rows beyond a hundred positions within 3e-7 there, where products add up by
their length. A GPU promises no such thing).
"""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, groupby, islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from spar_core.engines.choosing import hold_to_choices
from spar_core.engines.kv_cache import DecodeStep, SlotCache, rounded, stretches, whole
from spar_core.engines.least_rows import least_rows
from spar_core.engines.slot_table import Ints, Row, SlotTable
from spar_core.engines.token_sampling import UNUSABLE, draw, uniforms

_GROWTH = 1.25  # a cache that has to grow takes this much more than it needs right now
_PROMPT_STEP = 32  # positions of a prefill
_ADMISSION_SHARE = 8  # wait for an eighth of the slots to be free, so that prefills are not tiny

Text = tuple[int, ...]


class Finished(NamedTuple):
    """A row that ended.

    Fields:
        tokens: generated, without the end token.
        generated: how many tokens were drawn, the end token included.
        stopped: ended by an end token, not by its limit.
        usable: the logits stayed finite.
    """

    row: Row
    tokens: list[int]
    generated: int
    stopped: bool
    usable: bool


class RowsFailedError(Exception):
    """The model's code raised, at `rows`, which have left the batch; `__cause__` says what. The other rows go on."""

    def __init__(self, rows: list[Row]) -> None:
        super().__init__(f"{len(rows)} rows failed")
        self.rows = rows


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a device or on the host: fewer rows at once may do."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


class Limits(NamedTuple):
    """Rows decoded at once, bytes the key/value cache may take, tokens computed in one prefill."""

    rows: int
    cache_bytes: int
    prefill_tokens: int


class SlotBatch:
    """The rows being decoded, and the queue of those that wait. Owned by one thread.

    Args:
        model: a causal language model using `kv_cache.ragged_attention`.
        end_tokens: ids that end a completion.
        limits: see `Limits`; `shrink` halves the rows and bytes after an out-of-memory error.
        cache_dtype: of keys and values; float32 is the fastest on a CPU whatever the model's type.
        bytes_per_position: of keys and values of one token over all layers.
    """

    def __init__(
        self,
        model: Any,
        *,
        end_tokens: Sequence[int],
        limits: Limits,
        cache_dtype: torch.dtype,
        bytes_per_position: int,
    ) -> None:
        self._model = model
        self._device = model.device
        self._limits = limits
        self._least_rows = least_rows(model)
        self._bytes_per_position = bytes_per_position
        self._cache = SlotCache(cache_dtype)
        self._end_tokens = np.array(sorted(end_tokens), dtype=np.int64)
        self._waiting: deque[Row] = deque()
        self._table = SlotTable()

    def __len__(self) -> int:
        return self._table.active + len(self._waiting)

    def add(self, rows: Sequence[Row]) -> None:
        """Queue rows behind those that wait."""
        self._waiting.extend(rows)

    def advance(self) -> list[Finished]:
        """Admit what fits, decode one token for every row, and give back the rows that ended with it.

        Raises:
            torch.OutOfMemoryError, MemoryError, RuntimeError: memory ran out (see `is_out_of_memory`); no row is lost:
                call `shrink` and go on.
            RowsFailedError: the model's code failed, for these rows alone as far as can be told; go on.
        """
        self._admit()
        self._close_holes()
        if not len(self._table):
            return []
        self._make_room()
        try:
            drawn = self._decode()
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise RowsFailedError(self._leave_all()) from error
        return self._collect(drawn)

    def take_all(self) -> list[Row]:
        """Remove and return every row, running or waiting, and free the cache."""
        self._evict_from(0)
        self._cache.release()
        rows = list(self._waiting)
        self._waiting.clear()
        return rows

    def discard(self, owners: Collection[Any]) -> None:
        """Forget the rows of owners that no longer want them."""
        unwanted = {id(owner) for owner in owners}
        self._waiting = deque(row for row in self._waiting if id(row.owner) not in unwanted)
        for slot, row in enumerate(self._table.rows):
            if row is not None and id(row.owner) in unwanted:
                self._table.unseat(slot)

    def shrink(self) -> bool:
        """After out of memory: all rows back into the queue, rows and bytes halved for good.

        Returns False, changing nothing more, when there was only one row left to halve.
        """
        rows = min(self._limits.rows, max(self._table.active, self._least_rows))
        self._evict_from(0)
        self._cache.release()
        if rows == 1:
            return False
        self._least_rows = min(self._least_rows, rows // 2)
        self._limits = self._limits._replace(rows=rows // 2, cache_bytes=self._limits.cache_bytes // 2)
        return True

    # -- admission -------------------------------------------------------------------------------

    def _admit(self) -> None:
        active = self._table.active
        wanted = min(len(self._waiting), max(1, self._limits.rows // _ADMISSION_SHARE))
        if not self._waiting or (active and self._limits.rows - active < wanted):
            return
        free = self._room() - active
        if active and free < wanted:
            return
        self._join([self._waiting.popleft() for _ in range(min(free, len(self._waiting)))])

    def _join(self, joining: list[Row]) -> None:
        """Compute the rows' prompts and seat them; where that fails, one owner after another, to find who is at fault.

        Raises:
            RowsFailedError: one owner's rows cannot be computed.
            Exception: memory ran out. Either way the rows that were not computed are back in the queue.
        """
        groups = [joining]
        while groups:
            group = groups.pop(0)
            try:
                self._seat(group)
            except Exception as error:
                owners = [list(rows) for _, rows in groupby(group, key=lambda row: id(row.owner))]
                if not is_out_of_memory(error) and len(owners) > 1:
                    groups = owners
                    continue
                rest = list(chain.from_iterable(groups))
                if is_out_of_memory(error):
                    self._waiting.extendleft(reversed(group + rest))
                    raise
                self._waiting.extendleft(reversed(rest))
                raise RowsFailedError(group) from error

    def _seat(self, joining: list[Row]) -> None:
        joining = sorted(joining, key=lambda row: row.size)  # neighbours of similar length share their attention
        slots = self._table.claim(len(joining))
        self._prefill(joining, slots)
        for slot, row in zip(slots, joining, strict=True):
            self._table.seat(slot, row)

    def _room(self) -> int:
        """Rows whose keys and values fit at the length of the longest row there is or may join now."""
        candidates = islice(self._waiting, self._limits.rows)
        longest = max(self._table.longest, *(row.size for row in candidates)) + 1
        return max(1, min(self._limits.rows, self._fitting(longest)))

    def _fitting(self, length: int) -> int:
        return self._limits.cache_bytes // (self._bytes_per_position * rounded(0, length)[1])

    def _prefill(self, rows: list[Row], slots: list[int]) -> None:
        """Compute all but the last token, once per distinct text; the first decode step does the last one."""
        users: dict[Text, list[int]] = {}
        for row, slot in zip(rows, slots, strict=True):
            users.setdefault(row.tokens[:-1], []).append(slot)
        texts = sorted((text for text in users if text), key=len)
        self._cache.reserve(len(self._table), len(texts[-1]) + 1 if texts else 1)
        for group in _grouped(texts, self._limits.prefill_tokens):
            longest = len(group[-1])
            padded = np.zeros((len(group), _up(longest, _PROMPT_STEP)), dtype=np.int64)
            for line, text in enumerate(group):
                padded[line, : len(text)] = text
            owners = [(slot, line) for line, text in enumerate(group) for slot in users[text]]
            targets, sources = np.array(owners, dtype=np.int64).T
            self._cache.begin_prefill(self._put(targets), self._put(sources))
            self._model.base_model(
                input_ids=self._put(padded),
                position_ids=self._put(np.arange(padded.shape[1]).clip(max=longest - 1)[None]),
                past_key_values=self._cache,
                use_cache=True,
            )

    # -- decoding --------------------------------------------------------------------------------

    def _decode(self) -> Ints:
        table = self._table
        spare = max(0, self._least_rows - len(table))
        positions = np.pad(table.length, (0, spare))
        # A GPU computes a stretch in less time than it takes to start one.
        cut = stretches if self._device.type == "cpu" else whole
        step = DecodeStep(self._put(positions), cut(positions), self._cache.dtype)
        self._cache.begin_decode(step)
        logits = self._model(
            input_ids=self._put(np.pad(table.token, (0, spare))[:, None]),
            position_ids=step.positions[:, None],
            past_key_values=self._cache,
            use_cache=True,
            ragged_step=step,
        ).logits[: len(table), -1]
        hold_to_choices(logits, table.rows)
        tokens = draw(
            logits,
            self._put(table.temperature),
            self._put(table.top_p),
            self._put(uniforms(table.key, table.step)),
            nucleus=bool((table.top_p[table.occupied] < 1.0).any()),
            sampled=bool(table.temperature.any()),
        )
        drawn: Ints = tokens.cpu().numpy()
        return drawn

    def _collect(self, drawn: Ints) -> list[Finished]:
        table = self._table
        table.record(drawn)
        stopped, unusable = np.isin(drawn, self._end_tokens), drawn == UNUSABLE
        ended = table.occupied & (stopped | unusable | (table.step >= table.max_new))
        finished = []
        for slot in np.flatnonzero(ended):
            row = table.unseat(int(slot))
            tokens = row.generated[:-1] if stopped[slot] else row.generated
            finished.append(Finished(row, tokens, len(row.generated), bool(stopped[slot]), not unusable[slot]))
        return finished

    # -- room ------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Grow the cache for the next token; where that would break the limit, the latest rows wait again."""
        needed = self._table.longest + 1
        if needed <= self._cache.length:
            return
        fitting = max(1, self._fitting(needed))
        if fitting < len(self._table):
            self._evict_from(fitting)
            self._cache.shrink(fitting)
        generous = int(needed * _GROWTH)
        self._cache.reserve(len(self._table), generous if self._fitting(generous) >= len(self._table) else needed)

    def _leave_all(self) -> list[Row]:
        """Take every running row out; those that wait stay."""
        rows = [self._table.unseat(slot) for slot in range(len(self._table)) if self._table.occupied[slot]]
        self._table.truncate(0)
        return rows

    def _evict_from(self, first: int) -> None:
        """Send the rows in slots from `first` on back to the head of the queue, with their tokens."""
        slots = [slot for slot in range(first, len(self._table)) if self._table.occupied[slot]]
        self._waiting.extendleft(reversed([self._table.unseat(slot) for slot in slots]))
        self._table.truncate(first)

    def _close_holes(self) -> None:
        """With nobody waiting, move the last rows into the holes so that no step computes them."""
        count, size = self._table.active, len(self._table)
        if count == size or (count and (self._waiting or (size - count) * _ADMISSION_SHARE < size)):
            return
        targets = [slot for slot in self._table.holes() if slot < count]
        sources = [slot for slot in range(count, size) if self._table.occupied[slot]]
        if targets:
            length = int(self._table.length[sources].max()) + 1
            self._cache.move(self._put(np.array(sources)), self._put(np.array(targets)), length)
            self._table.move(sources, targets)
        self._table.truncate(count)

    def _put(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array.copy()).to(self._device, non_blocking=True)


def _up(count: int, step: int) -> int:
    return -(-count // step) * step


def _grouped(texts: list[Text], budget: int) -> Iterator[list[Text]]:
    """Split texts, sorted by length, so that a group padded to its longest stays within `budget` tokens."""
    group: list[Text] = []
    for text in texts:
        if group and (len(group) + 1) * len(text) > budget:
            yield group
            group = []
        group.append(text)
    if group:
        yield group
