"""Tokens per second of the in-process engine beside transformers' own generate, on one model, in one run.

    python benchmarks/generation.py                       a random 1 M-parameter Llama, 100 requests x 5 samples
    python benchmarks/generation.py --model DIR --requests 500 --rows 64 256 --dtypes float32 bfloat16
    python benchmarks/generation.py --model DIR --parts           what each part of a decoding step saves, on one core
    python benchmarks/generation.py --model DIR --chats --requests 64 --samples 4 --rows 256 --weights 32 16
                                                                  real prompts; weights in 32 and 16 bits
    python benchmarks/generation.py --device cuda --width 576 --layers 30 --heads 9 --vocabulary 49152 \
        --dtypes bfloat16 --rows 256 1024 2048 --requests 512 --samples 4 --generate-batches     a GPU

Both sides get the same prompts, n, temperature, top_p and token limit; generate runs each batch of prompts to
its longest answer, as it always does. CPU seconds are printed beside wall seconds: on a shared machine the
first is the fairer figure, and ratios of both are given.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from spar_core.engines import model_folder, packed_linear, slot_batch
from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.kv_cache import stretches, whole
from spar_core.engines.slot_table import Row
from spar_core.engines.transformers_engine import TransformersEngine
from spar_core.records import Message
from spar_core.synthesis.sources import seed_prompts
from spar_core.synthesis.verifiable import verifiable_prompts


class Measured(NamedTuple):
    label: str
    tokens: int
    wall_s: float
    cpu_s: float


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or _random_llama(Path(folder), arguments)
        if arguments.parts:
            _parts(model, arguments.repeats)
            return
        requests = _requests(model, arguments)
        lines = []
        for threads in arguments.threads:
            for dtype in arguments.dtypes:
                for rows, bits in product(arguments.rows, arguments.weights):
                    label = f"engine    {dtype:9} rows {rows:4} threads {threads}{f' weights {bits}' if bits else ''}"
                    with _weights(bits):
                        lines.append(
                            _engine(label, model, requests, arguments.device, dtype=dtype, rows=rows, threads=threads)
                        )
                    _show(lines[-1])
                few = requests[: max(1, len(requests) // arguments.generate_share)]
                for batch in arguments.generate_batches:
                    label = f"generate  {dtype:9} batch {batch:3} threads {threads}"
                    lines.append(
                        _generate(label, model, few, arguments.device, dtype=dtype, batch=batch, threads=threads)
                    )
                    _show(lines[-1])
    _show_ratio(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder; default: a random Llama")
    parser.add_argument("--width", type=int, default=128, help="of the random Llama")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=4000)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, default=60, help="words drawn from the vocabulary")
    parser.add_argument("--chats", action="store_true", help="prompts of the synthesis instead of drawn words")
    parser.add_argument("--weights", type=int, nargs="+", choices=(16, 32), default=[0], help="bits, on a CPU")
    parser.add_argument("--new-tokens", type=int, default=40)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--generate-batches", type=int, nargs="*", default=[4, 16], help="prompts per generate call")
    parser.add_argument("--generate-share", type=int, default=4, help="generate gets one in this many requests")
    parser.add_argument("--parts", action="store_true", help="compare decoding steps with and without their parts")
    parser.add_argument("--repeats", type=int, default=7, help="steps of each kind in --parts, taken in turns")
    return parser.parse_args()


def _requests(model: Path, arguments: argparse.Namespace) -> list[GenerationRequest]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    special = set(tokenizer.all_special_ids)
    words = [word for word, place in sorted(tokenizer.get_vocab().items()) if place not in special and word.isalnum()]
    draw = random.Random(0)
    sampling = Sampling(0.9, arguments.top_p, arguments.new_tokens)
    texts = [" ".join(draw.choices(words, k=arguments.prompt_tokens - 2)) for _ in range(arguments.requests)]
    if arguments.chats:
        made = verifiable_prompts(seed_prompts("dev"), range(arguments.requests), 3, "dev")
        texts = [prompt.text for prompt in made]
    return [GenerationRequest((Message("user", text),), sampling, i, arguments.samples) for i, text in enumerate(texts)]


@contextmanager
def _weights(bits: int) -> Iterator[None]:
    """Weights in so many bits on a CPU; 0: as the processor says. 16 where they fit them alone."""
    if not bits:
        yield
        return
    with patch.object(packed_linear, "_halves_are_faster", lambda: bits == 16):
        yield


def _engine(
    label: str, model: Path, requests: list[GenerationRequest], device: str, *, dtype: Any, rows: int, threads: int
) -> Any:
    engine = TransformersEngine(model, device=device, dtype=dtype, max_batch_rows=rows, threads=threads)

    async def run() -> int:
        answers = await asyncio.gather(*(engine.generate(request) for request in requests))
        return sum(done.completion_tokens for answer in answers for done in answer.completions)

    async def load() -> None:
        await engine.generate(GenerationRequest((Message("user", "Hello."),), Sampling(0.0, 1.0, 1), 0, 1))

    try:
        asyncio.run(load())
        return _timed(label, lambda: asyncio.run(run()))
    finally:
        asyncio.run(engine.close())


def _generate(
    label: str, model: Path, requests: list[GenerationRequest], device: str, *, dtype: str, batch: int, threads: int
) -> Measured:
    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    network = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval().to(device)
    ends = network.generation_config.eos_token_id
    end_tokens = torch.tensor(ends if isinstance(ends, list) else [ends], device=device)

    def run() -> int:
        tokens = 0
        for start in range(0, len(requests), batch):
            group = requests[start : start + batch]
            chats = [[{"role": "user", "content": request.messages[0].content}] for request in group]
            texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
            inputs = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt").to(device)
            inputs.pop("token_type_ids", None)
            sampling = group[0].sampling
            with torch.inference_mode():
                whole = network.generate(
                    **inputs,
                    do_sample=True,
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    top_k=0,
                    max_new_tokens=sampling.max_tokens,
                    num_return_sequences=group[0].n,
                    pad_token_id=tokenizer.pad_token_id,
                )
            new = whole[:, inputs["input_ids"].shape[1] :]
            ended = torch.isin(new, end_tokens).int().cumsum(1)
            tokens += int(((ended == 0).sum(1) + (ended[:, -1] > 0)).sum())
        return tokens

    return _timed(label, run)


def _parts(model: Path, repeats: int) -> None:
    """CPU time of decoding steps: plain, with packed linear layers, with stretches too, and with weights in 16 bits.

    Taken in turns, all see the same neighbours, so that ratios hold on a busy machine, too.
    """
    torch.set_num_threads(1)
    cpu, draw = torch.device("cpu"), random.Random(0)
    with _weights(32):
        packed = model_folder.load_model(model, cpu, "float32")
    with _weights(16):
        halves = model_folder.load_model(model, cpu, "float32")
    with patch.object(model_folder, "pack"):
        plain = model_folder.load_model(model, cpu, "float32")
    longest = min(1000, plain.context - 2 * repeats)
    variants = {"plain": (plain, whole), "packed": (packed, whole), "packed, stretches": (packed, stretches)}
    variants["16 bits, stretches"] = (halves, stretches)
    for name, rows, low, high in (
        ("short", 8, 60, 160),
        ("short", 32, 60, 160),
        ("short", 64, 60, 160),
        ("mixed", 32, 80, longest),
    ):
        lengths = [draw.randrange(low, high) for _ in range(rows)]
        batches = {label: _decoding(loaded, lengths) for label, (loaded, _) in variants.items()}
        taken: dict[str, list[float]] = {label: [] for label in variants}
        for turn in range(repeats + 2):  # the first two read prompts and warm up
            for label, (_, cut) in variants.items():
                began = time.process_time()
                with patch.object(slot_batch, "stretches", cut), torch.inference_mode():
                    batches[label].advance()
                if turn >= 2:
                    taken[label].append(1000 * (time.process_time() - began))
        shown = "   ".join(f"{label} {statistics.median(each):.0f} ms" for label, each in taken.items())
        middle = {label: statistics.median(each) for label, each in taken.items()}
        ratios = [middle["plain"] / middle[label] for label in ("packed, stretches", "16 bits, stretches")]
        print(f"{rows} rows, {name}:   {shown}   {ratios[0]:.2f} and {ratios[1]:.2f} times as fast", flush=True)


def _decoding(loaded: model_folder.LoadedModel, lengths: list[int]) -> slot_batch.SlotBatch:
    batch = slot_batch.SlotBatch(
        loaded.model,
        end_tokens=(),
        limits=slot_batch.Limits(len(lengths), 8 * 2**30, 4096),
        cache_dtype=loaded.cache_dtype,
        bytes_per_position=loaded.bytes_per_position,
    )
    draw, vocabulary = random.Random(1), loaded.model.config.vocab_size
    sampling = Sampling(0.9, 0.9, loaded.context)
    batch.add(
        [
            Row(None, row, tuple(draw.randrange(6, vocabulary) for _ in range(length)), sampling, loaded.context, row)
            for row, length in enumerate(lengths)
        ]
    )
    return batch


def _timed(label: str, run: Callable[[], int]) -> Measured:
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = run()
    return Measured(label, tokens, time.perf_counter() - wall, time.process_time() - cpu)


def _show(line: Measured) -> None:
    print(
        f"{line.label}   {line.tokens:7} tokens   {line.wall_s:6.1f} s wall {line.tokens / line.wall_s:7.0f} tok/s   "
        f"{line.cpu_s:6.1f} s cpu {line.tokens / line.cpu_s:7.0f} tok/s",
        flush=True,
    )


def _show_ratio(lines: list[Measured]) -> None:
    ours = [line for line in lines if line.label.startswith("engine")]
    theirs = [line for line in lines if line.label.startswith("generate")]
    if not theirs:
        return
    for clock in ("wall_s", "cpu_s"):
        best = [max(side, key=lambda line: line.tokens / getattr(line, clock)) for side in (ours, theirs)]
        rates = [line.tokens / getattr(line, clock) for line in best]
        print(f"best against best by {clock[:-2]} time: {rates[0] / rates[1]:.1f} x")


def _random_llama(folder: Path, arguments: argparse.Namespace) -> Path:
    width, vocabulary = arguments.width, arguments.vocabulary
    marks = ["<pad>", "<end>", "<user>", "<assistant>", "<unk>"]
    words = [*marks, *(f"w{number}" for number in range(vocabulary - len(marks)))]
    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<' + m['role'] + '> ' + m['content'] + ' ' }}{% endfor %}<assistant> "
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 5 // 2,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.heads,
        num_key_value_heads=arguments.heads,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    print(f"random Llama: {model.num_parameters() / 1e6:.2f} M parameters")
    return folder


if __name__ == "__main__":
    main()
