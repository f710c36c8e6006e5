"""A real vLLM server, started and stopped by the engine. Run with `pytest -m vllm`."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from spar_core.engines.base import Generation, GenerationRequest, Sampling
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.transformers_engine import TransformersEngine
from spar_core.engines.vllm_engine import VllmEngine
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from spar_core.ports import port_is_free
from spar_core.records import Message
from tests.vllm.vllm_environment import PYTHON, needs_vllm

CONTEXT = 128

pytestmark = needs_vllm(1200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Llama with a head of its own (see the trap of tied weights) and heads of 32."""
    import torch

    path = tmp_path_factory.mktemp("served")
    words = [
        "<pad>",
        "<end>",
        "<user>",
        "<assistant>",
        "<system>",
        "<unk>",
        *(f"w{number}" for number in range(6, 512)),
    ]
    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>", "<system>"],
        chat_template="{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}<assistant> ",
    )
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def engine(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmEngine]:
    config = VllmEngineConfig(
        python=str(PYTHON),
        dtype="float32",
        cpu_cache_gib=1,
        max_model_len=CONTEXT,
        extra_args=("--enforce-eager",),
        start_timeout_s=900,
        log_folder=tmp_path_factory.mktemp("logs"),
        max_retries=1,
    )
    served = VllmEngine(config, str(folder))
    (server,) = served.fleet.servers
    yield served
    asyncio.run(served.close())
    assert port_is_free(server.port)


def request(text: str, sampling: Sampling, seed: int = 5, n: int = 1) -> GenerationRequest:
    return GenerationRequest((Message("system", "w9"), Message("user", text)), sampling, seed, n)


def ask(engine: VllmEngine | TransformersEngine, *asked: GenerationRequest) -> list[Generation]:
    async def run() -> list[Generation]:
        return await asyncio.gather(*(engine.generate(one) for one in asked))

    return asyncio.run(run())


def test_greedy_answers_equal_those_of_the_in_process_engine(engine: VllmEngine, folder: Path) -> None:
    asked = [
        request(" ".join(f"w{10 + seed * place % 400}" for place in range(1, 20)), Sampling(0.0, 1.0, 24))
        for seed in range(1, 9)
    ]
    local = TransformersEngine(folder, device="cpu", threads=1)
    expected = ask(local, *asked)
    asyncio.run(local.close())
    served = ask(engine, *asked)
    assert engine.model_digest == local.model_digest
    assert [answer.prompt_tokens for answer in served] == [23] * 8
    # Two implementations may part where two tokens are all but equally likely; most answers must agree whole.
    pairs = zip(expected, served, strict=True)
    same = [mine.completions[0].text == theirs.completions[0].text for mine, theirs in pairs]
    assert sum(same) >= 6


def test_samples_follow_seed_and_index(engine: VllmEngine) -> None:
    asked = request("w20 w30", Sampling(1.0, 0.95, 12), seed=5, n=4)
    first, again, shifted = ask(engine, asked, asked, request("w20 w30", Sampling(1.0, 0.95, 12), seed=6, n=3))
    texts = [completion.text for completion in first.completions]
    assert len(set(texts)) == 4
    assert [completion.text for completion in again.completions] == texts
    # Sample i is drawn with seed + i.
    assert [completion.text for completion in shifted.completions] == texts[1:]
    assert sum(completion.completion_tokens for completion in first.completions) == 4 * 12


def test_a_prompt_that_is_too_long_is_rejected_by_that_reason(engine: VllmEngine) -> None:
    with pytest.raises(RequestRejectedError) as caught:
        ask(engine, request(" ".join(["w20"] * CONTEXT), Sampling(max_tokens=4)))
    assert caught.value.reason == "prompt_too_long"


def test_a_limit_beyond_the_context_is_clamped(engine: VllmEngine) -> None:
    first, second = ask(engine, request("w20", Sampling(0.0, 1.0, 4000), n=2))[0].completions
    assert 12 < first.completion_tokens < CONTEXT
    assert first == second


def test_a_server_that_cannot_start_quotes_its_log(folder: Path, tmp_path: Path) -> None:
    config = VllmEngineConfig(python=str(PYTHON), extra_args=("--no-such-option",), log_folder=tmp_path)
    with pytest.raises(EngineError, match="no-such-option"):
        VllmEngine(config, str(folder))


def test_a_killed_server_is_reported_with_its_log(engine: VllmEngine) -> None:
    # Last in the file: the server does not come back.
    port = engine.fleet.servers[0].port
    assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    pid = engine.fleet.servers[0].pid
    assert pid is not None
    os.killpg(pid, 9)
    with pytest.raises(EngineUnavailableError, match=r"has died; its log, .*\.log, ends"):
        ask(engine, request("w20", Sampling(max_tokens=2)))
