"""Stages that are asked ahead: what they ask when, and that nothing else can be told from it afterwards."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from flows.wiring.handovers import Models
from flows.wiring.iteration_data import IterationData
from flows.wiring.overlap import kept_apart
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner
from spar_core.config.loading import load_config
from spar_core.config.run import OrchestrationConfig
from spar_core.config.scale import ScaleConfig
from spar_core.engines.configuration import EngineConfig, OpenAIEngineConfig, ScriptedEngineConfig, VllmEngineConfig
from spar_core.errors import EngineUnavailableError
from storage.artifacts import ArtifactStore
from storage.home import Home
from storage.ledger import Ledger
from tasks.calls import StageCall, Surroundings
from tasks.engines import ModelRef
from tasks.runners import THREADS
from tasks.runtime import Runtime
from tests.flows import held_votes

MODELS = Models(ModelRef("actor", "nowhere"), ModelRef("refiner", "nowhere"))


class Iteration:
    """The data of an iteration in a home of its own: eight prompts in two shards, answered by `held_votes`."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.home = Home(folder / "home")
        prompts = folder / "prompts.jsonl"
        rows = (json.dumps({"prompt": f"Name {number} birds."}) + "\n" for number in range(8))
        prompts.parent.mkdir(exist_ok=True)
        prompts.write_text("".join(rows), encoding="utf-8")
        small = [
            "engine.kind=scripted",
            "engine.script=tests.flows.held_votes:answer",
            "prompts.source=file",
            f"prompts.path={prompts}",
            "prompts.per_iteration=8",
            "method.refiner_data.replay_fraction=0",
            "orchestration.shard_size=4",
            "orchestration.shard_retries=0",
        ]
        self.run = Run(self.home, "run", load_config("smoke", overrides=[*small, *settings]))
        self.spent = 0
        self.flow_run_id: Any = None

    @property
    def runtime(self) -> Runtime:
        return Runtime.of(str(self.home.root))

    def make(self) -> dict[str, tuple[str, str, dict[str, float]]]:
        """Key, content and counts of every stage's artifact."""

        @flow(name="data", task_runner=THREADS)
        def data() -> None:
            from prefect.runtime import flow_run

            self.flow_run_id = flow_run.id
            with self.runtime.held():
                try:
                    IterationData(self.run, StageRunner(self.run)).make(1, MODELS, MODELS)
                finally:
                    self.spent = self.runtime.spending("run").spent.tokens

        data()
        whole, damaged = ArtifactStore(self.home).scan(verify=True)
        assert not damaged
        return {
            entry.ref.stage: (*entry.ref.uri.split("/")[2:], entry.ref.content_digest, entry.manifest.metrics)
            for entry in whole
        }

    def task_runs(self) -> dict[str, str]:
        """State names of the flow's task runs, as soon as the server has them from events."""
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[self.flow_run_id]))
        deadline = time.monotonic() + 60
        with get_client(sync_client=True) as client:
            while True:
                found = {run.name: str(run.state_name) for run in client.read_task_runs(flow_run_filter=chosen)}
                ended = "refiner_data-1" in found and set(found.values()) <= {"Completed", "Cached", "Left"}
                if ended or time.monotonic() > deadline:
                    return found
                time.sleep(0.2)


@pytest.fixture
def apart(tmp_path: Path) -> dict[str, Any]:
    """What one stage after the other makes, and asks."""
    held_votes.begin()
    calm = Iteration(tmp_path / "apart", "orchestration.overlap=false")
    made = calm.make()
    assert not [name for name in calm.task_runs() if "ahead" in name]
    return {"made": made, "asked": sorted(held_votes.asked), "spent": calm.spent}


@pytest.mark.usefixtures("prefect_server")
def test_trees_are_begun_while_other_prompts_are_judged_and_nothing_else_changes(tmp_path, apart):
    overlapped = Iteration(tmp_path / "overlapped")
    held_votes.begin("held")

    assert overlapped.make() == apart["made"]

    assert sorted(held_votes.asked) == apart["asked"]
    assert len(set(held_votes.asked)) == len(held_votes.asked)  # nothing is asked twice, also not what is under way
    assert overlapped.spent == apart["spent"]
    runs = overlapped.task_runs()
    assert runs["trees-ahead-1-shard-0"] == "Completed"
    assert {"trees-1-shard-0", "trees-1", "judgements-1-shard-1", "judgements-1"} <= set(runs)
    assert not list(overlapped.home.journal.rglob("*.sqlite"))
    assert overlapped.runtime.asking_ahead == []


