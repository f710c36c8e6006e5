"""Every stage's machinery, inside a real flow against a real server: cache, shards, retries, splitting, ledger."""

import dataclasses
import shutil
import threading
import time
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterName,
)

from spar_core.errors import DataError, EngineUnavailableError, StorageError
from storage.artifacts import ArtifactRef
from storage.ledger import Ledger
from tasks.engines import ModelRef
from tasks.responses import RESPONSES
from tasks.runtime import Runtime
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage
from tests.tasks import moody_model
from tests.tasks.stage_bench import PROMPTS, Bench

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home")


def test_a_hit_is_believed_only_while_the_artifact_is_whole(bench):
    cut = bench.run(bench.split)
    first = bench.run(bench.double, {"prompts": cut})
    assert sorted(bench.worked) == [("cut", 0), ("double", 0), ("double", 1), ("double", 2)]  # 7 rows: 3 + 3 + 1
    assert [row.text for row in first.read("prompts")] == ["prompt 0", "prompt 2", "prompt 4", "prompt 6"]

    bench.worked.clear()
    again = bench.run(bench.double, {"prompts": cut})
    assert (again, bench.worked) == (first, [])

    (bench.parts(first)[1] / "prompts.parquet").unlink()
    mended = bench.run(bench.double, {"prompts": cut})
    assert (mended, bench.worked) == (first, [("double", 1)])  # the damaged shard alone


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_model_is_made_again_with_all_that_belongs_to_it(bench, tmp_path, harm):
    """The parts of a training are whole whatever became of its weights."""
    made = tmp_path / "made"
    made.mkdir()

    def train(context: ShardContext) -> ShardRows:
        bench.worked.append(("train", context.shard))
        (made / "model.safetensors").write_bytes(b"w" * 64)
        (made / "config.json").write_text("{}")
        context.store.adopt_model(context.call.stage, context.call.key, made)
        return ShardRows(0, 0)

    training = Stage("train", version=1, work=train)
    first = bench.run(training)
    weights = first.model_folder / "model.safetensors"
    weights.unlink()  # a name of its own: the source shares the bytes
    if harm == "cut":
        weights.write_bytes(b"w" * 32)

    mended = bench.run(training)

    assert bench.worked == [("train", 0), ("train", 0)]
    assert mended.model_digest == first.model_digest
    assert weights.read_bytes() == b"w" * 64


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_splitting_stage_makes_every_part_anew_when_one_is_lost(bench, lost):
    first = bench.run(bench.split)
    assert len(bench.parts(first)) == 3
    shutil.rmtree(bench.parts(first)[lost])

    mended = bench.run(bench.split)

    assert bench.worked == [("cut", 0), ("cut", 0)]
    assert mended == first
    assert [row.text for row in mended.read("prompts")] == [row.text for row in PROMPTS]


def test_a_splitting_stage_that_failed_is_cut_anew_with_the_shard_size_of_now(bench):
    def disk_trouble(shard: int) -> None:
        raise StorageError("no space left")

    bench.shard_size, bench.retries, bench.before_shard = 2, 0, disk_trouble
    with pytest.raises(StorageError, match="no space"):
        bench.run(bench.split)
    left_behind = bench.home.artifacts / "stage=cut"
    assert list(left_behind.glob("*/part-*"))  # parts 1, 2 and 3 of the try that failed
    assert not list(left_behind.glob("*/manifest.json"))

    bench.shard_size, bench.before_shard = 4, lambda shard: None
    cut = bench.run(bench.split)

    assert [len(list(cut.read("prompts", part=part))) for part in (0, 1)] == [4, 3]
    assert len(bench.parts(cut)) == 2


def test_the_shard_size_changes_no_key_and_no_content(bench, tmp_path):
    other = Bench(tmp_path / "other")
    other.shard_size = 100
    ours, theirs = bench.run(bench.split), other.run(other.split)
    assert (ours.stage_key, ours.content_digest) == (theirs.stage_key, theirs.content_digest)

    parallel = bench.run(bench.double, {"prompts": ours}, workers=3)
    alone = other.run(other.double, {"prompts": theirs}, workers=1)
    assert len(bench.parts(parallel)) == 3
    assert len(other.parts(alone)) == 1
    assert (parallel.stage_key, parallel.content_digest) == (alone.stage_key, alone.content_digest)

    bench.worked.clear()
    bench.shard_size = 5
    assert bench.run(bench.split) == ours
    assert bench.worked == []


