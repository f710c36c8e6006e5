"""Where every run is opened and closed: its state in the ledger and in MLflow, its name, tags, end and log in Prefect.

A command holds the home and looks after its flows from outside (`session`); a flow that is run by itself, such as a
deployment's, does so on its own. Either way the same happens here: runs that died are told as such, a request to
cancel ends the work, and what cannot start because the home is in use ends as skipped.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from typing import Any, Literal, NamedTuple

import httpx
from prefect import get_client, tags
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import Abort, PrefectException, TerminationSignal
from prefect.states import Cancelled, Cancelling
from prefect.utilities.urls import url_for

from flows.serving.crashes import being_cancelled, home_tag, mark_cancelled, mark_crashed, settle, version_tag
from flows.showing.spending import gpus_held
from spar_core.config.run_identity import deciding
from spar_core.config.scale import ScaleConfig
from spar_core.errors import ConfigError
from storage.entries import RunState
from storage.home import Home, HomeInUseError
from tasks.logs import logs_in_prefect
from tasks.runtime import Runtime

SKIPPED = "Skipped"
"""Name of the state of a flow run that found its home in use."""
_POLL_S = 2.0
_SETTLE_INTERRUPTED_S = 3.0
_INTERRUPTIONS = (KeyboardInterrupt, TerminationSignal, Abort)
_log = logging.getLogger(__name__)


class RunPlan(NamedTuple):
    """What a flow opens a run for.

    `aside`: it only looks at the run, whose state stays as it is. `tracked`: the run has an MLflow run of its own.
    `whole`: it goes through the run from its start. `becomes`: the state of the run when the flow ends well.
    `check`: raises what can be known to fail, before anything is entered. `ended`: what is done when it has ended well;
    it raises nothing.
    """

    home: Home
    run_id: str
    config: Mapping[str, Any]
    activity: str
    aside: bool = False
    tracked: bool = True
    whole: bool = False
    becomes: Callable[[], RunState] = lambda: "completed"
    check: Callable[[], None] = lambda: None
    ended: Callable[[], None] = lambda: None

    @property
    def title(self) -> str:
        """Name of the outermost flow run."""
        return self.run_id if self.activity == "run" else f"{self.run_id}, {self.activity}"


@contextmanager
def opened_run(plan: RunPlan) -> Iterator[Runtime]:
    """Open a run for what the block does with it, and close it however that ends. Use it inside a flow.

    A run that is open in this process already is left to who opened it.

    Raises:
        HomeInUseError: another process holds the home. A deployment's flow run ends as skipped instead.
        ConfigError: a run that is only to be looked at is not there.
        StorageError: the ledger or MLflow cannot be written.
    """
    runtime = Runtime.of(str(plan.home.root))
    with ExitStack() as stack:
        stack.enter_context(_ended_as_cancelled(runtime))
        if plan.run_id in runtime.open_runs:
            yield runtime
            return
        entitle(plan.title)
        with _skipped_where_in_use(plan.home):
            stack.enter_context(attended(plan.home, "flow"))
        stack.enter_context(tags(*_tag_outermost(plan)))
        _open(runtime, plan)
        stack.enter_context(runtime.spending(plan.run_id).clocked(gpus_held(plan.config)))
        runtime.open_runs.add(plan.run_id)
        try:
            yield runtime
        except BaseException as error:
            _close(runtime, plan, "failed" if isinstance(error, Exception) else "interrupted", _told(error))
            raise
        finally:
            runtime.open_runs.discard(plan.run_id)
        _close(runtime, plan, plan.becomes(), "")
        plan.ended()


@contextmanager
def attended(home: Home, by: Literal["command", "flow"]) -> Iterator[None]:
    """Hold the home and look after the flows of the block; nothing happens where that is done already.

    Raises:
        HomeInUseError: another process holds the home.
    """
    runtime = Runtime.of(str(home.root))
    if runtime.attended_by is not None:
        yield
        return
    outermost = _outermost()
    own = () if outermost is None else (outermost.id,)
    with runtime.held(), tags(home_tag(home), version_tag()), logs_in_prefect():
        runtime.attended_by = by
        _end_dead_runs(runtime)
        mark_crashed(home, own)
        patience: dict[str, float] = {}
        try:
            with _cancel_watched(home, outermost):
                yield
        except BaseException as error:
            if not isinstance(error, Exception):
                patience = {"patience_s": _SETTLE_INTERRUPTED_S}
                with _hiding_nothing():
                    mark_cancelled(home, own)
            raise
        finally:
            runtime.attended_by = None
            with _hiding_nothing():
                settle(home, **patience)


@contextmanager
def _hiding_nothing() -> Iterator[None]:
    """A server that does not answer while a run is tidied up is warned of: it must not hide how the run ended."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        _log.warning("Prefect was not told how every task run ended (%s: %s)", type(error).__name__, error)


