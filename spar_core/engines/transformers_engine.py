"""An in-process engine for any transformers causal language model, with continuous batching of its own.

One worker thread owns the model. Requests from any thread or event loop meet in one batch
(`slot_batch`), each sample drawn from its own counter-based random stream (`token_sampling`): which
requests share a batch changes no draw. On a CPU the sums are the same to the last bit, too (float32 and
bfloat16: of 300 completions of a random model none differed between batches of 7, 64, 250 and 256 rows).
Where the last bit of a logit may still differ, a draw on the very edge may tip: with another number of threads
(2 of the 300 between one and two), on a GPU, and for rows sent back to the queue for lack of cache memory.
"""

import asyncio
import gc
import queue
import threading
import time
import traceback
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from spar_core.engines.base import Completion, Generation, GenerationRequest, Sampling
from spar_core.engines.chat_format import ChatFormat
from spar_core.engines.choosing import parting
from spar_core.engines.configuration import ThinkingSettings
from spar_core.engines.model_files import resolve_folder
from spar_core.engines.model_folder import DtypeName, LoadedModel, ending_as, load_model, pick_device
from spar_core.engines.opening import BY_HAND, Opening
from spar_core.engines.slot_batch import Finished, Limits, RowsFailedError, SlotBatch, is_out_of_memory
from spar_core.engines.slot_table import Row
from spar_core.engines.thought_limit import ThoughtLimit
from spar_core.engines.usage import EngineStats, UsageMeter
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from spar_core.hashing import model_digest
from spar_core.processors import free_cores
from spar_core.records import FinishReason

_GIB = 2**30
_CPU_PREFILL_TOKENS = 4096
_GPU_PREFILL_TOKENS = 16384
_CPU_CACHE_GIB = 1.0
_GPU_CACHE_SHARE = 0.8  # of the memory free once the weights are loaded


@dataclass(slots=True, eq=False)
class _Job:
    """A request on its way: the completions that are in, and where the answer goes."""

    request: GenerationRequest
    prompt_tokens: int
    answer: "Future[Generation]"
    completions: dict[int, Completion] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


class _Unwanted(NamedTuple):
    """Nobody waits for this job's answer any more."""

    job: _Job


