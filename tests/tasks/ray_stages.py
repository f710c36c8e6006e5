"""Stages that a worker of a cluster can import. They note who worked on which shard, in a folder all of them see."""

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from prefect import flow

from spar_core.config.run import OrchestrationConfig
from spar_core.config.scale import RayConfig, ScaleConfig
from spar_core.engines.base import GenerationRequest
from spar_core.engines.configuration import ScriptedEngineConfig
from spar_core.records import Prompt
from storage.artifacts import ArtifactRef
from storage.home import Home
from tasks.calls import FileRef, StageCall, Surroundings
from tasks.engines import ModelRef
from tasks.runners import THREADS
from tasks.runtime import Runtime
from tasks.shards import ShardContext, ShardRows, write_in_parts
from tasks.stages import Stage

PROMPTS = [Prompt.create(f"prompt {number}") for number in range(6)]
SHARDS = 3


class Worked(NamedTuple):
    """Who began to work on a shard."""

    shard: int
    process: int
    node: str


def worked(notes: Path) -> list[Worked]:
    """What was noted so far, in no order."""
    return [Worked(*json.loads(file.read_text())) for file in notes.glob("*.json")]


def answer(request: GenerationRequest, index: int) -> str:
    return f"answer {index} to {request.messages[-1].content}"


def _cut(context: ShardContext) -> ShardRows:
    write_in_parts(context, "prompts", PROMPTS)
    return ShardRows(len(PROMPTS), len(PROMPTS))


def _together(context: ShardContext) -> ShardRows:
    """Go on when every shard has begun and nobody holds them back."""
    import ray

    notes = Path(context.call.files["notes"].location)
    node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
    note = notes / f"{context.shard}-{os.getpid()}.json"
    note.with_suffix(".partial").write_text(json.dumps([context.shard, os.getpid(), node]))
    note.with_suffix(".partial").rename(note)
    while len({entry.shard for entry in worked(notes)}) < SHARDS or (notes / "hold").exists():
        time.sleep(0.02)
    rows = list(context.read("prompts", "prompts"))
    context.part.write("prompts", rows)
    return ShardRows(len(rows), len(rows))


CUT = Stage("cut", version=1, work=_cut, splits=True)
TOGETHER = Stage("together", version=1, work=_together, sharded_by="prompts")
STAYING = Stage("staying", version=1, work=_together, sharded_by="prompts", stays=True)


class RayBench:
    """A home whose stages run on threads (no address) or on a cluster."""

    def __init__(self, root: Path, address: str | None = None) -> None:
        self.home = Home(root / "home")
        self.notes = root / "notes"
        self.notes.mkdir(parents=True)
        scale = ScaleConfig() if address is None else ScaleConfig(runner="ray", ray=RayConfig(address=address))
        spread = OrchestrationConfig(shard_size=2, parallel_shards=SHARDS)
        self.surroundings = Surroundings(spread, scale=scale)

    def run(self, *stages: Stage, **config: Any) -> ArtifactRef:
        """Stages one after the other on the prompts that the first of them cuts; the artifact of the last."""

        @flow(name="stages", task_runner=THREADS)
        def work() -> ArtifactRef:
            runtime = Runtime.of(str(self.home.root))
            with runtime.held(), runtime.spending("run").clocked():
                inputs: dict[str, ArtifactRef] = {}
                for stage in stages:
                    made = stage.run(self.call(stage, inputs, config))
                    inputs = inputs or {"prompts": made}
                return made

        found: ArtifactRef = work()
        return found

    def call(self, stage: Stage, inputs: dict[str, ArtifactRef], config: dict[str, Any]) -> StageCall:
        asks = stage.name == "responses"
        return StageCall(
            stage.name,
            stage.version,
            str(self.home.root),
            "run",
            iteration=1,
            seed=0,
            inputs=inputs,
            config=config if asks else {},
            models={"actor": ModelRef("digest", "")} if asks else {},
            engines={"actor": ScriptedEngineConfig(script="tests.tasks.ray_stages:answer")},
            files={} if asks else {"notes": FileRef("the same everywhere", str(self.notes))},
            surroundings=self.surroundings,
        )
