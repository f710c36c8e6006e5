"""The prompts of an iteration follow the judgements of the one before; resuming draws the same."""

import pytest
from prefect import flow

from flows.cli import invoke
from flows.wiring import prompting
from flows.wiring.handovers import Models
from flows.wiring.iteration_data import IterationData
from flows.wiring.prompting import completed as kept
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner
from spar_core.config.loading import load_config
from storage.home import Home
from storage.ledger import Ledger
from tasks.engines import ModelRef
from tasks.runtime import Runtime

pytestmark = pytest.mark.usefixtures("benchmark_data", "prefect_server")
MODELS = Models(ModelRef("actor", "nowhere"), ModelRef("refiner", "nowhere"))
SETTINGS = [
    "engine.kind=scripted",
    "engine.script=tests.flows.wiring.test_following_prompts:answered",
    "prompts.source=verifiable",
    "prompts.constraints=[1,2]",
    "prompts.following={}",
    "prompts.drop_contradictions=true",
    "prompts.per_iteration=40",
    "method.judging.anchor=rules_only",
    "method.pairs.method=best_of_n",
    "train_refiner=false",
]


def answered(_request, index):
    """Too short for what most constraints ask for; every other sample has a comma."""
    return f"Birds sing in the morning{',' * (index % 2)} and the river runs to the sea."


def drawn(run: Run, *numbers: int) -> list[dict]:
    @flow(name="data")
    def data() -> list[dict]:
        with Runtime.of(str(run.home.root)).held():
            made = [IterationData(run, StageRunner(run)).make(number, MODELS, MODELS) for number in numbers]
            return [each.prompts.manifest().config.get("drawing") for each in made]

    return data()


def test_the_next_prompts_are_drawn_by_what_became_of_the_last(tmp_path, monkeypatch):
    run = Run(Home(tmp_path), "followed", load_config("smoke", overrides=SETTINGS))
    first, second, third = drawn(run, 1, 2, 3)
    assert first is None  # as configured
    assert all(0.2 <= weight <= 1 for weight in second["weights"].values())
    weights = second["weights"]
    assert weights["punctuation:no_comma"] > weights["combination:two_responses"] == 0.2  # passes by halves, and never
    assert third["counts"][0] >= 1
    before = {(entry.stage, entry.iteration): entry.stage_key for entry in Ledger(run.home).stages(run.run_id)}
    assert drawn(run, 2, 3) == [second, third]
    after = {(entry.stage, entry.iteration): entry.stage_key for entry in Ledger(run.home).stages(run.run_id)}
    assert after == before
    # What the drawing was made of may be collected: the prompts that are there stay those of the run.
    monkeypatch.setattr(
        prompting, "completed", lambda run, stage, n: kept(run, stage, n) if stage == "prompts" else None
    )
    assert drawn(run, 2, 3) == [second, third]


def test_prompts_of_the_starter_follow_where_they_are_told_how_many_constraints(tmp_path):
    told = [*SETTINGS, "prompts.source=starter"]
    run = Run(Home(tmp_path), "followed", load_config("smoke", overrides=told))
    _, second = drawn(run, 1, 2)
    assert second["counts"] == [1, 1]  # no answer names what it is asked for
    run = Run(Home(tmp_path), "mixed", load_config("smoke", overrides=[*told, "prompts.constraints=null"]))
    assert drawn(run, 1, 2) == [None, None]


def test_a_plan_of_prompts_that_are_yet_to_follow_is_made(tmp_path, capsys):
    given = [argument for setting in SETTINGS for argument in ("--set", setting)]
    assert invoke(["plan", "--preset", "smoke", *given, "--home", str(tmp_path / "nowhere")]) == 0
    assert "prompts" in capsys.readouterr().out
    assert not (tmp_path / "nowhere").exists()
