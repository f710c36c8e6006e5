"""vLLM servers of one model on the machines of a Ray cluster: started together, watched, replaced, stopped.

Each server is a child of an actor, which has its cores and GPUs from a bundle of one placement group. When an actor
dies, with its server or its machine, the others go on and a new one takes its place. Actors end with the process that
made them, and their servers with them (see `server_guard`).
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spar_core.config.scale import RayConfig
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.opening import BY_HAND, Opening
from spar_core.engines.vllm_server import VllmServer
from spar_core.errors import EngineError

_LOG = logging.getLogger(__name__)
_LOOK_S = 1.0
_ANSWER_S = 60.0  # more than a server takes to end politely
_CALLS = 8  # of one actor at once: one waits for the server's end, the others ask how it fares
_SPARING = {"env_vars": {"RAY_kill_child_processes_on_worker_exit": "0"}}
"""Ray kills the children of an actor that ends: the guard, so that the server would stay behind."""
MAX_RESTARTS = 3
"""How often each of the servers is replaced."""


class ServerActor:
    """One vLLM server, on the machine of the actor."""

    def __init__(self, config: VllmEngineConfig, model: str, logs: Path | None, template: str | None) -> None:
        from ray.util import get_node_ip_address

        self._server = VllmServer(config, model, Opening(logs=logs, host=get_node_ip_address()), template)

    def base_url(self) -> str:
        """Its address, as the other machines reach it."""
        return self._server.base_url

    def log_when_ended(self) -> str:
        """How its log ends; returns when the server has ended."""
        self._server.wait()
        return self._server.log_end()

    def is_healthy(self) -> bool:
        """Whether the server says so."""
        return self._server.is_healthy()

    def is_writing(self) -> bool:
        """Whether it is at work on somebody's request."""
        return self._server.is_writing()

    def stop(self) -> None:
        """End the server."""
        self._server.stop()


class _Replica:
    """The actor of a bundle; `url` is empty until its server answers."""

    def __init__(self, actor: Any, restarts: int) -> None:
        self.actor = actor
        self.end = actor.log_when_ended.remote()
        self.url = ""
        self.restarts = restarts


