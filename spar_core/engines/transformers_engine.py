"""An in-process engine for any transformers causal language model, with continuous batching of its own.

Worker threads share the model, each with a batch of its own (`batch_worker`). Requests from any thread or event loop
meet in one queue and go to the batch that has room, each sample drawn from its own counter-based random stream
(`token_sampling`): which requests share a batch changes no draw. On a CPU every core computes a batch alone: cores that
share one wait for each other hundreds of times a token, and ten times longer when another program wants one of them.

On a CPU the sums are the same, too, on an AMD Zen 5 to the last bit (float32 and bfloat16: of 300 completions of a
random model none differed between batches of 7, 64, 250 and 256 rows). Where the last bit of a logit may still differ,
a draw on the very edge may tip: where several threads compute a batch (2 of the 300 between one and two), where query
heads share a key head on CPUs whose products add up by their length (Intel with AMX), in bfloat16 there, on a GPU, and
for rows sent back for lack of cache memory.
"""

import asyncio
from pathlib import Path

import torch

from spar_core.engines.base import Completion, Generation, GenerationRequest, Sampling
from spar_core.engines.batch_rows import batch_rows
from spar_core.engines.batch_worker import CLOSED, BatchWorker, Office, fail
from spar_core.engines.chat_format import ChatFormat
from spar_core.engines.choosing import parting
from spar_core.engines.configuration import ThinkingSettings
from spar_core.engines.job_queue import Job, JobQueue
from spar_core.engines.model_files import resolve_folder
from spar_core.engines.model_folder import DtypeName, LoadedModel, ending_as, load_model, pick_device
from spar_core.engines.opening import BY_HAND, Opening
from spar_core.engines.slot_batch import Finished, Limits, SlotBatch
from spar_core.engines.slot_table import Row
from spar_core.engines.thought_limit import ThoughtLimit
from spar_core.engines.usage import EngineStats, UsageMeter
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from spar_core.hashing import model_digest
from spar_core.processors import free_memory, usable_cores, wanted_threads
from spar_core.records import FinishReason

_GIB = 2**30
_ROWS_PER_BATCH = 32  # with fewer a core reads weights for longer than it multiplies
_QUEUED_SHARE = 4  # a quarter of a batch's rows wait beside it, to join as others leave
_OWN_STATE = {"dynamic", "longrope"}  # position embeddings that change as they are used
_CPU_PREFILL_TOKENS = 4096
_GPU_PREFILL_TOKENS = 16384
_CPU_CACHE_SHARE = 0.25  # of the free memory; it is taken as answers grow
_CPU_CACHE_LEAST_GIB = 1.0
_GPU_CACHE_SHARE = 0.8  # of the memory free once the weights are loaded


class TransformersEngine:
    """Completes chats with a model folder or hub id, in this process.

    Args:
        model: folder with config.json, safetensors, tokenizer and chat template, or a hub id.
        device: "auto" (the first GPU, else the CPU), "cpu", "cuda", "cuda:1", ...
        dtype: "auto" is bfloat16 on a GPU and float32 on a CPU.
        max_batch_rows: completions decoded at once; None: see `batch_rows`.
        cache_gib: memory for keys and values; None is a quarter of what is free on a CPU (at least 1), 80 % on a GPU.
        threads: CPU cores to compute with; None is `OMP_NUM_THREADS`, else all that this process may use.
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
        max_batch_rows: int | None = None,
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
        threads = threads or wanted_threads() or usable_cores()
        free = _free_bytes(loaded.model.device, opening.seat.seats)
        cache_bytes = _cache_bytes(loaded.model.device, cache_gib, free)
        together = max_batch_rows or _batch_rows(loaded, free - cache_bytes)
        number = _batches(loaded, together, threads)
        rows = -(-together // number)
        self._jobs = JobQueue(number, rows + rows // _QUEUED_SHARE)
        self._meter = UsageMeter()
        office = Office(self._jobs, self._meter, self._completion)
        self._workers = [
            BatchWorker(
                place,
                _batch_for(loaded, rows, int(cache_bytes / number)),
                max(1, threads // number),
                office,
                f"engine {folder.name} {place}",
            )
            for place in range(number)
        ]

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
        job = Job(request, len(prompt))
        room, answer, thought = self._context - len(prompt), request.sampling.max_tokens, self._thought_tokens
        apart = None
        if thought is not None and self._chat.boundaries is not None and not allowed:
            opened = self._chat.rules.reading == "opened"
            apart = ThoughtLimit(*self._chat.boundaries, opened, thought, answer, room)
        most = 1 if allowed else min(answer + (thought or 0), room)
        job.rows = [
            Row(job, request.first + index, prompt, request.sampling, most, request.seed, limit=apart, allowed=allowed)
            for index in range(request.n)
        ]
        if not self._jobs.put(job):
            broken = self._jobs.broken
            raise EngineUnavailableError(broken) if broken else EngineError("the engine is closed: open it again")
        try:
            return await asyncio.wrap_future(job.answer)
        except asyncio.CancelledError:
            self._jobs.forget(job)
            raise

    async def is_healthy(self) -> bool:
        """Whether it can answer: it is neither closed nor broken."""
        return not self._jobs.closed

    async def close(self) -> None:
        """Stop the workers, fail what is unanswered, free the model's memory."""
        for job in self._jobs.close():
            fail(job, EngineError(CLOSED))
        for worker in self._workers:
            await asyncio.to_thread(worker.join)

    def _completion(self, job: Job, finished: Finished) -> Completion:
        choices = job.request.choices
        if choices:
            chosen = choices[finished.row.allowed.index(finished.row.generated[0])]
            return Completion(chosen, "stop", finished.generated, shares=finished.row.shares)
        thought, text = self._chat.rules.split(self._chat.decode(finished.tokens))
        reason: FinishReason = "stop" if finished.stopped else "length"
        return Completion(text, reason, finished.generated, thought)


def _batches(loaded: LoadedModel, rows: int, threads: int) -> int:
    """Batches that are computed side by side: on a CPU one per core, as long as each has rows enough."""
    settings = getattr(loaded.model.config.get_text_config(), "rope_parameters", None) or {}
    kinds = {part.get("rope_type") for part in (settings, *settings.values()) if isinstance(part, dict)}
    if loaded.model.device.type != "cpu" or kinds & _OWN_STATE:
        return 1
    return min(threads, -(-rows // _ROWS_PER_BATCH))


def _free_bytes(device: torch.device, seats: int) -> float:
    return (torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()) / seats


def _cache_bytes(device: torch.device, cache_gib: float | None, free: float) -> float:
    if cache_gib is not None:
        return cache_gib * _GIB
    if device.type == "cuda":
        return free * _GPU_CACHE_SHARE
    return max(_CPU_CACHE_LEAST_GIB * _GIB, free * _CPU_CACHE_SHARE)


def _batch_rows(loaded: LoadedModel, spare: float) -> int:
    vocabulary = loaded.model.config.get_text_config().vocab_size
    return batch_rows(vocabulary, spare_bytes=spare if loaded.model.device.type == "cuda" else None)


def _batch_for(loaded: LoadedModel, rows: int, cache_bytes: int) -> SlotBatch:
    prefill = _GPU_PREFILL_TOKENS if loaded.model.device.type == "cuda" else _CPU_PREFILL_TOKENS
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
