"""How a training is spread over processes, devices and machines; changes no result beyond rounding."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from spar_core.config.base import FrozenConfig
from spar_core.secrets import Environment

_ADDRESS = re.compile(r"(?P<host>[^\s:/]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_HIGHEST_PORT = 65535


class LaunchConfig(FrozenConfig):
    """How the training subprocess is started."""

    processes: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Processes on each machine (one per accelerator); above 1 through torch.distributed.run. null: one, but without an
    accelerator one per core, each with one thread, where the model is large enough to gain by it."""
    sharding: Literal["none", "full"] = "none"
    """none: every process holds the whole model, its gradients and its optimiser's state; full: each holds its share of
    all three (FSDP2), so that what one device cannot hold fits on several. With one process in all there is nothing to
    share: `full` then acts only with `offload`."""
    offload: bool = False
    """Weights, gradients and optimiser state stay in CPU memory, the optimiser steps there, and a layer's weights visit
    the device for its turn. Slow; needs `sharding: full`."""
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Machines, each with `processes` of them. The same command is started on all of them, on a shared home: the first
    does the run, the others (SPAR_NODE_RANK or SLURM_NODEID above 0) join its trainings; needs `rendezvous`. With
    `scale.runner: ray` the command is started on one, and actors on the others join."""
    rendezvous: str | None = None
    """HOST:PORT of the first machine, as the others reach it; the port must be free there. Ray finds both by itself."""
    accelerate_config: Path | None = None
    """An `accelerate config` file (DeepSpeed, or FSDP in other ways than `sharding`): training starts through
    `accelerate launch`. It decides processes and sharding; over several machines, give their number as `nodes` too."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads per process; null: OMP_NUM_THREADS, else the cores this process may run on, shared out among them."""
    environment: Environment = Field(default_factory=dict)
    """Extra environment variables of the subprocess; a secret by the name of the variable that holds it:
    {"WANDB_API_KEY": "$WANDB_API_KEY"}."""

    @property
    def per_machine(self) -> int:
        """`processes`, and one where nobody said (an accelerate file decides otherwise)."""
        return self.processes or 1

    @property
    def world(self) -> int:
        """Processes on all machines together (an accelerate file decides otherwise)."""
        return self.per_machine * self.nodes

    @property
    def shards(self) -> bool:
        """Whether weights are shared out over processes, or kept off the device."""
        return self.sharding == "full" and (self.world > 1 or self.offload)

    @property
    def meeting_point(self) -> tuple[str, int] | None:
        """Host and port of `rendezvous`."""
        found = _ADDRESS.fullmatch(self.rendezvous or "")
        return (found["host"], int(found["port"])) if found else None

    @field_validator("rendezvous")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        found = _ADDRESS.fullmatch(value) if value is not None else None
        if value is not None and (found is None or not 0 < int(found["port"]) <= _HIGHEST_PORT):
            raise ValueError("it must be HOST:PORT of the first machine, such as node0:29500")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.accelerate_config is not None and self.per_machine > 1:
            raise ValueError(
                "launch.processes and launch.accelerate_config both decide the number of processes; "
                "put it in the accelerate file and leave launch.processes out"
            )
        if self.accelerate_config is not None and (self.sharding == "full" or self.offload):
            raise ValueError(
                "launch.sharding and launch.accelerate_config both decide how the model is shared out; set "
                "launch.sharding to none and launch.offload to false, or leave the accelerate file out"
            )
        if self.offload and self.sharding == "none":
            raise ValueError("launch.offload needs launch.sharding=full")
        return self
