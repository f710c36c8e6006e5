"""Runs that died without a word (kill -9): told to Prefect, which would show them as running for ever."""

import asyncio
import time
from typing import Any

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.states import Crashed

from storage.home import Home

_UNFINISHED = [StateType.RUNNING, StateType.PENDING]
_ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
_SETTLE_SECONDS = 15.0
_QUIET_LOOKS = 4  # looks without an open task run before the server is taken to have heard everything


def mark_crashed(home: Home) -> int:
    """Mark this home's unfinished flow and task runs as crashed; call while holding it, when none can be alive.

    Returns the number of flow runs.
    """
    return asyncio.run(_mark(home))


def settle(home: Home) -> None:
    """Wait until the server has recorded the end of every task run (they arrive as events, a little late)."""
    asyncio.run(_settled(home))


async def _mark(home: Home) -> int:
    async with get_client() as client:
        dead = await client.read_flow_runs(flow_run_filter=_flow_runs(home, _UNFINISHED))
        for run in dead:
            await client.set_flow_run_state(run.id, _crashed(), force=True)
        await _mark_task_runs(client, home)
        return len(dead)


async def _settled(home: Home) -> None:
    async with get_client() as client:
        deadline = time.monotonic() + _SETTLE_SECONDS
        quiet = 0
        while time.monotonic() < deadline:
            await _mark_task_runs(client, home)  # what a dead process said last may have arrived by now
            quiet = 0 if await _open_task_runs(client, _flow_runs(home)) else quiet + 1
            if quiet == _QUIET_LOOKS:
                return
            await asyncio.sleep(0.2)
        for task_run in await _open_task_runs(client, _flow_runs(home, _ENDED)):  # its last event was lost
            await client.set_task_run_state(task_run.id, _crashed(), force=True)


async def _mark_task_runs(client: PrefectClient, home: Home) -> None:
    for task_run in await _open_task_runs(client, _flow_runs(home, [StateType.CRASHED])):
        await client.set_task_run_state(task_run.id, _crashed(), force=True)


async def _open_task_runs(client: PrefectClient, flow_runs: FlowRunFilter) -> list[TaskRun]:
    unfinished = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED)))
    found: list[TaskRun] = []
    while page := await client.read_task_runs(flow_run_filter=flow_runs, task_run_filter=unfinished, offset=len(found)):
        found += page
    return found


def _flow_runs(home: Home, states: list[StateType] | None = None) -> FlowRunFilter:
    return FlowRunFilter(
        tags=FlowRunFilterTags(all_=[f"home:{home.root}"]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)) if states else None,
    )


def _crashed() -> State[Any]:
    return Crashed(message="the process ended without reporting; run again to resume")
