"""Judging many answers on all cores: answers stream through a bounded window, results come back in order."""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice

from spar_core.evaluation.ifeval_rows import Answer, PromptSet
from spar_core.evaluation.ifeval_verdicts import Verdict, judge, judge_readable
from spar_core.records import Constraint

Judged = tuple[Answer, int | None, tuple[Verdict, ...] | None]
Judging = Callable[[PromptSet, Iterable[Answer]], Iterator[Judged]]

_WORTH_PROCESSES = 32 * 2**20  # bytes of answers below which starting processes takes longer than it saves
_BATCH = 64
_Task = tuple[tuple[Constraint, ...], str]
_Judge = Callable[[Sequence[Constraint], str], tuple[Verdict, ...]]


def judge_all(size: int, workers: int | None = None) -> Judging:
    """How to judge `size` bytes of answers: here, or in `workers` processes (None: as many as there are cores)."""
    if workers is None:
        workers = (os.cpu_count() or 1) if size >= _WORTH_PROCESSES else 1
    if workers <= 1:
        return _judge_here
    return lambda prompts, answers: _judge_in_processes(prompts, answers, workers)


def _judge_here(prompts: PromptSet, answers: Iterable[Answer]) -> Iterator[Judged]:
    decide = _judge_of(prompts)
    for answer, position, task in _tasks(prompts, answers):
        yield answer._replace(response=None), position, None if task is None else decide(*task)


def _judge_of(prompts: PromptSet) -> _Judge:
    return judge_readable if prompts.lenient else judge


def _judge_in_processes(prompts: PromptSet, answers: Iterable[Answer], workers: int) -> Iterator[Judged]:
    source = _tasks(prompts, answers)
    window: deque[tuple[list[tuple[Answer, int | None, bool]], Future[list[tuple[Verdict, ...]]]]] = deque()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _spare_imports) as pool:
        try:
            while True:
                while len(window) < 2 * workers and (batch := list(islice(source, _BATCH))):
                    rows = [
                        (answer._replace(response=None), position, task is not None) for answer, position, task in batch
                    ]
                    tasks = [task for _, _, task in batch if task is not None]
                    window.append((rows, pool.submit(_judge_batch, tasks, _judge_of(prompts))))
                if not window:
                    return
                rows, future = window.popleft()
                results = iter(future.result())
                yield from ((answer, position, next(results) if asked else None) for answer, position, asked in rows)
        finally:
            for _, future in window:
                future.cancel()


def _spare_imports() -> None:
    """Keep a worker from loading what NLTK looks for when it is imported, and does without: most of its start."""
    for package in ("scipy", "sklearn"):
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]


def _judge_batch(tasks: list[_Task], decide: _Judge) -> list[tuple[Verdict, ...]]:
    return [decide(instructions, response) for instructions, response in tasks]


def _tasks(prompts: PromptSet, answers: Iterable[Answer]) -> Iterator[tuple[Answer, int | None, _Task | None]]:
    """One entry per prompt answered; an answer to no prompt has position None, a null response no task."""
    for answer in answers:
        if not answer.positions:
            yield answer, None, None
        for position in answer.positions:
            instructions = prompts.prompts[position].instructions
            yield answer, position, None if answer.response is None else (instructions, answer.response)