class TransformersEngine:
    """Completes chats with a model folder or hub id, in this process.

    Args:
        model: folder with config.json, safetensors, tokenizer and chat template, or a hub id.
        device: "auto" (the first GPU, else the CPU), "cpu", "cuda", "cuda:1", ...
        dtype: "auto" is bfloat16 on a GPU and float32 on a CPU.
        max_batch_rows: completions decoded at once.
        cache_gib: memory for keys and values; None is 1 GiB on a CPU and 80 % of what is free on a GPU.
        threads: CPU threads of the model's arithmetic; None is `free_cores()`.
        opening: the model's digest where it is known, and who shares the free memory of the GPU.
        thinking: variables of the chat template, how thoughts are told from answers, and how long they may be.

    Raises:
        EngineError: the model cannot be loaded; the message names the folder and what is wrong.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        dtype: DtypeName = "auto",
        max_batch_rows: int = 256,
        cache_gib: float | None = None,
        threads: int | None = None,
        opening: Opening = BY_HAND,
        thinking: ThinkingSettings | None = None,
    ) -> None:
        folder = resolve_folder(str(model))
        self._digest = opening.digest or model_digest(folder)
        loaded = load_model(folder, pick_device(device), dtype)
        self._chat = ChatFormat(loaded.tokenizer, f"model folder {folder}", thinking)
        if self._chat.template != self._chat.own_template:
            loaded = ending_as(loaded, self._chat.template)
        self._thought_tokens = thinking.thought_tokens if thinking else None
        self._context = loaded.context
        share = 1 / opening.seat.seats
        self._batch: SlotBatch | None = _batch_for(loaded, max_batch_rows, cache_gib, share)
        self._threads = threads or free_cores()
        self._inbox: queue.SimpleQueue[_Job | _Unwanted | None] = queue.SimpleQueue()
        self._closed = False
        self._broken = ""
        self._closing = threading.Lock()
        self._meter = UsageMeter()
        self._worker = threading.Thread(target=self._work, name=f"engine {folder.name}", daemon=True)
        self._worker.start()

    @property
    def model_digest(self) -> str:
        """Content digest of the model folder."""
        return self._digest

    @property
    def stats(self) -> EngineStats:
        """Requests, tokens and seconds so far."""
        return self._meter.stats

    async def generate(self, request: GenerationRequest) -> Generation:
        """Complete one request. `completion_tokens` counts the end token as well.

        A cancelled request leaves the batch before the next token.

        Raises:
            RequestRejectedError: reason "prompt_too_long", "chat_template", "bad_sampling" or "choices".
            EngineError: the model's code failed at this request, gave non-finite logits, ran out of memory at one
                row, or is closed.
            EngineUnavailableError: the engine broke down; opened again it may answer.
        """
        _check(request)
        allowed: tuple[int, ...] = ()
        if request.choices:
            prompt, allowed = parting(self._chat.continued(request.messages, request.choices))
        else:
            prompt = self._chat.tokens(request.messages)
        if not prompt or len(prompt) + 1 > self._context:
            raise RequestRejectedError(
                f"the prompt has {len(prompt)} tokens; the model takes 1 to {self._context - 1}",
                reason="prompt_too_long" if prompt else "empty_prompt",
            )
        job = _Job(request, len(prompt), Future())
        room, answer, thought = self._context - len(prompt), request.sampling.max_tokens, self._thought_tokens
        apart = None
        if thought is not None and self._chat.boundaries is not None and not allowed:
            opened = self._chat.rules.reading == "opened"
            apart = ThoughtLimit(*self._chat.boundaries, opened, thought, answer, room)
        most = 1 if allowed else min(answer + (thought or 0), room)
        job.rows = [
            Row(job, index, prompt, request.sampling, most, request.seed, limit=apart, allowed=allowed)
            for index in range(request.n)
        ]
        with self._closing:
            if self._closed and self._broken:
                raise EngineUnavailableError(self._broken)
            if self._closed:
                raise EngineError("the engine is closed: open it again")
            self._inbox.put(job)
        try:
            return await asyncio.wrap_future(job.answer)
        except asyncio.CancelledError:
            self._inbox.put(_Unwanted(job))
            raise

    async def is_healthy(self) -> bool:
        """Whether it can answer: it is neither closed nor broken."""
        return not self._closed

    async def close(self) -> None:
        """Stop the worker, fail what is unanswered, free the model's memory."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        await asyncio.to_thread(self._worker.join)

    # -- the worker thread -----------------------------------------------------------------------

    def _work(self) -> None:
        torch.set_num_threads(self._threads)
        batch = self._batch
        assert batch is not None
        failure = EngineError("the engine was closed before it answered")
        try:
            with torch.inference_mode():
                while self._receive(batch):
                    started = time.perf_counter()
                    self._advance(batch)
                    self._meter.add(seconds=time.perf_counter() - started)
        except BaseException as error:
            self._broken = f"the engine's worker failed: {error!r}"
            failure = EngineUnavailableError(self._broken)
            failure.__cause__ = error
            raise
        finally:
            self._fail_everything(batch, failure)
            self._batch = None
            del batch
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _fail_everything(self, batch: SlotBatch, failure: EngineError) -> None:
        """Whoever waits, in the batch or still in the inbox, gets an answer; nobody can ask any more."""
        with self._closing:
            self._closed = True
        jobs = [row.owner for row in batch.take_all()]
        while not self._inbox.empty():
            entry = self._inbox.get()
            if isinstance(entry, _Job) and entry.answer.set_running_or_notify_cancel():
                jobs.append(entry)
        for job in jobs:
            _fail(job, failure)

    def _receive(self, batch: SlotBatch) -> bool:
        """Take in what has arrived, waiting only when there is nothing to compute; False to stop."""
        block = len(batch) == 0
        unwanted = []
        while True:
            try:
                entry = self._inbox.get(block=block)
            except queue.Empty:
                break
            if entry is None:
                return False
            if isinstance(entry, _Unwanted):
                unwanted.append(entry.job)
            elif entry.answer.set_running_or_notify_cancel():
                batch.add(entry.rows)
            block = False
        if unwanted:
            batch.discard(unwanted)
        return True

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
                    _fail(row.owner, EngineError(message), error)
            elif torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _refuse(self, batch: SlotBatch, error: RowsFailedError) -> None:
        """The jobs of rows that the model could not compute fail as a whole; all others go on."""
        jobs: list[_Job] = [row.owner for row in error.rows]
        batch.discard(jobs)
        cause = error.__cause__
        for job in jobs:
            _fail(job, EngineError(f"the model failed: {type(cause).__name__}: {cause}"), cause)

    def _deliver(self, batch: SlotBatch, finished: Finished) -> None:
        job: _Job = finished.row.owner
        if job.answer.done():
            return
        if not finished.usable:
            batch.discard([job])
            _fail(job, EngineError("the model's logits are not finite (NaN or infinity): damaged weights, or overflow"))
            return
        try:
            completion = self._completion(finished, job.request.choices)
        except Exception as error:  # noqa: BLE001 - tokenizers raise whatever they like; this request is concerned
            batch.discard([job])
            _fail(job, EngineError(f"the tokenizer cannot read the model's answer: {error!r}"), error)
            return
        job.completions[finished.row.index] = completion
        if len(job.completions) < job.request.n:
            return
        completions = tuple(job.completions[index] for index in range(job.request.n))
        generation = Generation(completions, job.prompt_tokens)
        self._meter.add(generation)
        job.answer.set_result(generation)

    def _completion(self, finished: Finished, choices: tuple[str, ...]) -> Completion:
        if choices:
            chosen = choices[finished.row.allowed.index(finished.row.generated[0])]
            return Completion(chosen, "stop", finished.generated, shares=finished.row.shares)
        thought, text = self._chat.rules.split(self._chat.decode(finished.tokens))
        reason: FinishReason = "stop" if finished.stopped else "length"
        return Completion(text, reason, finished.generated, thought)


