"""The rows of a running batch and their state: one entry per slot in every array, so that a step is vectorised."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from spar_core.engines.base import Sampling
from spar_core.engines.thought_limit import NEVER, ThoughtLimit
from spar_core.engines.token_sampling import stream_key

Ints = npt.NDArray[np.int64]

_BUFFER = 64  # columns the record of drawn tokens starts with


@dataclass(slots=True, eq=False)
class Row:
    """One completion in the making: the prompt's tokens, and those generated so far.

    `owner` is whoever asked for it; the batch only hands it back. `max_new` holds until the token `awaited` is drawn,
    where the limit of a thought is another than that of the answer (`limit`). `allowed`: the only tokens it may draw
    (empty: any), and `shares` the probability of each among them, once drawn.
    """

    owner: Any
    index: int
    prompt: tuple[int, ...]
    sampling: Sampling
    max_new: int
    seed: int
    generated: list[int] = field(default_factory=list)
    limit: ThoughtLimit | None = None
    awaited: int = NEVER
    allowed: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.limit is not None:
            self.awaited, self.max_new = self.limit.at_first()

    @property
    def tokens(self) -> tuple[int, ...]:
        """Everything the row has seen: a row taken out of the batch resumes from here."""
        return (*self.prompt, *self.generated) if self.generated else self.prompt

    @property
    def size(self) -> int:
        """Number of `tokens`."""
        return len(self.prompt) + len(self.generated)


class SlotTable:
    """Which row sits in which slot, and where each one stands.

    Attributes (arrays, one entry per slot; an empty slot is all zeros and computes a token nobody reads):
        token: the next input token.
        length: tokens already in the key/value cache, so also the position of `token`.
        step: tokens generated so far.
        max_new: tokens after which the row ends.
        awaited: token that changes `max_new`.
        key: the row's random stream.
        temperature, top_p: of its sampling.
        occupied: whether a row sits there.
    """

    def __init__(self) -> None:
        self.rows: list[Row | None] = []
        self.token: Ints = np.zeros(0, dtype=np.int64)
        self.length, self.step, self.max_new, self.awaited, self._seated_at = (self.token.copy() for _ in range(5))
        self.key: npt.NDArray[np.uint64] = np.zeros(0, dtype=np.uint64)
        self.temperature: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self.top_p: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self.occupied: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._drawn: Ints = np.zeros((0, _BUFFER), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def active(self) -> int:
        """Slots with a row in them."""
        return int(self.occupied.sum())

    @property
    def longest(self) -> int:
        """Largest number of cached tokens of any row."""
        return int(self.length.max(initial=0))

    def holes(self) -> list[int]:
        """Slots without a row."""
        return [int(slot) for slot in np.flatnonzero(~self.occupied)]

    def claim(self, count: int) -> list[int]:
        """`count` free slots, holes first; the table grows by what they do not cover."""
        slots = self.holes()[:count]
        missing = count - len(slots)
        if missing:
            slots += range(len(self), len(self) + missing)
            self.rows += [None] * missing
            self._resize([np.concatenate([old, np.zeros((missing, *old.shape[1:]), old.dtype)]) for old in self._all()])
        return slots

    def seat(self, slot: int, row: Row) -> None:
        """Put a row whose tokens, all but the last, are in the cache."""
        tokens = row.tokens
        self.rows[slot] = row
        self.token[slot] = tokens[-1]
        self.length[slot] = len(tokens) - 1
        self.step[slot] = self._seated_at[slot] = len(row.generated)
        self.max_new[slot], self.awaited[slot] = row.max_new, row.awaited
        self.key[slot] = stream_key(row.seed, row.index)
        self.temperature[slot] = row.sampling.temperature
        self.top_p[slot] = row.sampling.top_p
        self.occupied[slot] = True

    def unseat(self, slot: int) -> Row:
        """Take a row out, the tokens drawn since it was seated and its limit written back into it."""
        row = self.rows[slot]
        if row is None:
            raise ValueError(f"slot {slot} is empty")
        row.generated += self._drawn[slot, : self.step[slot] - self._seated_at[slot]].tolist()
        row.max_new, row.awaited = int(self.max_new[slot]), int(self.awaited[slot])
        self.rows[slot] = None
        for array in self._all():
            array[slot] = 0
        return row

    def record(self, drawn: Ints) -> None:
        """Note one token per slot and move every row on by a position."""
        column = self.step - self._seated_at
        if len(column) and int(column.max()) >= self._drawn.shape[1]:
            self._drawn = np.concatenate([self._drawn, np.zeros_like(self._drawn)], axis=1)
        self._drawn[np.arange(len(self)), column] = drawn
        self.token = np.where(self.occupied, drawn, 0)
        self.step += self.occupied
        self.length += self.occupied
        for slot in np.flatnonzero(self.occupied & (drawn == self.awaited)):
            row = self.rows[slot]
            assert row is not None
            assert row.limit is not None
            self.awaited[slot], self.max_new[slot] = row.limit.after(
                int(drawn[slot]), int(self.step[slot]), int(self.max_new[slot])
            )

    def truncate(self, count: int) -> None:
        """Drop the slots from `count` on."""
        del self.rows[count:]
        self._resize([array[:count].copy() for array in self._all()])

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Move rows into other slots."""
        for array in self._all():
            array[list(targets)] = array[list(sources)]
            array[list(sources)] = 0
        for source, target in zip(sources, targets, strict=True):
            self.rows[target], self.rows[source] = self.rows[source], None

    def _all(self) -> tuple[npt.NDArray[Any], ...]:
        return (
            self.token,
            self.length,
            self.step,
            self.max_new,
            self.awaited,
            self._seated_at,
            self.key,
            self.temperature,
            self.top_p,
            self.occupied,
            self._drawn,
        )

    def _resize(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        self.token, self.length, self.step, self.max_new, self.awaited, self._seated_at = arrays[:6]
        self.key, self.temperature, self.top_p, self.occupied, self._drawn = arrays[6:]
