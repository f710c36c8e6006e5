"""How many shards of a stage run at once: enough that its model servers always have a little more than they bear."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from spar_core.engines.base import Bounded, Engine

LOOK_S = 0.5
"""Seconds between two looks; a shard that was started asks by then."""
_LEAST = 2  # so that the end of one shard is not the end of all work
_MOST = 64
_QUEUED = 1.25  # asked of what the servers bear: what waits takes the places of what is answered


class Load:
    """What a stage asks of its engines at this moment, and what these bear. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0
        self._engines: dict[str, Bounded] = {}

    @contextmanager
    def asking(self, engine: Engine) -> Iterator[None]:
        """Count the block as a request at an engine."""
        with self._lock:
            self._asked += 1
            if isinstance(engine, Bounded):
                self._engines[engine.model_digest] = engine
        try:
            yield
        finally:
            with self._lock:
                self._asked -= 1

    def leaves_room(self) -> bool:
        """Whether the engines could work on more; false where they do not say what they bear."""
        with self._lock:
            return self._asked < _QUEUED * sum(engine.capacity for engine in self._engines.values())


class Pace(NamedTuple):
    """When another shard may begin. `shards`: at once; auto: while those that run leave the engines room."""

    shards: int | Literal["auto"]
    load: Load

    def first(self) -> int:
        """Shards to begin with."""
        return _LEAST if self.shards == "auto" else self.shards

    def more(self, running: int) -> int:
        """Shards to begin now, beside those that run; where they ask for room, one at each look."""
        if running < self.first():
            return self.first() - running
        return int(self.shards == "auto" and running < _MOST and self.load.leaves_room())
