"""The other machines of a training, on a Ray cluster: an actor on each joins it, and ends with it.

Each runs `torch.distributed.run` as a machine does on which the command itself was started (see `meeting`); Ray only
finds the machines, keeps their GPUs for the training, and says when one is lost.
"""

import logging
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spar_core.errors import TrainingError
from spar_core.ports import free_port
from spar_core.training.commands import environment, processes_here
from spar_core.training.meeting import driving, join_trainings
from spar_core.training.specification import TrainingSpec

_LOG = logging.getLogger(__name__)
_LOOK_S = 1.0
_NODE_ID = "ray.io/node-id"


class JoiningActor:
    """One machine's part of a training."""

    def join(self, folder: Path, node: int) -> None:
        """Join what is met in a folder, as machine `node` of it; returns when it has ended."""
        join_trainings(folder, node, _LOG.info)


class JoinedTraining:
    """A training with the machines that join it. `spec` is what to train on this one."""

    def __init__(self, ray: Any, spec: TrainingSpec, joining: list[Any]) -> None:
        self.spec = spec
        self._ray = ray
        self._joining = joining

    def lost(self) -> str | None:
        """What became of a machine that has left the training before its end."""
        ended = self._ray.wait(self._joining, timeout=0)[0]
        if not ended:
            return None
        try:
            self._ray.get(ended[0])
        except self._ray.exceptions.RayError as error:
            return f"a machine of the Ray cluster was lost ({error}); the training goes on from its last checkpoint"
        return None


@contextmanager
def joined(spec: TrainingSpec, patience_s: float) -> Iterator[JoinedTraining]:
    """Have actors on `launch.nodes` - 1 other machines join a training that the block starts on this one.

    This process has joined the cluster. What the training lacks is filled in: where the machines meet, and the threads
    that every process computes with.

    Args:
        spec: the training, over several machines.
        patience_s: how long to wait for machines that have the GPUs and cores.

    Raises:
        TrainingError: there are too few; or a machine was lost while the block trained.
    """
    import ray
    from ray.util import get_node_ip_address
    from ray.util.placement_group import remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    if spec.meeting_folder is None:
        raise TrainingError(f"launch.nodes is {spec.launch.nodes}: give a meeting_folder where the others find it.")
    folder = spec.meeting_folder / f"ray-{uuid.uuid4().hex[:8]}"
    launch = spec.launch.model_copy(
        update={
            "rendezvous": spec.launch.rendezvous or f"{get_node_ip_address()}:{free_port()}",
            "threads": spec.launch.threads or int(environment(spec)["OMP_NUM_THREADS"]),
        }
    )
    group, share = _reserved(ray, spec, patience_s)
    actors = []
    try:
        with driving(folder):
            for node in range(1, launch.nodes):
                place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=node)
                made: Any = ray.remote(JoiningActor)
                actors.append(
                    made.options(
                        num_cpus=share["CPU"], num_gpus=share.get("GPU", 0), scheduling_strategy=place
                    ).remote()
                )
            joining = [actor.join.remote(folder, node) for node, actor in enumerate(actors, 1)]
            training = JoinedTraining(
                ray, spec.model_copy(update={"launch": launch, "meeting_folder": folder}), joining
            )
            try:
                yield training
            except TrainingError as error:
                reason = training.lost()
                raise (error if reason is None else TrainingError(f"{spec.label}: {reason}")) from error
    finally:
        for actor in actors:
            ray.kill(actor)
        remove_placement_group(group)
        shutil.rmtree(folder, ignore_errors=True)


def _reserved(ray: Any, spec: TrainingSpec, patience_s: float) -> tuple[Any, dict[str, float]]:
    """A bundle on each of as many machines, the first of them this one; and what a bundle holds."""
    from ray.util.placement_group import placement_group, remove_placement_group

    count = float(processes_here(spec.launch))
    share = {"CPU": 1.0, "GPU": count} if ray.cluster_resources().get("GPU") else {"CPU": count}
    here = {_NODE_ID: ray.get_runtime_context().get_node_id()}
    others: list[dict[str, str]] = [{} for _ in range(spec.launch.nodes - 1)]
    group = placement_group(
        [share] * spec.launch.nodes, strategy="STRICT_SPREAD", bundle_label_selector=[here, *others]
    )
    deadline = time.monotonic() + patience_s
    while not group.wait(_LOOK_S):
        if time.monotonic() > deadline:
            remove_placement_group(group)
            wanted = " and ".join(f"{number:g} {kind}" for kind, number in share.items())
            raise TrainingError(
                f"{spec.label}: the Ray cluster had no {spec.launch.nodes} machines with {wanted} free, this one among "
                f"them, within {patience_s:.0f} s: add machines, or lower training.launch.nodes or .processes"
            )
    return group, share
