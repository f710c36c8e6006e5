"""Where the work of a run is computed: on its own machine, or on those of a Ray cluster. It changes no result."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from spar_core.config.base import FrozenConfig


class RayConfig(FrozenConfig):
    """The Ray cluster; all its machines see the home and the models at the same paths."""

    address: str | None = None
    """HOST:PORT of its head, or `auto` on one of its machines; null: a Ray of this machine alone, started for the
    run."""
    replicas: Annotated[int, Field(ge=0, le=1024)] = 0
    """`engine.kind: vllm`: servers per model, each an actor with `engine.tensor_parallel` GPUs of its own, spread over
    the machines; 0: `engine.replicas` on the machine of the run."""
    start_timeout_s: Annotated[float, Field(gt=0, le=86400)] = 600.0
    """Seconds until the cluster has the GPUs and cores that are asked for."""

    @field_validator("address")
    @classmethod
    def _is_on_the_cluster(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            raise ValueError(
                "it must be HOST:PORT of the head (such as head:6379) or auto; start the command on one of its machines"
            )
        return value


class ScaleConfig(FrozenConfig):
    """What computes stages and where models are served and trained (docs/scaling-out.md)."""

    runner: Literal["threads", "ray"] = "threads"
    """What computes shards. threads: the run's own process. ray: the workers of the cluster, but for shards that ask
    servers, whose requests share a batch; `scale.ray.replicas` and trainings over several `training.launch.nodes` are
    started there too. Needs the extra `ray`."""
    ray: RayConfig = RayConfig()
    """The cluster of `runner: ray`."""

    @model_validator(mode="after")
    def _has_a_use_for_the_cluster(self) -> Self:
        if self.runner != "ray" and self.ray != RayConfig():
            raise ValueError(f"scale.ray is set, but scale.runner is {self.runner}: set scale.runner=ray")
        return self
