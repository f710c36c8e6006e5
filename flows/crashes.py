"""Runs that died without a word (kill -9): told to Prefect, which would show them as running for ever."""

import asyncio
import time

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
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

from storage.home import Home

_UNFINISHED = [StateType.RUNNING, StateType.PENDING]
_SETTLE_SECONDS = 15.0


def mark_crashed(home: Home) -> int:
    """Mark this home's unfinished flow runs as crashed; call while holding the home, when none can be alive."""
    return asyncio.run(_mark(home))


def settle(home: Home) -> None:
    """Wait until the server has recorded the end of every task run (they arrive as events, a little late)."""
    asyncio.run(_settled(home))


async def _mark(home: Home) -> int:
    async with get_client() as client:
        runs = await client.read_flow_runs(flow_run_filter=_unfinished(home))
        for run in runs:
            await client.set_flow_run_state(
                run.id, Crashed(message="the process ended without reporting; run again to resume"), force=True
            )
        return len(runs)


def _unfinished(home: Home) -> FlowRunFilter:
    return FlowRunFilter(
        tags=FlowRunFilterTags(all_=[f"home:{home.root}"]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED)),
    )


async def _settled(home: Home) -> None:
    async with get_client() as client:
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline and await _open_task_runs(client, home):
            await asyncio.sleep(0.2)


async def _open_task_runs(client: PrefectClient, home: Home) -> int:
    runs = await client.read_task_runs(
        flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[f"home:{home.root}"])),
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED))),
        limit=1,
    )
    return len(runs)