def _batch_for(loaded: LoadedModel, rows: int, cache_gib: float | None, share: float) -> SlotBatch:
    device = loaded.model.device
    if cache_gib is not None:
        cache_bytes = int(cache_gib * _GIB)
    elif device.type == "cuda":
        cache_bytes = int(torch.cuda.mem_get_info(device)[0] * _GPU_CACHE_SHARE * share)
    else:
        cache_bytes = int(_CPU_CACHE_GIB * _GIB)
    prefill = _GPU_PREFILL_TOKENS if device.type == "cuda" else _CPU_PREFILL_TOKENS
    return SlotBatch(
        loaded.model,
        end_tokens=loaded.end_tokens,
        limits=Limits(rows, cache_bytes, prefill),
        cache_dtype=loaded.cache_dtype,
        bytes_per_position=loaded.bytes_per_position,
    )


def _check(request: GenerationRequest) -> None:
    sampling: Sampling = request.sampling
    if request.n < 1 or sampling.max_tokens < 1 or sampling.temperature < 0 or not 0 < sampling.top_p <= 1:
        raise RequestRejectedError(
            f"n={request.n} and {sampling} cannot be drawn: n and max_tokens are at least 1, temperature at least 0, "
            "0 < top_p <= 1",
            reason="bad_sampling",
        )


def _fail(job: _Job, failure: EngineError, cause: BaseException | None = None) -> None:
    if cause is not None:
        traceback.clear_frames(cause.__traceback__)  # a caller may keep the error, and must not keep tensors with it
        failure.__cause__ = cause
    if not job.answer.done():
        job.answer.set_exception(failure)
