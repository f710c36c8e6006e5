"""Flow and task runs that Prefect would show as going on for ever: those whose process died (kill -9, power), and
those that nobody ended after they were cancelled. Runs are told apart by the random id of their home."""

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.states import Cancelled, Crashed

from spar_core.own_version import own_version
from storage.home import Home

_GOING = [StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED]
_UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, *_GOING]
_ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
_STARTING = timedelta(minutes=15)  # a worker needs no longer from taking a run to starting it
_SETTLE_SECONDS = 15.0
_QUIET_LOOKS = 4  # looks without an open task run before the server is taken to have heard everything
_CRASHED = "the process ended without reporting; run again to resume"
_CANCELLED = "cancelled; run again to resume"


def home_tag(home: Home) -> str:
    """The tag of every flow and task run of a home."""
    return f"home:{home.identity}"


def mark_crashed(home: Home, spared: Collection[UUID] = ()) -> int:
    """Mark this home's unfinished flow and task runs as crashed, those that were being cancelled as cancelled.

    Call while holding the home, when none but the `spared` can be alive. Returns the number of flow runs.
    """
    with get_client(sync_client=True) as client:
        dead = [run for run in _unfinished(client, home) if run.id not in spared and not _may_yet_start(run)]
        for run in dead:
            client.set_flow_run_state(run.id, _ending(run.state_type), force=True)
        _end_task_runs(client, home)
        return len(dead)


def mark_cancelled(home: Home, spared: Collection[UUID] = ()) -> None:
    """Mark this home's unfinished flow runs as cancelled: the command that ran them was interrupted."""
    with get_client(sync_client=True) as client:
        for run in _unfinished(client, home):
            if run.id not in spared and not _may_yet_start(run):
                client.set_flow_run_state(run.id, Cancelled(message=_CANCELLED), force=True)


def being_cancelled(home: Home) -> list[FlowRun]:
    """Flow runs of this home that somebody asked to be cancelled."""
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=_flow_runs(home, [StateType.CANCELLING]))


def settle(home: Home, patience_s: float = _SETTLE_SECONDS) -> None:
    """Wait until the server has recorded the end of every task run (they arrive as events, a little late)."""
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + patience_s
        quiet = 0
        while time.monotonic() < deadline:
            _end_task_runs(client, home)  # what a dead process said last may have arrived by now
            quiet = 0 if _open_task_runs(client, _flow_runs(home)) else quiet + 1
            if quiet == _QUIET_LOOKS:
                return
            time.sleep(0.2)
        for task_run in _open_task_runs(client, _flow_runs(home, _ENDED)):  # its last event was lost
            client.set_task_run_state(task_run.id, Crashed(message=_CRASHED), force=True)


def _unfinished(client: SyncPrefectClient, home: Home) -> list[FlowRun]:
    return _pages(lambda offset: client.read_flow_runs(flow_run_filter=_flow_runs(home, _UNFINISHED), offset=offset))


def _may_yet_start(run: FlowRun) -> bool:
    """Whether a worker may have it in hand: a retry that waits for its turn is not dead."""
    if run.deployment_id is None or run.state_type not in (StateType.SCHEDULED, StateType.PENDING):
        return False
    if run.state_type == StateType.SCHEDULED or run.state is None or run.state.timestamp is None:
        return True
    return datetime.now(UTC) - run.state.timestamp < _STARTING


def _ending(state: StateType | None) -> State[Any]:
    return Cancelled(message=_CANCELLED) if state == StateType.CANCELLING else Crashed(message=_CRASHED)


def _end_task_runs(client: SyncPrefectClient, home: Home) -> None:
    for state, ending in ((StateType.CRASHED, Crashed), (StateType.CANCELLED, Cancelled)):
        for task_run in _open_task_runs(client, _flow_runs(home, [state])):
            message = _CRASHED if ending is Crashed else _CANCELLED
            client.set_task_run_state(task_run.id, ending(message=message), force=True)


def _open_task_runs(client: SyncPrefectClient, flow_runs: FlowRunFilter) -> list[TaskRun]:
    unfinished = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED)))
    return _pages(
        lambda offset: client.read_task_runs(flow_run_filter=flow_runs, task_run_filter=unfinished, offset=offset)
    )


def _pages(read: Callable[[int], list[Any]]) -> list[Any]:
    found: list[Any] = []
    while page := read(len(found)):
        found += page
    return found


def _flow_runs(home: Home, states: list[StateType] | None = None) -> FlowRunFilter:
    return FlowRunFilter(
        tags=FlowRunFilterTags(all_=[home_tag(home)]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)) if states else None,
    )


def version_tag() -> str:
    """The tag of the version that runs."""
    return f"version:{own_version()}"
