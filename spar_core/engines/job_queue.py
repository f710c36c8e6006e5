"""Requests that wait for a batch: several batches take from one queue, each as much as it has room for."""

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from spar_core.engines.base import Completion, Generation, GenerationRequest
from spar_core.engines.slot_table import Row


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way: its rows, the completions that are in, and where the answer goes."""

    request: GenerationRequest
    prompt_tokens: int
    rows: list[Row] = field(default_factory=list)
    answer: "Future[Generation]" = field(default_factory=Future)
    completions: dict[int, Completion] = field(default_factory=dict)


class Handed(NamedTuple):
    """What a batch is told: the jobs that are now its own, and those, of any batch, that nobody waits for any more."""

    jobs: list[Job]
    unwanted: list[Job]


class JobQueue:
    """Shares jobs out among batches, all rows of a job to one; thread-safe.

    Args:
        batches: how many there are, numbered from 0.
        room: rows that a batch holds at most, running or waiting; the last job it takes may go beyond.
    """

    def __init__(self, batches: int, room: int) -> None:
        self._room = room
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._rows_waiting = 0
        self._loads = [0] * batches
        self._unwanted: list[list[Job]] = [[] for _ in range(batches)]
        self.closed = False
        self.broken = ""

    def put(self, job: Job) -> bool:
        """Queue a job; False when the queue is closed."""
        with self._changed:
            if not self.closed:
                self._waiting.append(job)
                self._rows_waiting += len(job.rows)
                self._changed.notify_all()
            return not self.closed

    def forget(self, job: Job) -> None:
        """Nobody waits for this job's answer any more."""
        with self._changed:
            for unwanted in self._unwanted:
                unwanted.append(job)
            self._changed.notify_all()

    def take(self, batch: int, load: int) -> Handed | None:
        """What there is for a batch that holds `load` rows; one that holds none waits for it. None: closed.

        A batch takes no more than its even share of all rows there are, so that none is idle while another has many.
        """
        with self._changed:
            self._loads[batch] = load
            while not self.closed:
                handed = Handed(self._share(batch), self._unwanted[batch])
                self._unwanted[batch] = []
                if load or handed.jobs:
                    return handed
                self._changed.wait()
            return None

    def close(self, broken: str = "") -> list[Job]:
        """Hand out no more and wake everybody; returns the jobs that no batch has taken. `broken` says why, if so."""
        with self._changed:
            self.closed = True
            self.broken = self.broken or broken
            left = [job for job in self._waiting if job.answer.set_running_or_notify_cancel()]
            self._waiting.clear()
            self._changed.notify_all()
            return left

    def _share(self, batch: int) -> list[Job]:
        rows = sum(self._loads) + self._rows_waiting
        share = min(self._room, -(-rows // len(self._loads)))
        taken = []
        while self._waiting and self._loads[batch] < share:
            job = self._waiting.popleft()
            self._rows_waiting -= len(job.rows)
            if job.answer.set_running_or_notify_cancel():
                self._loads[batch] += len(job.rows)
                taken.append(job)
        return taken