@pytest.mark.usefixtures("prefect_server")
def test_a_stage_that_fails_is_told_as_before_and_what_was_asked_ahead_is_kept(tmp_path, apart):
    broken = Iteration(tmp_path / "broken")
    held_votes.begin("down")
    with pytest.raises(EngineUnavailableError, match="went down"):
        broken.make()
    first = list(held_votes.asked)
    stages = {entry.stage: entry.state for entry in Ledger(broken.home).stages("run")}
    assert stages == {"prompts": "completed", "responses": "completed", "judgements": "failed"}
    assert broken.runtime.asking_ahead == []
    ahead = {asked for asked in first if asked[0] == "refine"}
    assert ahead

    held_votes.begin()
    assert broken.make() == apart["made"]
    assert ahead.isdisjoint(held_votes.asked)
    assert {*first, *held_votes.asked} == {*apart["asked"]}
    assert not list(broken.home.journal.rglob("*.sqlite"))


VLLM, SCRIPTED = VllmEngineConfig(), ScriptedEngineConfig(script="a:b")
SERVED = OpenAIEngineConfig(base_urls=("http://a/v1",), model="m")


def call(stage: str, **models: tuple[EngineConfig, str]) -> StageCall:
    named = {role: ModelRef(digest, digest) for role, (_, digest) in models.items()}
    engines = {role: engine for role, (engine, _) in models.items()}
    return StageCall(stage, 1, "home", "run", 1, 0, models=named, engines=engines)


def surrounded(call: StageCall, **surroundings: Any) -> StageCall:
    return dataclasses.replace(call, surroundings=Surroundings(**surroundings))


SIDE_BY_SIDE = OrchestrationConfig(placement="side_by_side")


@pytest.mark.parametrize(
    ("before", "after", "orchestration", "reason"),
    [
        ({"refiner": (VLLM, "r")}, {"refiner": (VLLM, "r")}, OrchestrationConfig(), None),
        ({"actor": (VLLM, "a")}, {"refiner": (VLLM, "r")}, OrchestrationConfig(), "take the place"),
        ({"actor": (VLLM, "a")}, {"refiner": (VLLM, "a")}, OrchestrationConfig(), None),
        ({"actor": (VLLM, "a")}, {"refiner": (VLLM, "r")}, SIDE_BY_SIDE, None),
        ({"actor": (VLLM, "a")}, {"refiner": (VLLM, "r"), "second": (VLLM, "s")}, SIDE_BY_SIDE, "take the place"),
        ({"actor": (VLLM, "a")}, {"refiner": (SERVED, "r")}, OrchestrationConfig(), None),
        ({"refiner": (VLLM, "r")}, {"refiner": (VLLM, "r")}, OrchestrationConfig(overlap=False), "overlap is off"),
    ],
)
def test_a_stage_is_asked_ahead_only_where_it_displaces_no_model(before, after, orchestration, reason):
    found = kept_apart(surrounded(call("after", **after), orchestration=orchestration), call("before", **before))
    assert found is None if reason is None else reason in str(found)


def test_a_stage_is_not_asked_ahead_of_a_choice_among_all_or_from_other_machines():
    one = call("trees", refiner=(SCRIPTED, "r"))
    assert "method.pairs.max_negatives" in str(kept_apart(one, one, "method.pairs.max_negatives"))
    away = surrounded(one, scale=ScaleConfig(runner="ray"))
    assert "workers" in str(kept_apart(away, away))


@pytest.mark.usefixtures("prefect_server")
def test_trees_wait_for_all_judgements_where_they_are_capped(tmp_path):
    held_votes.begin()
    capped = Iteration(tmp_path, "method.pairs.max_negatives=2")
    assert capped.make()["trees"]
    runs = capped.task_runs()
    assert "trees-1-shard-0" in runs
    assert not [name for name in runs if name.startswith("trees-ahead")]