class RayReplicas:
    """The servers of one model. This process has joined the cluster.

    Args:
        config: how to start each.
        model: folder of the model, the same on all machines.
        cluster: how many, and how long to wait for room.
        opening: where logs go, when to give up.
        template: chat template to use instead of the folder's own.

    Raises:
        EngineError: the cluster lacks the GPUs and cores in time, or a server does not start.
    """

    def __init__(
        self,
        config: VllmEngineConfig,
        model: str,
        cluster: RayConfig,
        opening: Opening = BY_HAND,
        template: str | None = None,
    ) -> None:
        import ray

        self._ray: Any = ray
        # Each is told its own port, and where Python is wherever its actor stands.
        own = {"python": str(Path(config.python).expanduser().absolute()), "port": None}
        self._config = config.model_copy(update=own)
        self._model, self._template, self._opening = model, template, opening
        self._moved: Callable[[Sequence[str]], None] = lambda _urls: None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._replicas: dict[int, _Replica] = {}
        has_gpus = bool(self._ray.cluster_resources().get("GPU"))
        self._bundle = {"CPU": 1.0, **({"GPU": float(config.tensor_parallel)} if has_gpus else {})}
        self._group = self._reserve(cluster)
        try:
            self._replicas = {index: self._started(index, 0) for index in range(cluster.replicas)}
            for replica in self._replicas.values():
                replica.url = self._url(replica)
        except BaseException:
            self.stop()
            raise

    @property
    def urls(self) -> list[str]:
        """Addresses of the servers that answer."""
        with self._lock:
            return [replica.url for replica in self._replicas.values() if replica.url]

    @property
    def has_hope(self) -> bool:
        """Whether a server lives, or is being started."""
        with self._lock:
            return bool(self._replicas) and not self._stopped.is_set()

    def watch(self, moved: Callable[[Sequence[str]], None]) -> None:
        """Replace servers that end, from now on; `moved` is told the addresses whenever they are others."""
        self._moved = moved
        threading.Thread(target=self._watch, name="Ray replicas", daemon=True).start()

    def is_any(self, what: str) -> bool:
        """Whether any of the servers `is_healthy` or `is_writing`."""
        return any(self._ask(what))

    def end_sick(self) -> bool:
        """End the servers that live and yet cannot answer; whether there were any."""
        with self._lock:
            replicas = [replica for replica in self._replicas.values() if replica.url]
        sick = [replica for replica in replicas if not self._answer(replica.actor.is_healthy.remote())]
        for replica in sick:
            self._ray.kill(replica.actor)
        return bool(sick)

    def stop(self) -> None:
        """End all servers and give their GPUs back. Idempotent."""
        from ray.util.placement_group import remove_placement_group

        self._stopped.set()
        if not self._ray.is_initialized():
            return  # the cluster has been left: its actors have ended
        self._ask("stop")
        with self._lock:
            leaving, self._replicas = self._replicas, {}
        for replica in leaving.values():
            self._ray.kill(replica.actor)
        remove_placement_group(self._group)

    def _ask(self, what: str) -> list[bool]:
        with self._lock:
            asked = [getattr(replica.actor, what).remote() for replica in self._replicas.values() if replica.url]
        return [self._answer(answer) for answer in asked]

    def _answer(self, reference: Any) -> bool:
        try:
            return bool(self._ray.get(reference, timeout=_ANSWER_S))
        except self._ray.exceptions.RayError:
            return False

    def _reserve(self, cluster: RayConfig) -> Any:
        """A placement group with a bundle per server."""
        from ray.util.placement_group import placement_group, remove_placement_group

        group = placement_group([self._bundle] * cluster.replicas, strategy="SPREAD")
        deadline = time.monotonic() + cluster.start_timeout_s
        while not group.wait(_LOOK_S):
            late = time.monotonic() > deadline
            if late or self._is_abandoned():
                remove_placement_group(group)
                raise EngineError(self._no_room(cluster) if late else _INTERRUPTED)
        return group

    def _no_room(self, cluster: RayConfig) -> str:
        wanted = " and ".join(f"{count:g} {kind}" for kind, count in self._bundle.items())
        there = {kind: f"{self._ray.cluster_resources().get(kind, 0):g} {kind}" for kind in self._bundle}
        return (
            f"the Ray cluster had no room for {cluster.replicas} servers with {wanted} each within "
            f"{cluster.start_timeout_s:.0f} s (it has {' and '.join(there.values())}): add machines, or lower "
            "scale.ray.replicas or engine.tensor_parallel"
        )

    def _started(self, index: int, restarts: int) -> _Replica:
        """A new actor in the bundle of this number; its server starts in the background."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        logs = None if self._opening.logs is None else self._opening.logs / f"replica-{index}"
        actor = self._ray.remote(ServerActor).options(
            num_cpus=self._bundle["CPU"],
            num_gpus=self._bundle.get("GPU", 0),
            max_concurrency=_CALLS,
            runtime_env=_SPARING,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=index),
        )
        return _Replica(actor.remote(self._config, self._model, logs, self._template), restarts)

    def _url(self, replica: _Replica) -> str:
        """The address of a server that was just started, when it is healthy.

        Raises:
            EngineError: it did not start, or nobody wants it any more.
        """
        asked = replica.actor.base_url.remote()
        while not self._ray.wait([asked], timeout=_LOOK_S)[0]:
            if self._is_abandoned():
                raise EngineError(_INTERRUPTED)
        try:
            return str(self._ray.get(asked))
        except self._ray.exceptions.RayError as error:
            raise EngineError(f"a vLLM server did not start on the Ray cluster: {_told(error)}") from error

    def _is_abandoned(self) -> bool:
        return self._stopped.is_set() or (self._opening.abandoned is not None and self._opening.abandoned.is_set())

    def _watch(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                watched = {replica.end: index for index, replica in self._replicas.items() if replica.url}
            try:
                ended = self._ray.wait(list(watched), timeout=_LOOK_S)[0] if watched else []
            except Exception:  # noqa: BLE001 - the cluster was left meanwhile
                return
            for reference in ended:
                if not self._stopped.is_set():
                    self._lose(watched[reference], self._reason(reference))
            if not watched:
                self._stopped.wait(_LOOK_S)

    def _reason(self, reference: Any) -> str:
        try:
            return f"its log ends:\n{self._ray.get(reference)}"
        except self._ray.exceptions.RayError as error:
            return _told(error)

    def _lose(self, index: int, reason: str) -> None:
        """Forget a server that has ended; another takes its place where it has not ended too often."""
        with self._lock:
            if self._stopped.is_set():
                return
            old = self._replicas.pop(index)
            again = old.restarts < MAX_RESTARTS
            if again:
                self._replicas[index] = new = self._started(index, old.restarts + 1)
        self._ray.kill(old.actor)
        what = f"is started again ({old.restarts + 1} of at most {MAX_RESTARTS} times)" if again else "is given up"
        _LOG.warning("vLLM server %d on the Ray cluster has ended and %s: %s", index, what, reason)
        self._moved(self.urls)
        if again:  # in a thread of its own: others may end while it starts
            threading.Thread(target=self._await, args=(index, new), daemon=True).start()

    def _await(self, index: int, replica: _Replica) -> None:
        try:
            url = self._url(replica)
        except EngineError as error:
            if not self._stopped.is_set():
                self._lose(index, str(error))
            return
        with self._lock:
            replica.url = url
        self._moved(self.urls)


_INTERRUPTED = "interrupted while the vLLM servers started; run the same command again to resume"


def _told(error: BaseException) -> str:
    """What went wrong in an actor, without Ray's frame around it."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {cause}"
