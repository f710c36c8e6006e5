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
_SETTLE_SECONDS = 15.0


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
        crashed: State[Any] = Crashed(message="the process ended without reporting; run again to resume")
        tasks: list[TaskRun] = []
        while page := await _open_task_runs(client, home, offset=len(tasks)):
            tasks += page
        for task in tasks:
            await client.set_task_run_state(task.id, crashed, force=True)
        flows = await client.read_flow_runs(flow_run_filter=_flow_runs(home, _UNFINISHED))
        for run in flows:
            await client.set_flow_run_state(run.id, crashed, force=True)
        return len(flows)


def _flow_runs(home: Home, states: list[StateType] | None = None) -> FlowRunFilter:
    return FlowRunFilter(
        tags=FlowRunFilterTags(all_=[f"home:{home.root}"]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)) if states else None,
    )


async def _settled(home: Home) -> None:
    async with get_client() as client:
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline and await _open_task_runs(client, home):
            await asyncio.sleep(0.2)


async def _open_task_runs(client: PrefectClient, home: Home, offset: int = 0) -> list[TaskRun]:
    return await client.read_task_runs(
        offset=offset,
        flow_run_filter=_flow_runs(home),
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED))),
    )
