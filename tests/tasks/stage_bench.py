"""A home, and stages that count their work: what the tests of stages run in a real flow against a real server."""

from collections.abc import Callable
from pathlib import Path

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from spar_core.config.run import OrchestrationConfig
from spar_core.engines.configuration import ScriptedEngineConfig
from spar_core.records import Drop, Prompt
from storage.artifacts import ArtifactRef
from storage.home import Home
from tasks.calls import StageCall, Surroundings
from tasks.engines import ModelRef
from tasks.runtime import Runtime
from tasks.shards import ShardContext, ShardRows, write_in_parts
from tasks.stages import Stage

PROMPTS = [Prompt.create(f"prompt {number}") for number in range(7)]


class Bench:
    """A home, and stages that count their work."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.shard_size = 3
        self.retries = 1
        self.parallel = 2
        self.before_shard: Callable[[int], None] = lambda shard: None
        self.worked: list[tuple[str, int]] = []
        self.split = Stage("cut", version=1, work=self._cut, splits=True)
        self.double = Stage("double", version=1, work=self._double, sharded_by="prompts")

    def run(self, stage: Stage, inputs: dict[str, ArtifactRef] | None = None, *, workers: int = 2) -> ArtifactRef:
        return self.run_call(stage, self.call(stage, inputs), workers=workers)

    def run_call(self, stage: Stage, call: StageCall, *, workers: int = 2) -> ArtifactRef:
        @flow(name="stages", task_runner=ThreadPoolTaskRunner(max_workers=workers))
        def stages() -> ArtifactRef:
            with Runtime.of(call.home).held():
                return stage.run(call)

        found: ArtifactRef = stages()
        return found

    def call(
        self, stage: Stage, inputs: dict[str, ArtifactRef] | None = None, models: dict[str, ModelRef] | None = None
    ) -> StageCall:
        orchestration = OrchestrationConfig(
            shard_size=self.shard_size, shard_retries=self.retries, parallel_shards=self.parallel
        )
        script = ScriptedEngineConfig(script="tests.tasks.moody_model:answer")
        surroundings = Surroundings(orchestration)
        return StageCall(
            stage.name,
            stage.version,
            str(self.home.root),
            "run",
            iteration=1,
            seed=0,
            inputs=inputs or {},
            models=models or {},
            engines={"actor": script},
            surroundings=surroundings,
        )

    def parts(self, artifact: ArtifactRef) -> list[Path]:
        return sorted(artifact.folder.glob("part-*"))

    def _cut(self, context: ShardContext) -> ShardRows:
        self.worked.append(("cut", context.shard))
        write_in_parts(context, "prompts", PROMPTS)
        self.before_shard(context.shard)
        return ShardRows(len(PROMPTS), len(PROMPTS))

    def _double(self, context: ShardContext) -> ShardRows:
        """Even prompts pass, odd ones are dropped."""
        self.worked.append(("double", context.shard))
        self.before_shard(context.shard)
        rows = list(context.read("prompts", "prompts"))
        kept = [row for row in rows if int(row.text.split()[-1]) % 2 == 0]
        context.part.write("prompts", kept)
        context.part.write("drops", [Drop("double", row.prompt_id, "odd") for row in rows if row not in kept])
        return ShardRows(len(rows), len(kept))
