import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spar_core.engines.base import Generation, GenerationRequest, Sampling
from spar_core.engines.transformers_engine import TransformersEngine
from spar_core.records import Message

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


def answers(folder: Path, sampling: Sampling, n: int, **options) -> list[Generation]:
    async def run() -> list[Generation]:
        engine = TransformersEngine(folder, **options)
        texts = [" ".join(f"w{6 + place * seed % 110}" for place in range(2 + seed)) for seed in range(1, 17)]
        asked = [GenerationRequest((Message("user", text),), sampling, 3, n) for text in texts]
        try:
            return await asyncio.gather(*(engine.generate(one) for one in asked))
        finally:
            await engine.close()

    return asyncio.run(run())


@pytest.mark.parametrize("architecture", ["llama", "mistral", "glm4"])
def test_greedy_answers_agree_with_the_cpu(architecture: str, model_folder: Callable[[str], Path]) -> None:
    folder, greedy = model_folder(architecture), Sampling(0.0, 1.0, 16)
    on_gpu = answers(folder, greedy, 1, device="cuda", dtype="float32")
    on_cpu = answers(folder, greedy, 1, device="cpu", threads=1)
    # Sums in another order may tip a near-tie; most answers must agree whole.
    assert sum(one == other for one, other in zip(on_gpu, on_cpu, strict=True)) >= 13


def test_bfloat16_sampling_gives_every_sample(model_folder: Callable[[str], Path]) -> None:
    sampled = answers(model_folder("llama"), Sampling(1.0, 0.9, 16), 4, device="cuda", max_batch_rows=10)
    assert [len(generation.completions) for generation in sampled] == [4] * 16
    assert len({done.text for generation in sampled for done in generation.completions}) > 32