def test_as_many_shards_run_at_once_as_configured(bench):
    bench.shard_size, bench.parallel = 1, 2
    cut = bench.run(bench.split)
    going: set[int] = set()
    both = threading.Barrier(2, timeout=60)  # never passed unless two shards run at once
    most: list[int] = []

    def watched(shard: int) -> None:
        going.add(shard)
        most.append(len(going))
        if shard < 2:
            both.wait()
        going.discard(shard)

    bench.before_shard = watched
    bench.run(bench.double, {"prompts": cut}, workers=7)
    assert max(most) == 2


def test_a_stage_asked_for_twice_in_a_run_is_entered_once(bench):
    @flow(name="twice")
    def twice() -> list[ArtifactRef]:
        with Runtime.of(str(bench.home.root)).held():
            call = bench.call(bench.split)
            return [bench.split.run(call), bench.split.run(call)]

    first, second = twice()
    assert first == second
    (entry,) = Ledger(bench.home).stages("run")
    assert (entry.state, entry.cached) == ("completed", False)


def test_a_failed_shard_is_tried_again_alone(bench):
    failures = [EngineUnavailableError("gone for a moment")]

    def once(shard: int) -> None:
        if shard == 1 and failures:
            raise failures.pop()

    cut = bench.run(bench.split)
    bench.before_shard = once
    doubled = bench.run(bench.double, {"prompts": cut})

    assert sorted(bench.worked) == [("cut", 0), ("double", 0), ("double", 1), ("double", 1), ("double", 2)]
    assert doubled.manifest().drops == {"odd": 3}


def test_a_mistake_in_the_data_is_not_tried_again(bench):
    def wrong(shard: int) -> None:
        if shard == 2:
            raise DataError("line 7 is broken")

    cut = bench.run(bench.split)
    bench.before_shard = wrong
    with pytest.raises(DataError, match="line 7 is broken"):
        bench.run(bench.double, {"prompts": cut})

    assert bench.worked.count(("double", 2)) == 1
    entry = {stage.stage: stage for stage in Ledger(bench.home).stages("run")}["double"]
    assert (entry.state, entry.detail) == ("failed", "DataError: line 7 is broken")

    bench.before_shard = lambda shard: None
    bench.worked.clear()
    bench.run(bench.double, {"prompts": cut})
    assert bench.worked == [("double", 2)]  # the others had finished
    entry = {stage.stage: stage for stage in Ledger(bench.home).stages("run")}["double"]
    assert (entry.state, entry.cached, entry.rows_in, entry.rows_out, entry.rows_dropped) == (
        "completed",
        False,
        7,
        4,
        3,
    )


def test_what_was_answered_before_a_failure_is_not_asked_again(bench):
    cut = bench.run(bench.split)
    sampling = {"per_prompt": 1, "max_tokens": 8}
    moody_model.asked.clear()
    moody_model.goes_down_after[:] = [2]
    bench.retries = 0
    call = bench.call(RESPONSES, {"prompts": cut}, {"actor": ModelRef("weights", "nowhere")})
    call = dataclasses.replace(call, config={"responses": sampling})
    with pytest.raises(EngineUnavailableError, match="went down"):
        bench.run_call(RESPONSES, call, workers=1)
    answered = set(moody_model.asked[:2])

    moody_model.asked.clear()
    moody_model.goes_down_after.clear()
    responses = bench.run_call(RESPONSES, call, workers=1)

    assert answered.isdisjoint(moody_model.asked)
    assert sorted(row.text for row in responses.read("responses")) == [f"answer to prompt {n}" for n in range(7)]
    assert not list(bench.home.journal.rglob("*.sqlite*"))  # committed: nothing is left to replay


