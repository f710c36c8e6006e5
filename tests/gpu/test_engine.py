"""The in-process engine on an accelerator: right answers, out of memory, errors that hang nobody, memory given back."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1] / "spar_core" / "engines"))

import tiny_models
from tiny_models import write_model, write_tokenizer

from spar_core.engines.base import Generation, GenerationRequest, Sampling
from spar_core.engines.placement import visible_gpus
from spar_core.engines.transformers_engine import TransformersEngine
from spar_core.errors import EngineError
from spar_core.processes import mark_runs, process_mark
from spar_core.records import Message

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
ROOT = Path(__file__).parents[2]
MIB = 2**20


def request(count: int, sampling: Sampling, seed: int = 1, n: int = 1) -> GenerationRequest:
    text = " ".join(f"w{6 + place * seed % 110}" for place in range(count))
    return GenerationRequest((Message("user", text),), sampling, seed, n)


def ask(engine: TransformersEngine, asked: list[GenerationRequest]) -> list[Generation | BaseException]:
    async def run() -> list[Generation | BaseException]:
        return await asyncio.gather(*(engine.generate(one) for one in asked), return_exceptions=True)

    return asyncio.run(asyncio.wait_for(run(), 120))


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 KiB of keys and values per position in bfloat16: 8 layers x 2 x 8 heads x 64 x 2 bytes."""
    folder = tmp_path_factory.mktemp("wide")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=120,
        hidden_size=512,
        intermediate_size=512,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=65536,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture
def little_memory() -> Iterator[Callable[[int], None]]:
    """Let this process have only so many MiB of the GPU beyond what it holds now."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory

    def limit(mib: int) -> None:
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + mib * MIB) / total)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.parametrize("architecture", ["llama", "mistral", "glm4", "qwen2"])
def test_greedy_equals_the_models_own_generate(tmp_path: Path, architecture: str) -> None:
    folder = write_model(tmp_path, architecture)
    asked = [request(2 + 3 * number, Sampling(0.0, 1.0, 16), seed=1 + number) for number in range(16)]
    engine = TransformersEngine(folder, device="cuda", dtype="float32", max_batch_rows=5)
    answers = ask(engine, asked)
    prompts = [engine._chat.tokens(one.messages) for one in asked]
    texts = [engine._chat.decode(own_answer(folder, prompt)) for prompt in prompts]
    asyncio.run(engine.close())
    assert all(isinstance(answer, Generation) for answer in answers)
    same = [
        answer.completions[0].text == text
        for answer, text in zip(answers, texts, strict=True)
        if isinstance(answer, Generation)
    ]
    # Sums in another order may tip a near-tie; most answers must agree whole.
    assert sum(same) >= 13


def own_answer(folder: Path, prompt: tuple[int, ...]) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to("cuda").eval()
    ids = torch.tensor([prompt], device="cuda")
    with torch.inference_mode():
        found = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16)
    tokens: list[int] = found[0, len(prompt) :].tolist()
    return tokens[: tokens.index(tiny_models.END)] if tiny_models.END in tokens else tokens


def test_out_of_memory_halves_the_batch_and_loses_nothing(
    wide_model: Path, little_memory: Callable[[int], None]
) -> None:
    # 192 rows of some 1,000 positions of 16 KiB are 3 GiB; the engine believes it may take 8, and has half of one.
    engine = TransformersEngine(wide_model, device="cuda", cache_gib=8.0)
    little_memory(512)
    answers = ask(engine, [request(1000, Sampling(1.0, 1.0, 4), seed=seed, n=1) for seed in range(192)])
    allowed = engine._workers[0].batch._limits.rows
    asyncio.run(engine.close())
    assert [answer for answer in answers if not isinstance(answer, Generation)] == []
    assert allowed < 192  # it did run out


def test_a_row_that_never_fits_fails_and_the_next_is_answered(
    wide_model: Path, little_memory: Callable[[int], None]
) -> None:
    # One row of 60,000 positions takes 940 MiB of keys and values.
    engine = TransformersEngine(wide_model, device="cuda", cache_gib=64.0)
    little_memory(512)
    refused = ask(engine, [request(60000, Sampling(0.0, 1.0, 4))])[0]
    answered = ask(engine, [request(100, Sampling(0.0, 1.0, 4))])[0]
    asyncio.run(engine.close())
    assert isinstance(refused, EngineError)
    assert "out of memory even with a single row" in str(refused)
    assert isinstance(answered, Generation)


BAD_TOKEN = """
import asyncio, sys
from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.transformers_engine import TransformersEngine
from spar_core.records import Message

async def main():
    engine = TransformersEngine(sys.argv[1], device="cuda")
    texts = ["w9 w10", "w125 w9", "w11 w12"]  # the embedding has no row for w125
    asked = [GenerationRequest((Message("user", text),), Sampling(0.0, 1.0, 4), 0) for text in texts]
    found = await asyncio.wait_for(
        asyncio.gather(*(engine.generate(one) for one in asked), return_exceptions=True), 90
    )
    print("ANSWERS", [type(one).__name__ for one in found], flush=True)

