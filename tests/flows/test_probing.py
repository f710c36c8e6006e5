"""`spar probe`, and what a run asks before it begins, on a scripted model that keeps no markers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from flows.cli import invoke
from flows.probing import Probing, probe_first, probe_prompts
from flows.wiring.handovers import Models
from flows.wiring.models import Served
from flows.wiring.request import Run
from spar_core.config.run import RunConfig
from spar_core.engines.base import GenerationRequest
from spar_core.engines.scripted import Answer, ScriptedEngine
from spar_core.errors import BudgetError, DataError, FruitlessError
from storage.home import Home
from storage.ledger import Ledger
from tasks.engines import EnginePool, ModelRef
from tasks.spending import Spending

ENGINE = ("--set", "engine.kind=scripted", "--set", f"engine.script={__name__}:weak")
MODEL = ModelRef("digest", "nowhere")


def weak(request: GenerationRequest, index: int) -> Answer:
    """A model that answers, and never ends a vote or wraps a rewrite as it is told to."""
    if request.choices:
        return request.choices[1]
    return "A plain text."


def trained(request: GenerationRequest, index: int) -> Answer:
    """The same, after it has learned how a vote ends."""
    text = request.messages[-1].content
    return "Final verdict: NO" if "Final verdict" in text and "write the answer again" not in text.lower() else "Text."


class OnePool:
    """Gives out one scripted engine, and counts what it is asked."""

    def __init__(self, script: Callable[[GenerationRequest, int], Answer]) -> None:
        self.scripted = ScriptedEngine(script, model_digest=MODEL.digest)

    def engine(self, *_: Any) -> ScriptedEngine:
        return self.scripted


def a_run(tmp_path: Path, **config: Any) -> Run:
    values = {"warm_start": {"source": "none"}, "evaluation": {"enabled": False}, **config}
    return Run(Home(tmp_path), "probed", RunConfig.model_validate(values))


def first(run: Run, pool: OnePool) -> Spending:
    spending = Spending(Ledger(run.home), run.run_id)
    probe_first(run, Models(MODEL, MODEL), cast("EnginePool", pool), spending)
    return spending


def test_the_command_says_what_share_can_be_read_and_what_to_do(tmp_path, capsys):
    asked = ["probe", "starter", "--home", str(tmp_path), "--preset", "starter", *ENGINE]
    assert invoke([*asked, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    shares = {(role["role"], role["prompt_set"]): role["share"]["value"] for role in said["roles"]}
    assert shares[("judge", "plain")] == shares[("refiner", "default")] == shares[("refiner", "starter")] == 0.0
    assert shares[("refiner", "plain")] == shares[("actor", "")] == 1.0
    assert (said["best"], said["fits"]) == ("plain", False)
    held = ["--set", "method.judging.verdict=continuation", "--set", "method.prompt_set=plain"]
    assert invoke([*asked, *held]) == 0
    shown = capsys.readouterr().out
    assert "prompt set plain fits (20 of 20 votes can be read" in shown
    assert "--set method.responses.max_tokens=64" in shown


def test_where_nothing_fits_the_way_out_is_named(tmp_path, capsys):
    assert invoke(["probe", "starter", "--home", str(tmp_path), "--preset", "starter", *ENGINE]) == 1
    shown = capsys.readouterr().out
    assert "set method.prompt_set=plain" in shown
    assert "method.judging.verdict=continuation" in shown
    assert "'A plain text.'" in shown


def test_prompts_of_ones_own_and_how_many(tmp_path, capsys):
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Say {number}"}) + "\n" for number in range(9)))
    asked = ["probe", "starter", "--home", str(tmp_path / "home"), *ENGINE, "--prompts", str(file), "--requests", "6"]
    invoke([*asked, "--json"])
    assert json.loads(capsys.readouterr().out)["roles"][0]["requests"] == 6


def test_a_probe_is_found_again_unless_something_changed(tmp_path):
    pool = OnePool(weak)
    config = RunConfig()
    served = Served(MODEL, config.engine)

    def probed(settings: RunConfig, **options: bool) -> int:
        before = pool.scripted.calls
        probing = Probing(Home(tmp_path), settings, served, served, probe_prompts(settings))
        probing.run(cast("EnginePool", pool), ["default", "plain"], **options)
        return pool.scripted.calls - before

    # Twenty answers; twenty votes and twenty rewrites for each of two sets; one request before answers and sets.
    assert probed(config) == 20 + 4 * 20 + 2
    assert probed(config) == 0
    assert probed(config, again=True) == 102
    longer = config.model_copy(update={"probe": config.probe.model_copy(update={"max_tokens": 300})})
    assert probed(longer) == 102


def test_a_run_stops_before_a_model_that_would_not_be_understood(tmp_path):
    with pytest.raises(FruitlessError) as stopped:
        first(a_run(tmp_path), OnePool(weak))
    said = str(stopped.value)
    assert "0 of 20 votes can be read under prompt set default" in said
    assert "probe.minimum_readable=20%" in said
    assert "set method.prompt_set=plain" in said
    assert "method.judging.verdict=continuation" in said


def test_a_run_is_told_the_prompt_set_that_fits(tmp_path):
    with pytest.raises(FruitlessError, match=r"method\.prompt_set=plain \(20 of 20 votes"):
        first(a_run(tmp_path), OnePool(trained))
    assert first(a_run(tmp_path, method={"prompt_set": "plain"}), OnePool(trained)).spent.tokens == 0  # found again


def test_the_tokens_of_a_probe_are_those_of_the_run(tmp_path):
    fitting = {"method": {"prompt_set": "plain"}}
    assert first(a_run(tmp_path / "paid", **fitting), OnePool(trained)).spent.tokens > 3 * 20
    pool = OnePool(trained)
    with pytest.raises(BudgetError, match=r"of budget\.tokens=300 tokens"):
        first(a_run(tmp_path / "spent", **fitting, budget={"tokens": 300}), pool)
    assert 0 < pool.scripted.calls < 20


@pytest.mark.parametrize(
    "config",
    [
        {"probe": {"minimum_readable": None}},
        {"warm_start": {"source": "starter"}},
        {"iterations": 0},
        {"engine": {"kind": "scripted", "script": "a:b"}},
        {"method": {"pairs": {"method": "random_pairs"}}},
    ],
)
def test_runs_that_teach_the_form_or_need_none_are_not_probed(tmp_path, config):
    pool = OnePool(weak)
    first(a_run(tmp_path, **config), pool)
    assert pool.scripted.calls == 0


def test_a_run_from_a_file_is_probed_with_its_prompts(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Say {number}"}) + "\n" for number in range(30)))
    config = a_run(tmp_path, prompts={"source": "file", "path": str(file)}).config
    assert [prompt.text for prompt in probe_prompts(config)] == [f"Say {number}" for number in range(20)]
    with pytest.raises(DataError):
        probe_prompts(config, str(tmp_path / "none.jsonl"))
