"""Two real vLLM servers of one model: one is killed, the other goes on, and it comes back."""

import asyncio
import os
import signal
import time
from pathlib import Path

from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.opening import Opening
from spar_core.engines.vllm_engine import VllmEngine
from spar_core.records import Message
from spar_core.starter import base_model_dir
from spar_core.starter.world import generate_prompts
from tests.vllm.vllm_environment import PYTHON, needs_vllm

pytestmark = needs_vllm(1800)


def test_a_killed_replica_is_replaced_while_the_other_answers(tmp_path: Path) -> None:
    config = VllmEngineConfig(
        **{"python": str(PYTHON), "dtype": "float32", "cpu_cache_gib": 1, "replicas": 2, "max_concurrency": 8},
        extra_args=("--enforce-eager",),
    )
    engine = VllmEngine(config, str(base_model_dir()), Opening(logs=tmp_path, records=tmp_path))
    prompts = [prompt.text for prompt in generate_prompts(80, 3, "dev")]
    answers: dict[str, str] = {}

    async def one(text: str) -> None:
        found = await engine.generate(GenerationRequest((Message("user", text),), Sampling(0.0, 1.0, 48), 0))
        answers[text] = found.completions[0].text

    async def ask(then_kill: int | None) -> dict[str, str]:
        answers.clear()
        asked = asyncio.gather(*map(one, prompts))
        if then_kill is not None:
            while len(answers) < 5:
                await asyncio.sleep(0.05)
            os.killpg(then_kill, signal.SIGKILL)
            assert len(answers) < len(prompts)
        await asked
        return dict(answers)

    try:
        first, second = engine.fleet.servers
        assert first.pid is not None
        killed = asyncio.run(ask(first.pid))
        assert killed.keys() == set(prompts)
        deadline = time.monotonic() + 600
        # That a server is gone is noticed when its group is reaped, which may be after its requests went elsewhere.
        while len(set(engine.fleet.servers) - {first}) < 2 and time.monotonic() < deadline:
            time.sleep(0.5)
        assert [server.port for server in engine.fleet.servers] == [first.port, second.port]
        assert engine.fleet.servers[0] is not first
        assert all(server.is_healthy() for server in engine.fleet.servers)
        assert asyncio.run(ask(None)).keys() == killed.keys()
        assert not any("Traceback" in server.log_end() for server in engine.fleet.servers)
    finally:
        asyncio.run(engine.close())
    assert list(tmp_path.glob("*.json")) == []