asyncio.run(main())
"""


def test_an_assertion_on_the_device_hangs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: the device is lost to it afterwards."""
    write_model(tmp_path)
    monkeypatch.setattr(tiny_models, "VOCABULARY", 130)
    write_tokenizer(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", BAD_TOKEN, str(tmp_path)], capture_output=True, text=True, timeout=150, cwd=ROOT
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS")]
    assert lines, done.stderr[-3000:]
    # CUDA tells late, so all three may be lost; each has an answer or an error.
    assert "EngineError" in lines[0]
    assert lines[0].count("EngineError") + lines[0].count("Generation") == 3


def test_a_cancelled_request_gives_its_rows_back(wide_model: Path) -> None:
    engine = TransformersEngine(wide_model, device="cuda")

    async def run() -> float:
        unwanted = asyncio.ensure_future(engine.generate(request(64, Sampling(1.0, 1.0, 60000), n=64)))
        await asyncio.sleep(2.0)
        unwanted.cancel()
        started = time.monotonic()
        await engine.generate(request(8, Sampling(1.0, 1.0, 4)))
        return time.monotonic() - started

    waited = asyncio.run(asyncio.wait_for(run(), 120))
    assert len(engine._workers[0].batch) == 0
    asyncio.run(engine.close())
    assert waited < 30.0


def test_closing_gives_the_memory_back(wide_model: Path) -> None:
    torch.cuda.empty_cache()
    before, free_before = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[0]
    for _ in range(2):
        engine = TransformersEngine(wide_model, device="cuda")
        ask(engine, [request(500, Sampling(1.0, 1.0, 8), seed=seed, n=4) for seed in range(32)])
        assert torch.cuda.memory_allocated() > before + 64 * MIB
        asyncio.run(engine.close())
    assert torch.cuda.memory_allocated() - before < 4 * MIB
    # Kernels and workspaces that were loaded in between stay with the process.
    assert free_before - torch.cuda.mem_get_info()[0] < 512 * MIB


OWNER = """
import asyncio, sys, time
from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.transformers_engine import TransformersEngine
from spar_core.records import Message
engine = TransformersEngine(sys.argv[1], device="cuda")
text = " ".join("w9" for _ in range(2000))
asked = GenerationRequest((Message("user", text),), Sampling(1.0, 1.0, 8), 0, 128)
asyncio.run(engine.generate(asked))
print("ready", flush=True)
time.sleep(300)
"""


def test_sigkill_of_an_owner_leaves_no_memory_taken(wide_model: Path) -> None:
    free = torch.cuda.mem_get_info()[0]
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(wide_model)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        assert free - torch.cuda.mem_get_info()[0] > 1024 * MIB
    finally:
        owner.kill()
        owner.wait()
    wait_until(lambda: free - torch.cuda.mem_get_info()[0] < 256 * MIB)


# A server for the guard, in the place of vLLM: it and a worker process hold memory of the GPU.
HOLDER = """
import subprocess, sys, time, torch
if len(sys.argv) == 1:
    worker = subprocess.Popen([sys.executable, __file__, "worker"])
held = torch.zeros(1024 * 2**20, dtype=torch.uint8, device="cuda")
open(__file__ + (".worker" if len(sys.argv) > 1 else ".server"), "w").close()
time.sleep(300)
"""
GUARDED = """
import json, os, subprocess, sys, time
from spar_core.processes import process_mark
task = {"command": [sys.executable, sys.argv[1]], "environment": dict(os.environ), "folder": "/",
        "owner": process_mark(os.getpid()), "patience_s": 5.0}
guard = subprocess.Popen([sys.executable, "-m", "spar_core.engines.server_guard", sys.argv[2]],
                         stdin=subprocess.PIPE, start_new_session=True)
guard.stdin.write(json.dumps(task).encode())
guard.stdin.close()
time.sleep(300)
"""


def test_sigkill_of_an_owner_ends_its_server_on_the_gpu(tmp_path: Path) -> None:
    script, record = tmp_path / "holder.py", tmp_path / "server.json"
    script.write_text(HOLDER)
    torch.cuda.init()
    free = torch.cuda.mem_get_info()[0]
    owner = subprocess.Popen(
        [sys.executable, "-c", GUARDED, str(script), str(record)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
    )
    try:
        wait_until(lambda: Path(f"{script}.server").exists() and Path(f"{script}.worker").exists(), 120.0)
        assert free - torch.cuda.mem_get_info()[0] > 2000 * MIB
        wait_until(lambda: record.exists() and len(json.loads(record.read_text())["processes"]) == 2)
        processes = json.loads(record.read_text())["processes"]
        assert all(mark_runs(mark) for mark in processes)
        assert process_mark(owner.pid) not in processes
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    wait_until(lambda: not any(mark_runs(mark) for mark in processes), 20.0)
    wait_until(lambda: free - torch.cuda.mem_get_info()[0] < 256 * MIB)
    assert not record.exists()


def test_the_drivers_tool_tells_the_truth() -> None:
    gpus = visible_gpus()
    if not gpus:
        pytest.skip("nvidia-smi is not here")
    assert len(gpus) == torch.cuda.device_count()
    free, total = torch.cuda.mem_get_info(0)
    assert gpus[0].total == pytest.approx(total, rel=0.05)
    assert gpus[0].free == pytest.approx(free, abs=2048 * MIB)


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