def test_an_input_cut_anew_is_never_mixed_with_parts_of_the_old_cut(bench):
    """12 rows in, 14 committed: so it was when half-done shards were taken for those of the new cut."""
    cut = bench.run(bench.split)

    def trouble(shard: int) -> None:
        if shard == 2:
            raise DataError("line 7 is broken")

    bench.before_shard = trouble
    with pytest.raises(DataError):
        bench.run(bench.double, {"prompts": cut})  # shards 0 and 1, of three rows each, are finished

    bench.before_shard = lambda shard: None
    shutil.rmtree(cut.folder)
    bench.shard_size = 4
    recut = bench.run(bench.split)
    assert recut == cut
    bench.worked.clear()
    doubled = bench.run(bench.double, {"prompts": recut})

    assert sorted(bench.worked) == [("double", 0), ("double", 1)]
    assert [row.text for row in doubled.read("prompts")] == ["prompt 0", "prompt 2", "prompt 4", "prompt 6"]
    assert (doubled.manifest().rows_in, doubled.manifest().drops) == (7, {"odd": 3})


def test_a_finished_stage_is_made_again_when_its_input_was_cut_anew(bench):
    cut = bench.run(bench.split)
    first = bench.run(bench.double, {"prompts": cut})
    shutil.rmtree(cut.folder)
    bench.shard_size = 4
    bench.worked.clear()
    again = bench.run(bench.double, {"prompts": bench.run(bench.split)})
    assert bench.worked == [("cut", 0), *bench.worked[1:]]
    assert sorted(bench.worked[1:]) == [("double", 0), ("double", 1)]
    assert (again.content_digest, len(bench.parts(first))) == (first.content_digest, 2)


def test_a_stage_that_loses_a_row_of_its_input_is_not_believed(bench):
    def forgetful(context: ShardContext) -> ShardRows:
        rows = list(context.read("prompts", "prompts"))[1:]
        context.part.write("prompts", rows)
        return ShardRows(len(rows), len(rows))  # agrees with itself

    cut = bench.run(bench.split)
    bench.retries = 0
    stage = Stage("forget", version=1, work=forgetful, sharded_by="prompts", rows_of=("prompts", "prompts"))
    with pytest.raises(StorageError, match="2 rows were worked on, but its input 'prompts' holds 3"):
        bench.run(stage, {"prompts": cut})
    assert Runtime.of(str(bench.home.root)).store.get("forget", bench.call(stage, {"prompts": cut}).key) is None


def test_inputs_of_different_cuts_are_not_read_together(bench, tmp_path):
    other = Bench(tmp_path / "other")
    other.shard_size = 2
    ours, theirs = bench.run(bench.split), other.run(other.split)

    def joined(context: ShardContext) -> ShardRows:
        rows = [*context.read("prompts", "prompts"), *context.read("answers", "prompts")]
        context.part.write("prompts", rows)
        return ShardRows(len(rows), len(rows))

    bench.retries = 0
    join = Stage("join", version=1, work=joined, sharded_by="prompts")
    with pytest.raises(StorageError, match="'answers' was cut into other parts"):
        bench.run(join, {"prompts": ours, "answers": theirs})


def test_a_wholly_cached_stage_starts_one_task_that_shows_it(bench):
    cut = bench.run(bench.split)
    bench.run(bench.double, {"prompts": cut})
    names = f"again-{bench.home.root.parent.name}"

    @flow(name=names, flow_run_name=names)
    def again() -> None:
        with Runtime.of(str(bench.home.root)).held():
            bench.double.run(bench.call(bench.double, {"prompts": cut}))

    again()
    assert task_states(names) == {"double-1": "Cached"}
    assert not list(bench.home.root.rglob("results/*"))  # nothing is kept in a cache of Prefect's


def task_states(flow_run_name: str) -> dict[str, str]:
    """State names of the task runs of a flow run, as soon as the server has them from events."""
    chosen = FlowRunFilter(name=FlowRunFilterName(any_=[flow_run_name]))
    with get_client(sync_client=True) as client:
        for _ in range(100):
            found = {run.name: run.state_name for run in client.read_task_runs(flow_run_filter=chosen)}
            if found and set(found.values()) <= {"Completed", "Cached", "Failed"}:
                return found
            time.sleep(0.2)
    return found
