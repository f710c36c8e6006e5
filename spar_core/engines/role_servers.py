"""What the servers of one role have otherwise than those of the other: how many there are, and on which GPUs.

engine:
  kind: vllm
  roles:
    actor: {gpus: 6}                        # six servers of one GPU each
    refiner: {gpus: 2, tensor_parallel: 2}  # one server over two GPUs
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

ServedRole = Literal["actor", "refiner"]
SERVED_ROLES: tuple[ServedRole, ...] = get_args(ServedRole)
T = TypeVar("T")


class OwnGpus(NamedTuple):
    """The GPUs that one role has to itself, among the visible ones: from `first` up to `end`, as in a slice."""

    first: int | None
    end: int | None

    def of(self, visible: Sequence[T]) -> Sequence[T]:
        """Those of the visible ones."""
        return visible[self.first : self.end]


class RoleServers(BaseModel):
    """The servers of one role; a key that is null is as `engine` says."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    replicas: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] | None = None
    """Servers of the role's model that answer at once."""
    tensor_parallel: int | None = Field(default=None, ge=1, le=64)
    """GPUs over which its model is split."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of a GPU's memory that all servers on it may take together."""
    gpus: int | None = Field(default=None, ge=1, le=64)
    """With `orchestration.placement: side_by_side`: visible GPUs that this role has to itself, the actor the first and
    the refiner the last; a role without has the rest. Null for both: halves. A machine without GPUs ignores it."""

    def settings(self) -> dict[str, Any]:
        """The engine's keys that are set."""
        return self.model_dump(exclude_none=True, exclude={"gpus"})


class ServedRoles(BaseModel):
    """The servers of each role."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    actor: RoleServers = RoleServers()
    """Those of the actor."""
    refiner: RoleServers = RoleServers()
    """Those of the refiner, and of who votes like one."""

    @property
    def divide_gpus(self) -> bool:
        """Whether a role has GPUs to itself."""
        return self.actor.gpus is not None or self.refiner.gpus is not None

    def gpus_of(self, role: ServedRole) -> OwnGpus | None:
        """The GPUs of a role; None where they are not divided."""
        actor, refiner = self.actor.gpus, self.refiner.gpus
        if role == "actor":
            return OwnGpus(None, actor) if actor else OwnGpus(None, -refiner) if refiner else None
        return OwnGpus(-refiner, None) if refiner else OwnGpus(actor, None) if actor else None
