"""The vLLM servers of one model on this machine; one that dies is started again while the others go on."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.opening import BY_HAND, Opening
from spar_core.engines.vllm_layout import Berth, berths
from spar_core.engines.vllm_server import VllmServer
from spar_core.errors import EngineError

_LOG = logging.getLogger(__name__)
MAX_REPLACEMENTS = 3
"""How often one server of a fleet is started again; a model is closed, and the count with it, before trainings."""


class VllmFleet:
    """The running servers of one model. The constructor returns once all of them are healthy.

    A server that ends is started again in its place, so that its address stays. With the last one that lives the fleet
    has ended, for good: whoever holds it opens another.

    Args:
        config: how to start the servers, and how many.
        model: folder or hub id.
        opening: their neighbours on the GPUs, where logs and records go, when to give up.
        template: chat template to use instead of the folder's own.

    Raises:
        EngineError: a server cannot be started; those that were are stopped.
    """

    def __init__(
        self, config: VllmEngineConfig, model: str, opening: Opening = BY_HAND, template: str | None = None
    ) -> None:
        self._config = config
        self._model = model
        self._opening = opening
        self._template = template
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._listeners: set[Callable[[], None]] = set()
        self._looked_at: set[str] = set()
        self._moved: Callable[[str, bool], None] = lambda _url, _is_open: None
        self._berths = berths(config, Path(model), opening)
        self._living: dict[Berth, VllmServer] = {}
        self._died: VllmServer | None = None
        self._keepers: list[threading.Thread] = []
        try:
            with ThreadPoolExecutor(len(self._berths)) as starting:
                list(starting.map(lambda berth: self._start(berth, opening), self._berths))
        except BaseException:
            self.stop()
            raise
        for berth, server in list(self._living.items()):
            self._keepers.append(threading.Thread(target=self._keep, args=(berth, server), daemon=True))
            self._keepers[-1].start()

    @property
    def servers(self) -> list[VllmServer]:
        """Those that live."""
        with self._lock:
            return [self._living[berth] for berth in self._berths if berth in self._living]

    def on_move(self, tell: Callable[[str, bool], None]) -> None:
        """Have `tell` called, in any thread, with the address of a server that goes (false) or comes back (true)."""
        self._moved = tell

    def is_running(self) -> bool:
        """Whether a server lives."""
        return not self._over.is_set() and any(server.is_running() for server in self.servers)

    def is_healthy(self) -> bool:
        """Whether a server lives and says that it can answer."""
        return not self._over.is_set() and any(server.is_healthy() for server in self.servers)

    def is_writing(self, url: str) -> bool:
        """Whether the server at an address is at work on somebody's request; may take a minute to say no."""
        return any(server.is_writing() for server in self.servers if server.base_url == url)

    def state(self) -> str:
        """How it stands with the servers, for messages: where their logs are, and how that of a dead one ends."""
        if self._died is not None and not self.is_running():
            return f"The vLLM server has died; its log, {self._died.log}, ends:\n{self._died.log_end()}"
        return "The vLLM server runs; its log is " + ", ".join(str(server.log) for server in self.servers)

    def look_at(self, url: str) -> None:
        """See, in a thread of its own, whether a server that failed can still answer; one that cannot is ended.

        Not where it is the only one: then its holder opens another.
        """
        with self._lock:
            if url in self._looked_at or len(self._living) < 2:
                return
            self._looked_at.add(url)
        threading.Thread(target=self._look_at, args=(url,), daemon=True).start()

    @contextlib.contextmanager
    def told_of_its_end(self, listener: Callable[[], None]) -> Iterator[None]:
        """Within the block, call `listener` when the last server ends, for whatever reason; at once if it has ended."""
        with self._lock:
            self._listeners.add(listener)
        try:
            if not self.is_running():
                listener()
            yield
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def stop(self) -> None:
        """End all servers; waits until they are gone. Idempotent."""
        self._over.set()
        with ThreadPoolExecutor(len(self._berths)) as stopping:
            list(stopping.map(VllmServer.stop, self.servers))
        for keeper in self._keepers:  # one that was starting a server ends it
            keeper.join()

    def _start(self, berth: Berth, opening: Opening) -> VllmServer:
        server = VllmServer(self._config, self._model, opening, self._template, berth)
        with self._lock:
            if not self._over.is_set():
                self._living[berth] = server
                return server
        server.stop(at_once=True)
        raise EngineError("the model is not wanted any more")

    def _look_at(self, url: str) -> None:
        try:
            for server in self.servers:
                if server.base_url == url and server.has_lost_its_engine():
                    server.stop(at_once=True)
        finally:
            with self._lock:
                self._looked_at.discard(url)

    def _keep(self, berth: Berth, server: VllmServer | None) -> None:
        """Watch the server of one berth, and start it again as long as there is a fleet that it belongs to."""
        starts = 0
        while server is not None:
            server.wait()
            if self._is_last(berth, server):
                return
            server.stop()  # what is left of it may hold its port and the GPU's memory
            died, server = server, None
            while server is None and starts < MAX_REPLACEMENTS and not self._over.is_set():
                starts += 1
                server = self._replacement(berth, died, starts)
        if not self._over.is_set():
            _LOG.warning("port %d is given up after %d starts; the other servers go on", berth.port, MAX_REPLACEMENTS)

    def _is_last(self, berth: Berth, died: VllmServer) -> bool:
        """Take a server that has ended out; whether the fleet has ended with it, or did before."""
        with self._lock:
            del self._living[berth]
            was_over, self._died = self._over.is_set(), died
            if not self._living:
                self._over.set()
            listeners = list(self._listeners)
        if was_over:
            return True
        if self._over.is_set():
            for listener in listeners:
                listener()
            return True
        self._moved(died.base_url, False)
        return False

    def _replacement(self, berth: Berth, died: VllmServer, number: int) -> VllmServer | None:
        """A new server in the place of one that died; None where it does not start."""
        _LOG.warning(
            "the vLLM server %s has died; its log, %s, ends:\n%s\nIt is started again (%d of at most %d times)",
            *(died.base_url, died.log, died.log_end(), number, MAX_REPLACEMENTS),
        )
        try:
            server = self._start(berth, self._opening._replace(abandoned=self._over))
        except EngineError as error:
            if not self._over.is_set():
                _LOG.warning("%s", error)
            return None
        self._moved(server.base_url, True)
        return server