def _open(runtime: Runtime, plan: RunPlan) -> None:
    if plan.aside and runtime.ledger.run(plan.run_id) is None:
        raise ConfigError(f"there is no run {plan.run_id} in {plan.home.root}; run self_play first")
    plan.check()
    if "scale" in plan.config:  # an experiment has none: its runs do
        runtime.spread(ScaleConfig.model_validate(plan.config["scale"]))  # what cannot work is told now, not mid-stage
    outermost = _outermost()
    flow_run = None if outermost is None else str(outermost.id)
    config = dict(plan.config)
    run = runtime.ledger.open_run(
        plan.run_id, config, plan.activity, whole=plan.whole, deciding=deciding, aside=plan.aside, flow_run=flow_run
    )
    if plan.tracked:
        tracker = runtime.tracking.tracker
        mlflow_run = tracker.open_run(plan.run_id, None if plan.aside else config, run.state)
        address = None if outermost is None else url_for(outermost)
        if address:
            tracker.tag(mlflow_run, "prefect", address)


def _close(runtime: Runtime, plan: RunPlan, state: RunState, detail: str) -> None:
    run = runtime.ledger.close_run(plan.run_id, state, detail)
    if plan.tracked:
        runtime.tracking.tracker.close_run(plan.run_id, run.state, "completed" if state == "waiting" else state)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if isinstance(error, Exception) else "interrupted"


def _end_dead_runs(runtime: Runtime) -> None:
    dead = runtime.ledger.end_dead_runs()
    if dead and runtime.home.mlflow.is_dir():
        for run in dead:
            runtime.tracking.tracker.close_run(run.run_id, run.state, "interrupted")


def _current() -> FlowRun | None:
    context = FlowRunContext.get()
    return None if context is None else context.flow_run


def _outermost() -> FlowRun | None:
    """The flow run of this flow, if no other flow called it."""
    flow_run = _current()
    return None if flow_run is None or flow_run.parent_task_run_id is not None else flow_run


def entitle(title: str) -> None:
    """Give the outermost flow run a name that says what it does, in place of a random one."""
    outermost = _outermost()
    if outermost is not None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_name(outermost.id, title)


def _tag_outermost(plan: RunPlan) -> list[str]:
    """Tag the outermost flow run, which exists before its home is known, as those below it will be."""
    outermost, run_tag = _outermost(), f"run:{plan.run_id}"
    if outermost is not None:
        wanted = {*outermost.tags, home_tag(plan.home), version_tag(), run_tag}
        with get_client(sync_client=True) as client:
            client.update_flow_run(outermost.id, tags=sorted(wanted))
    return [run_tag]


@contextmanager
def _skipped_where_in_use(home: Home) -> Iterator[None]:
    """End a deployment's flow run as skipped when the block finds the home in use: a night that runs long is no fault.

    Raises:
        Abort: the flow run was ended.
        HomeInUseError: the flow is no deployment's.
    """
    try:
        yield
    except HomeInUseError as error:
        outermost = _outermost()
        if outermost is None or outermost.deployment_id is None:
            raise
        activities = [(run.run_id, run.activity) for run in Runtime.of(str(home.root)).ledger.runs() if run.activity]
        going = [f"{activity.name} of {run_id}" for run_id, activity in activities if activity.state == "running"]
        who = ", ".join(going) or "another run"
        reason = f"{home.root} is in use by {who} (process {error.pid or 'unknown'}); the next one will find it free"
        _log.warning("skipped: %s", reason)
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(outermost.id, Cancelled(name=SKIPPED, message=reason))
        raise Abort(reason) from error


@contextmanager
def _ended_as_cancelled(runtime: Runtime) -> Iterator[None]:
    """End the flow run as cancelled when the block is interrupted, and its work, servers and trainings at once.

    Raises:
        Abort: in place of the interruption where a command looks after the flow: Prefect would enter it as a crash.
    """
    try:
        yield
    except _INTERRUPTIONS as error:
        runtime.interrupt()
        current, commanded = _current(), runtime.attended_by == "command"
        inner = current is not None and current.parent_task_run_id is not None
        if current is not None and (commanded or (inner and not isinstance(error, Abort))):
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(current.id, Cancelled(message="interrupted; run again to resume"), force=True)
        if commanded:
            raise Abort("interrupted") from error
        raise


@contextmanager
def _cancel_watched(home: Home, outermost: FlowRun | None) -> Iterator[None]:
    """Look every few seconds whether somebody asked Prefect to cancel one of the home's flow runs.

    A command is interrupted as by Ctrl-C. A deployment's flow run is ended by its worker; where one of the flows below
    it is cancelled, it is as well.
    """
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(_POLL_S):
            try:
                asked = [run for run in being_cancelled(home) if outermost is None or run.id != outermost.id]
                if not asked:
                    continue
                if outermost is not None and outermost.deployment_id is not None:
                    with get_client(sync_client=True) as client:
                        client.set_flow_run_state(outermost.id, Cancelling(message=f"{asked[0].name} was cancelled"))
                else:
                    _log.warning("%s was cancelled in Prefect", asked[0].name)
                    os.kill(os.getpid(), signal.SIGINT)
                return
            except Exception as error:  # noqa: BLE001 - a server that does not answer now may do so next time
                _log.debug("could not ask Prefect for cancelled flow runs: %s", error)

    watcher = threading.Thread(target=copy_context().run, args=(watch,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stopped.set()
        watcher.join(_POLL_S)
