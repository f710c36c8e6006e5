"""What a stage is at, said now and then where no bar can show it: in the log of a job."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

_FIRST_S: Final = (60.0, 300.0)
_EVERY_S: Final = 600.0
_LOOK_S: Final = 5.0


class Pace(NamedTuple):
    """What a run's engines have written so far, in tokens, and how many requests wait for them."""

    written: int
    asked: int


@dataclass
class _Beating:
    name: str
    pace: Callable[[], Pace]
    parts: int
    begun: float
    done: int = 0
    step: str = ""
    said: int = 0
    before: tuple[float, int] = field(default=(0.0, 0))


class Heartbeat:
    """Says how a stage fares a minute after it began, after five, and then every ten minutes.

    Args:
        say: writes a line.
        clock: seconds.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._lock = threading.Lock()
        self._stages: dict[str, _Beating] = {}

    def started(self, name: str, parts: int, pace: Callable[[], Pace]) -> None:
        """A stage began, of so many parts."""
        now = self._clock()
        with self._lock:
            self._stages[name] = _Beating(name, pace, parts, now, before=(now, pace().written))

    def advanced(self, name: str, done: int) -> None:
        """So many of its parts are finished."""
        with self._lock:
            if name in self._stages:
                self._stages[name].done = done

    def trained(self, name: str, step: str) -> None:
        """What a training logged last."""
        with self._lock:
            if name in self._stages:
                self._stages[name].step = step

    def ended(self, name: str) -> None:
        """A stage is over."""
        with self._lock:
            self._stages.pop(name, None)

    def beat(self) -> None:
        """Say what is due."""
        with self._lock:
            lines = [self._line(stage) for stage in self._stages.values() if self._is_due(stage)]
        for line in lines:
            self._say(line)

    @contextmanager
    def going(self) -> Iterator[None]:
        """Beat while the block runs, in a thread of its own."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(_LOOK_S):
                self.beat()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _is_due(self, stage: _Beating) -> bool:
        passed = self._clock() - stage.begun
        due = sum(passed >= moment for moment in _FIRST_S) + max(0, int((passed - _FIRST_S[-1]) // _EVERY_S))
        is_due, stage.said = due > stage.said, due
        return is_due

    def _line(self, stage: _Beating) -> str:
        now, pace = self._clock(), stage.pace()
        told = [f"{(now - stage.begun) / 60:.0f} min"]
        if stage.parts > 1:
            told.append(f"{stage.done} of {stage.parts} parts")
        if stage.step:
            told.append(stage.step)
        since, written = stage.before
        if pace.written > written or pace.asked:
            told.append(f"{(pace.written - written) / (now - since):,.0f} tokens/s written, {pace.asked} requests out")
        stage.before = (now, pace.written)
        return f"{stage.name:<28} {', '.join(told)}"
