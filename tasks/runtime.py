"""What the tasks of one process share per home: the store, the ledger, the engines, the listener."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, Self

from spar_core.config.scale import RayConfig, ScaleConfig
from spar_core.engines.journaled import SharedAnswers
from spar_core.engines.server_guard import end_orphans
from spar_core.errors import NothingAnsweredError, StorageError
from spar_core.secrets import hide_in_logs
from storage.artifacts import ArtifactRef, ArtifactStore
from storage.home import Home
from storage.journal import Journal, discard_journals
from storage.ledger import Ledger
from tasks.calls import StageCall
from tasks.engines import EnginePool
from tasks.spending import Spending
from tasks.tracking import Tracking

if TYPE_CHECKING:
    from tasks.ahead import Ahead
    from tasks.cluster import RayCluster

_LOG = logging.getLogger(__name__)


class Reporter(Protocol):
    """Listens to stages, for progress in a terminal."""

    def announced(self, text: str) -> None:
        """Something that is no stage begins or ended, such as one run of several."""

    def stage_started(self, call: StageCall, parts: int) -> None:
        """A stage begins."""

    def stage_advanced(self, call: StageCall, done: int, parts: int) -> None:
        """`done` of `parts` shards are finished."""

    def stage_finished(self, call: StageCall, artifact: ArtifactRef, cached: bool, seconds: float) -> None:
        """A stage ended well."""

    def stage_failed(self, call: StageCall, error: BaseException) -> None:
        """A stage ended with an error."""

    def training_progress(self, call: StageCall, step: int, metrics: dict[str, float]) -> None:
        """A training logged metrics."""


class SilentReporter:
    """Listens to nothing."""

    def announced(self, text: str) -> None:
        """Ignored."""

    def stage_started(self, call: StageCall, parts: int) -> None:
        """Ignored."""

    def stage_advanced(self, call: StageCall, done: int, parts: int) -> None:
        """Ignored."""

    def stage_finished(self, call: StageCall, artifact: ArtifactRef, cached: bool, seconds: float) -> None:
        """Ignored."""

    def stage_failed(self, call: StageCall, error: BaseException) -> None:
        """Ignored."""

    def training_progress(self, call: StageCall, step: int, metrics: dict[str, float]) -> None:
        """Ignored."""


class Runtime:
    """Per-process state of one home; tasks find it by the home's path, so any task runner can run them."""

    _by_home: dict[str, "Runtime"] = {}  # noqa: RUF012 - the registry is meant to be shared
    _registry_lock = threading.Lock()

    def __init__(self, home: Home) -> None:
        self.home = home
        self.store = ArtifactStore(home)
        self.ledger = Ledger(home)
        self.engines = EnginePool(logs=home.logs, records=home.servers)
        self.tracking = Tracking(home)
        self.reporter: Reporter = SilentReporter()
        self.finished: dict[tuple[str, int | None, str], ArtifactRef] = {}
        """Stages this process has finished while it holds the home, by run, iteration and key."""
        self.interrupted = threading.Event()
        """Set for good when the process is to end: trainings look at it."""
        self.answered_ahead: dict[str, SharedAnswers] = {}
        """What stages are answered with that was asked before they began, by their keys."""
        self.asking_ahead: list[Ahead] = []
        """Stages that are asked ahead in this process, until they are committed or given up."""
        self._spendings: dict[str, Spending] = {}
        self.open_runs: set[str] = set()
        """Runs whose outermost flow is going on in this process."""
        self.attended_by: Literal["command", "flow"] | None = None
        """Who looks after the flows of this home in this process: the command line, or the outermost flow itself."""
        self._cluster: RayCluster | None = None
        self._joining = threading.Lock()
        self._holders = 0
        self._held = ExitStack()
        self._holding = threading.Lock()

    @classmethod
    def of(cls, home: str) -> Self:
        """The runtime of a home in this process."""
        with cls._registry_lock:
            runtime = cls._by_home.get(home)
            if runtime is None:
                runtime = cls._by_home[home] = cls(Home(home))
            return runtime  # type: ignore[return-value]

    @classmethod
    def interrupt_all(cls) -> None:
        """End the engines and trainings of every home in this process; their shards fail and resume another time."""
        for runtime in list(cls._by_home.values()):
            runtime.interrupt()

    def interrupt(self) -> None:
        """End this home's engines and trainings in this process; twice does no harm. Takes locks: not in a handler."""
        self.interrupted.set()
        self.engines.interrupt()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the home for writing. Flows of this process may nest and overlap: the last to leave frees it.

        Servers that an earlier holder left behind are ended first.

        Raises:
            StorageError: another process holds it.
        """
        hide_in_logs()
        with self._holding:
            if self._holders == 0:
                with ExitStack() as taking:  # let go again where the orphans cannot be ended, or Ctrl-C ends that
                    taking.enter_context(self.home.lock())
                    self.engines.renew()
                    for server in end_orphans(self.home.servers):
                        _LOG.warning("ended the server %s, which an earlier run had left behind", server)
                    self._held = taking.pop_all()
            self._holders += 1
        try:
            yield
        finally:
            with self._holding:
                self._holders -= 1
                if self._holders == 0:
                    self.finished.clear()
                    self._spendings.clear()
                    with self._held, ExitStack() as ending:
                        ending.callback(self._leave_cluster)
                        self.engines.end()

    def spread(self, scale: ScaleConfig) -> None:
        """From now on compute and serve where a configuration says.

        Raises:
            ConfigError: as `cluster`.
        """
        wanted = scale.ray if scale.runner == "ray" else None
        if wanted is not None:
            self.cluster(wanted)
        self.engines.cluster = wanted if wanted is not None and wanted.replicas else None

    def cluster(self, config: RayConfig) -> "RayCluster":
        """The Ray cluster of a configuration, joined now if need be; it is left when the home is let go.

        Raises:
            ConfigError: it does not answer, or one of its machines cannot do the work.
        """
        from tasks.cluster import RayCluster  # it imports Prefect, which reads its settings then

        with self._joining:
            if self._cluster is None or self._cluster.config != config:
                self._leave_cluster()
                self._cluster = RayCluster(config, self.home)
            return self._cluster

    def _leave_cluster(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.leave()

    def give_up_ahead(self, error: BaseException) -> None:
        """Ask nothing more ahead, since a stage failed; what was answered is kept, unless all was refused."""
        for ahead in tuple(self.asking_ahead):
            ahead.give_up(wait=isinstance(error, Exception), keep=not isinstance(error, NothingAnsweredError))

    def forget_spending(self) -> None:
        """Read anew what runs have spent: another process counts it."""
        with self._holding:
            self._spendings.clear()

    def spending(self, run_id: str) -> Spending:
        """The count of what a run spends, one for all its stages in this process."""
        with self._holding:
            if run_id not in self._spendings:
                self._spendings[run_id] = Spending(self.ledger, run_id)
            return self._spendings[run_id]

    def journal(self, call: StageCall, shard: int) -> Journal:
        """The journal of one shard of one stage; that of another worker where this one has none."""
        file = self.home.journal_file(call.stage, call.key, shard)
        if self.home.remote is not None:
            self.home.remote.bring_journal(file)
        return Journal(file)

    @contextmanager
    def journal_kept(self, call: StageCall, shard: int) -> Iterator[None]:
        """Where the work on a shard is broken off, leave what was answered where other workers find it."""
        try:
            yield
        except BaseException:
            self.keep_journal(call, shard)
            raise

    def keep_journal(self, call: StageCall, shard: int) -> None:
        """Leave a journal where other workers find it; where that is not possible it is told."""
        if self.home.remote is None:
            return
        try:
            self.home.remote.keep_journal(self.home.journal_file(call.stage, call.key, shard))
        except StorageError as error:
            _LOG.warning("what was answered stays in %s alone: %s", self.home.root, error)

    def has_journal(self, call: StageCall, shard: int) -> bool:
        """Whether this worker or another has left a journal."""
        file = self.home.journal_file(call.stage, call.key, shard)
        if self.home.remote is not None:
            self.home.remote.bring_journal(file)
        return file.exists()

    def discard_journals(self, call: StageCall) -> None:
        """Forget what was answered for a stage: it is committed, nobody will ask for it again."""
        folder = self.home.journal_file(call.stage, call.key, 0).parent
        if self.home.remote is not None:
            self.home.remote.discard_journals(folder)
        discard_journals(folder)
