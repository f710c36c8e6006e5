"""The fleet and the iteration: stages one after the other, loading and training between them, deaths and restarts."""

from collections.abc import Callable, Iterator
from math import ceil, gcd
from random import Random
from typing import NamedTuple

import simpy

from benchmarks.fleet_simulation.replica import Replica, Request
from benchmarks.fleet_simulation.scenario import Scenario
from benchmarks.fleet_simulation.tree_shapes import Ask, Shape, recorded
from benchmarks.fleet_simulation.worker import Steps, Worker

SHAPES = 1000
"""Trees recorded of the real search, of which a simulation draws."""
HOUR = 3600.0


class Outcome(NamedTuple):
    """What an iteration took. Times in seconds; shares as fractions of GPU time, tokens lost of tokens written."""

    makespan_s: float
    stage_s: dict[str, float]
    idle: float
    """Of the GPU time: no row ran, and the GPU trained nothing."""
    fill: float
    """Of the places in the batch, while the stages that ask went on: those with a row."""
    tokens: int
    lost: float
    driver_busy: float
    """Share of the time in which the busiest worker's CPU was at work, while the stages that ask went on."""
    requests: int


class Fleet:
    """A simulation of one iteration on so many GPUs."""

    def __init__(self, scenario: Scenario, gpus: int, seed: int, shapes: list[Shape] | None = None) -> None:
        method, driving, trouble = scenario.method, scenario.driving, scenario.trouble
        self._scenario = scenario
        self._gpus = gpus
        self._random = Random(seed)
        self._shapes = shapes or recorded(SHAPES, method.votes, method.yes_votes, seed)
        self._env = simpy.Environment()
        count = max(1, gpus // scenario.service.gpus)
        each = count if driving.gpus_per_worker is None else max(1, driving.gpus_per_worker // scenario.service.gpus)
        shared = each >= count
        self._slice = gcd(scenario.slice, count if shared else ceil(count / each))
        """Simulated replicas and prompts are that many times fewer than those they stand for."""
        self._worker_grain = scenario.grain * (self._slice if shared else 1)
        self._shard_s = driving.shard_s * (1 if shared else self._slice)
        count = max(1, count // self._slice)
        speeds = [trouble.slow_speed if self._random.random() < trouble.slow_replicas else 1.0 for _ in range(count)]
        self.replicas = [Replica(self._env, scenario.service, scenario.grain, speed, self._done) for speed in speeds]
        self._workers = [
            Worker(
                self._env,
                number,
                self.replicas[first : first + each],
                driving,
                scenario.texts,
                (self._worker_grain, scenario.grain),
                Random(f"{seed} {number}"),
            )
            for number, first in enumerate(range(0, count, each))
        ]
        self._orchestrator_free_at = 0.0
        self._stage_s: dict[str, float] = {}
        self._asking_s = 0.0
        self._training_gpu_s = 0.0
        self._requests = 0
        self._over = False

    def run(self) -> Outcome:
        """Simulate to the end of the iteration."""
        trouble = self._scenario.trouble
        for replica in self.replicas:
            if trouble.failures_per_gpu_hour:
                self._env.process(self._failing(replica))
        for worker in self._workers:
            if trouble.failures_per_worker_hour:
                self._env.process(self._dying(worker))
        self._env.run(self._env.process(self._iteration()))
        for replica in self.replicas:
            replica.settle()
        makespan = self._env.now
        busy_s = self._slice * sum(replica.busy_s for replica in self.replicas) * self._scenario.service.gpus
        places = len(self.replicas) * self._scenario.service.rows * self._asking_s
        written = self._slice * sum(replica.written for replica in self.replicas)
        return Outcome(
            makespan,
            self._stage_s,
            1 - (busy_s + self._training_gpu_s) / (makespan * self._gpus),
            sum(replica.row_s for replica in self.replicas) / places,
            written,
            self._slice * sum(replica.lost for replica in self.replicas) / written,
            max(worker.cpu_s for worker in self._workers) / self._asking_s,
            self._requests,
        )

    def _done(self, request: Request) -> None:
        self._workers[request.worker].answered(request)

    def _iteration(self) -> Steps:
        method, turns = self._scenario.method, self._scenario.turns
        answers: Shape = ((Ask("answer", method.samples),),)
        votes: Shape = ((Ask("vote", method.votes),),)
        trees = round(method.prompts * method.failing_prompts)
        yield from self._timed("loading", self._waited(turns.load_s))
        yield from self._timed("responses", self._asked(method.prompts, lambda size: self._same(answers, size)))
        yield from self._timed("loading", self._waited(turns.load_s))
        yield from self._timed(
            "judgements", self._asked(method.prompts, lambda size: self._same(votes, size * method.samples))
        )
        yield from self._timed("on one core", self._waited(method.prompts * self._scenario.driving.prompt_cpu_s))
        yield from self._timed("trees", self._asked(trees, lambda size: self._drawn(size)))
        yield from self._timed("training", self._trained())

    def _timed(self, name: str, steps: Steps) -> Steps:
        began = self._env.now
        yield from steps
        self._stage_s[name] = self._stage_s.get(name, 0.0) + self._env.now - began

    def _waited(self, seconds: float) -> Steps:
        yield self._env.timeout(seconds)

    def _same(self, shape: Shape, count: int) -> Iterator[Shape]:
        return (shape for _ in range(count))

    def _drawn(self, count: int) -> Iterator[Shape]:
        return (self._random.choice(self._shapes) for _ in range(count))

    def _asked(self, items: int, shapes: Callable[[int], Iterator[Shape]]) -> Steps:
        """A stage: its shards go to whichever worker has a place free."""
        began = self._env.now
        yield self._env.timeout(self._scenario.driving.stage_s)
        left = max(1, round(items / (self._scenario.grain * self._slice)))
        each = max(1, round(self._scenario.driving.shard_size / self._worker_grain))
        sizes = [min(each, left - start) for start in range(0, left, each)]
        queue = iter(sizes)
        places = [
            self._env.process(self._place(worker, queue, shapes))
            for _ in range(self._scenario.driving.parallel_shards)
            for worker in self._workers
        ]
        yield self._env.all_of(places)
        self._asking_s += self._env.now - began

    def _place(self, worker: Worker, sizes: Iterator[int], shapes: Callable[[int], Iterator[Shape]]) -> Steps:
        """One of the shards that a worker has open at once, one after the other."""
        for size in sizes:
            self._orchestrator_free_at = max(self._orchestrator_free_at, self._env.now) + self._shard_s
            yield self._env.timeout(self._orchestrator_free_at - self._env.now)
            chosen = list(shapes(size))
            self._requests += sum(len(asks) for shape in chosen for asks in shape) * (
                self._scenario.grain * self._slice
            )
            yield self._env.process(worker.shard(chosen))

    def _trained(self) -> Steps:
        method, turns = self._scenario.method, self._scenario.turns
        work = method.prompts * turns.training_gpu_s_per_prompt
        if work:
            self._training_gpu_s += work
            yield self._env.timeout(2 * turns.training_start_s + work / min(self._gpus, turns.training_gpus))

    def _failing(self, replica: Replica) -> Steps:
        trouble, gpus = self._scenario.trouble, self._scenario.service.gpus
        while True:
            yield self._env.timeout(self._random.expovariate(trouble.failures_per_gpu_hour * gpus / HOUR))
            replica.up = False
            dropped = replica.drop(lambda request: True)
            for worker in self._workers:
                own = [request for request in dropped if request.worker == worker.number]
                if own:
                    worker.ask_again(own, replica)
            yield self._env.timeout(trouble.restart_s)
            replica.up = True
            for worker in self._workers:
                worker.came_back(replica)

    def _dying(self, worker: Worker) -> Steps:
        trouble = self._scenario.trouble
        while True:
            yield self._env.timeout(self._random.expovariate(trouble.failures_per_worker_hour / HOUR))
            worker.stop()
            yield self._env.timeout(trouble.worker_restart_s)
            worker.start()
