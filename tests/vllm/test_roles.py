"""Real vLLM servers of two roles side by side: one for the actor, two for the refiner."""

import asyncio
from pathlib import Path

from spar_core.config.loading import build_config
from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.vllm_engine import VllmEngine
from spar_core.hashing import model_digest
from spar_core.records import Message, ModelRole
from spar_core.starter import base_model_dir
from spar_core.starter.world import generate_prompts
from tasks.engines import EnginePool, ModelRef
from tests.vllm.vllm_environment import PYTHON, needs_vllm

pytestmark = needs_vllm(1800)


def test_each_role_has_its_own_number_of_servers_and_keeps_them(tmp_path: Path) -> None:
    served = {"kind": "vllm", "python": str(PYTHON), "dtype": "float32", "cpu_cache_gib": 1}
    served |= {"extra_args": ["--enforce-eager"], "roles": {"refiner": {"replicas": 2}}}
    config = build_config({"engine": served, "orchestration": {"placement": "side_by_side"}})
    model = ModelRef(model_digest(base_model_dir()), str(base_model_dir()))
    pool = EnginePool(logs=tmp_path / "logs", records=tmp_path / "servers")
    prompts = [prompt.text for prompt in generate_prompts(24, 3, "dev")]

    async def answered(role: ModelRole) -> list[str]:
        engine = pool.engine(config.engine_of(role), model, "stage")
        requests = [GenerationRequest((Message("user", text),), Sampling(0.0, 1.0, 24), 0) for text in prompts]
        found = await asyncio.gather(*map(engine.generate, requests))
        return [each.completions[0].text for each in found]

    def fleets() -> list[list[int | None]]:
        engines = [loaded.engine for loaded in pool._open]
        assert all(isinstance(engine, VllmEngine) for engine in engines)
        return sorted(
            ([server.pid for server in engine.fleet.servers] for engine in engines if isinstance(engine, VllmEngine)),
            key=len,
        )

    try:
        pool.keep_seats(2, "stage")
        by_actor, by_refiner = asyncio.run(answered("actor")), asyncio.run(answered("refiner"))
        assert all(by_actor)
        assert len(by_refiner) == len(prompts)
        there = fleets()
        assert [len(pids) for pids in there] == [1, 2]
        assert len(asyncio.run(answered("actor"))) == len(prompts)
        assert fleets() == there  # nobody was started anew
    finally:
        pool.end()
    assert list((tmp_path / "servers").glob("*.json")) == []
