"""Shards that begin while the servers bear more, and stages whose servers are several, and die."""

import dataclasses
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from spar_core.config.run import OrchestrationConfig
from spar_core.engines.configuration import EngineConfig, OpenAIEngineConfig, VllmEngineConfig
from spar_core.engines.vllm_engine import VllmEngine
from storage.artifacts import ArtifactRef
from tasks.calls import StageCall
from tasks.engines import ModelRef
from tasks.pacing import Load, Pace
from tasks.responses import RESPONSES
from tasks.runtime import Runtime
from tests.chat_server import chat_server
from tests.spar_core.engines.stand_in_server import model_folder, stand_in
from tests.tasks.stage_bench import PROMPTS, Bench


class Bears:
    """An engine that bears so many requests."""

    def __init__(self, capacity: int, model_digest: str = "weights") -> None:
        self.capacity = capacity
        self.model_digest = model_digest

    async def generate(self, _request: Any) -> Any:
        raise AssertionError

    async def close(self) -> None:
        raise AssertionError


def test_a_load_leaves_room_until_a_quarter_more_is_asked_than_is_borne() -> None:
    load, engine = Load(), Bears(4)
    assert not load.leaves_room()  # nothing is known yet
    asked = [load.asking(engine) for _ in range(6)]
    for one in asked[:4]:
        one.__enter__()
    assert load.leaves_room()
    asked[4].__enter__()
    assert not load.leaves_room()
    engine.capacity = 8  # another replica is back
    assert load.leaves_room()
    with load.asking(Bears(0)):  # the same model, opened again
        assert not load.leaves_room()


def test_shards_begin_one_by_one_while_there_is_room() -> None:
    load = Load()
    auto, fixed = Pace("auto", load), Pace(3, load)
    assert (auto.first(), auto.more(1), auto.more(2)) == (2, 1, 0)
    with load.asking(Bears(100)):
        assert [auto.more(running) for running in (1, 2, 63, 64)] == [1, 1, 1, 0]
        assert [fixed.more(running) for running in (1, 3)] == [2, 0]


def responses_call(bench: Bench, cut: ArtifactRef, engine: EngineConfig, model: ModelRef) -> StageCall:
    call = bench.call(RESPONSES, {"prompts": cut}, {"actor": model})
    surroundings = dataclasses.replace(call.surroundings, orchestration=OrchestrationConfig())
    sampling = {"responses": {"per_prompt": 1, "max_tokens": 8}}
    return dataclasses.replace(call, engines={"actor": engine}, surroundings=surroundings, config=sampling)


@pytest.mark.usefixtures("prefect_server")
def test_further_shards_fill_servers_that_two_would_leave_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.stages.LOOK_S", 0.05)
    all_at_once = threading.Barrier(len(PROMPTS), timeout=60)  # never passed unless all shards ask at once

    def answer(text: str) -> str:
        all_at_once.wait()
        return f"about {text}"

    with chat_server(answer) as server:
        engine = OpenAIEngineConfig(base_urls=(server.url,), model="m", model_digest="weights")
        bench = Bench(tmp_path / "home")
        bench.shard_size = 1
        call = responses_call(bench, bench.run(bench.split), engine, ModelRef("weights", "m"))
        found = bench.run_call(RESPONSES, call, workers=16)
    assert found.rows["responses"] == len(PROMPTS)


def test_a_killed_replica_changes_nothing_in_the_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spar_core.engines.vllm_layout.core_numbers", lambda: [0, 1])
    model = ModelRef("weights", str(model_folder(tmp_path / "model")))
    killed: list[int] = []

    def served(name: str, replicas: int, *, kill: bool) -> ArtifactRef:
        (tmp_path / name).mkdir()
        bench = Bench(tmp_path / name / "home")
        bench.shard_size = 100
        runtime = Runtime.of(str(bench.home.root))
        settings = {"python": stand_in(tmp_path / name), "replicas": replicas, "max_concurrency": 2}
        engine = VllmEngineConfig.model_validate({**settings, "env": {"STAND_IN_MODE": "plodding:0.3"}})
        call = responses_call(bench, bench.split.compute(bench.call(bench.split)), engine, model)
        start = runtime.engines._start

        def started(*arguments: Any) -> Any:
            made = start(*arguments)
            assert isinstance(made, VllmEngine)
            if kill:  # when some requests are answered and some under way
                killed.append(made.fleet.servers[0].pid or 0)
                threading.Timer(0.4, os.killpg, (killed[0], signal.SIGKILL)).start()
            return made

        monkeypatch.setattr(runtime.engines, "_start", started)
        with runtime.held():
            return RESPONSES.compute(call)

    alone, replicated = served("one", 1, kill=False), served("two", 2, kill=True)
    assert replicated.stage_key == alone.stage_key
    assert replicated.content_digest == alone.content_digest
    assert replicated.rows["responses"] == len(PROMPTS)
    assert len(killed) == 1  # the engine itself was not opened again: the other server went on
