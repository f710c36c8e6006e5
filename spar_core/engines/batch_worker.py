"""A thread that computes one batch: it takes jobs from the queue, advances them token by token, and answers them."""

import gc
import threading
import traceback
from collections.abc import Callable
from typing import NamedTuple

import torch

from spar_core.engines.base import Completion, Generation
from spar_core.engines.job_queue import Job, JobQueue
from spar_core.engines.slot_batch import Finished, RowsFailedError, SlotBatch, is_out_of_memory
from spar_core.engines.usage import UsageMeter
from spar_core.errors import EngineError, EngineUnavailableError

CLOSED = "the engine was closed before it answered"


class Office(NamedTuple):
    """What the workers of one engine share.

    Fields:
        jobs: the queue they take from.
        meter: counts what they do.
        read: a completion out of a row that ended, given its job.
    """

    jobs: JobQueue
    meter: UsageMeter
    read: Callable[[Job, Finished], Completion]


class BatchWorker:
    """Computes one batch in a thread of its own, from its making to the queue's end.

    Args:
        number: its batch's, in the queue.
        batch: owned by the thread from now on; None once it has ended.
        threads: of its arithmetic.
        office: shared with the engine's other workers.
        name: of the thread.
    """

    def __init__(self, number: int, batch: SlotBatch, threads: int, office: Office, name: str) -> None:
        self.batch: SlotBatch | None = batch
        self._number = number
        self._threads = threads
        self._office = office
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Return when the thread has ended and given back its memory."""
        self._thread.join()

    def _work(self) -> None:
        torch.set_num_threads(self._threads)
        batch = self.batch
        assert batch is not None
        cause = None
        try:
            with torch.inference_mode():
                while (handed := self._office.jobs.take(self._number, len(batch))) is not None:
                    for job in handed.jobs:
                        batch.add(job.rows)
                    if handed.unwanted:
                        batch.discard(handed.unwanted)
                    with self._office.meter.in_flight():
                        self._advance(batch)
        except BaseException as error:
            cause = error
            raise
        finally:
            self._end(batch, cause)
            self.batch = None
            del batch
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _end(self, batch: SlotBatch, cause: BaseException | None) -> None:
        """Whoever waits for this batch, or for any, gets an answer; nobody can ask any more."""
        jobs = self._office.jobs
        left = jobs.close(f"the engine's worker failed: {cause!r}" if cause else "")
        left += [row.owner for row in batch.take_all()]
        for job in left:
            fail(job, EngineUnavailableError(jobs.broken) if jobs.broken else EngineError(CLOSED), cause)

    def _advance(self, batch: SlotBatch) -> None:
        try:
            for finished in batch.advance():
                self._deliver(batch, finished)
        except RowsFailedError as error:
            self._refuse(batch, error)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # which hold the tensors that were too many
            if not batch.shrink():
                message = "out of memory even with a single row in the batch: use a smaller model or another device"
                for row in batch.take_all():
                    fail(row.owner, EngineError(message), error)
            elif torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _refuse(self, batch: SlotBatch, error: RowsFailedError) -> None:
        """The jobs of rows that the model could not compute fail as a whole; all others go on."""
        jobs: list[Job] = [row.owner for row in error.rows]
        batch.discard(jobs)
        cause = error.__cause__
        for job in jobs:
            fail(job, EngineError(f"the model failed: {type(cause).__name__}: {cause}"), cause)

    def _deliver(self, batch: SlotBatch, finished: Finished) -> None:
        job: Job = finished.row.owner
        if job.answer.done():
            return
        if not finished.usable:
            batch.discard([job])
            fail(job, EngineError("the model's logits are not finite (NaN or infinity): damaged weights, or overflow"))
            return
        try:
            completion = self._office.read(job, finished)
        except Exception as error:  # noqa: BLE001 - tokenizers raise whatever they like; this request is concerned
            batch.discard([job])
            fail(job, EngineError(f"the tokenizer cannot read the model's answer: {error!r}"), error)
            return
        job.completions[finished.row.index] = completion
        if len(job.completions) < job.request.n:
            return
        completions = tuple(job.completions[index] for index in sorted(job.completions))
        generation = Generation(completions, job.prompt_tokens)
        self._office.meter.add(generation)
        job.answer.set_result(generation)


def fail(job: Job, failure: EngineError, cause: BaseException | None = None) -> None:
    """Answer a job with an error, unless it has its answer."""
    if cause is not None:
        traceback.clear_frames(cause.__traceback__)  # a caller may keep the error, and must not keep tensors with it
        failure.__cause__ = cause
    if not job.answer.done():
        job.answer.set_exception(failure)
