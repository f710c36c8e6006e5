"""Which stages are asked ahead, about the finished shards of the stage before them (`tasks.ahead`)."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.ahead import Ahead, Rows, asked
from tasks.calls import StageCall
from tasks.engines import holds_memory
from tasks.negatives import negatives_of
from tasks.runners import ShardRunner
from tasks.runtime import Runtime
from tasks.stages import Stage

_SIDE_BY_SIDE = 2  # models that `orchestration.placement: side_by_side` keeps loaded
_log = logging.getLogger(__name__)


def kept_apart(call: StageCall, before: StageCall, choice: str | None = None) -> str | None:
    """Why a stage begins only when the one before it is whole; None where it is asked ahead.

    `choice`: the setting that chooses among all prompts between the two, if one does.
    """
    orchestration = call.surroundings.orchestration
    if not orchestration.overlap:
        return "orchestration.overlap is off"
    if choice is not None:
        return f"{choice} chooses among all prompts"
    if ShardRunner(call).away or ShardRunner(before).away:
        return "its shards are computed by the workers of a cluster"
    held = [model for model in asked(before) if holds_memory(model[0])]
    further = [model for model in asked(call) if holds_memory(model[0]) and model not in held]
    if further and (orchestration.placement != "side_by_side" or len(held) + len(further) > _SIDE_BY_SIDE):
        return "it asks a model that would take the place of the one loaded"
    return None


def judged_ahead(stage: Stage, call: StageCall, before: StageCall) -> Ahead | None:
    """Judgements of the answers of finished shards; None where they wait for all of them (`kept_apart`).

    `call` lacks the answers, which `before` makes.
    """

    def rows(shard: int) -> dict[str, Sequence[Any]]:
        return {"responses": list(_made(before, shard, "responses"))}

    return _ahead(stage, call, before, rows, kept_apart(call, before))


def searched_ahead(
    stage: Stage, call: StageCall, before: StageCall, choosing: Mapping[str, Any], choice: str | None
) -> Ahead | None:
    """Trees from the answers that finished shards judged; None where they wait for all of them (`kept_apart`).

    `call` lacks the roots, which follow from what `before` makes; `choosing` is what the stage that chooses them reads.
    """

    def rows(shard: int) -> dict[str, Sequence[Any]]:
        judged = _made(before, shard, "judgements")
        return {"roots": negatives_of(before.inputs, judged, shard, before.seed, choosing).roots}

    return _ahead(stage, call, before, rows, kept_apart(call, before, choice))


def _ahead(stage: Stage, call: StageCall, before: StageCall, rows: Rows, apart: str | None) -> Ahead | None:
    if apart is not None:
        _log.debug("%s waits for the whole of %s: %s", call.title, before.title, apart)
        return None
    return Ahead(stage.work, call, before, rows)


def _made(call: StageCall, shard: int, table: str) -> Iterator[Any]:
    return Runtime.of(call.home).store.rows_of_part(call.stage, call.key, shard, table)
