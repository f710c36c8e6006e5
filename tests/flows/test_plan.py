"""`spar plan`: what fits and what would, without weights; every stage of every method is known to it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from flows.commands.plan import plan as command
from flows.planning.models import PlannedModels
from flows.planning.plan import PlanOptions, make_plan
from flows.probing import first_probe
from flows.wiring.request import Run
from spar_core.config.loading import load_config
from spar_core.engines.scripted import ScriptedEngine
from spar_core.errors import ConfigError
from spar_core.methods import names
from storage.home import Home
from tasks.engines import EnginePool
from tests.integration.command_line import ROOT

EIGHT = ("--gpus", "8", "--gpu-memory", "80")


@pytest.fixture(autouse=True)
def _no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.planning.plan.visible_gpus", lambda: [])


def planned(home: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(command, [*arguments, "--home", str(home), "--json"], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, json.loads(result.stdout)


@pytest.mark.parametrize("preset", ["llama3-8b", "glm4-9b", "mistral-7b"])
def test_the_small_models_fit_the_papers_machine(tmp_path: Path, preset: str) -> None:
    code, found = planned(tmp_path, "--preset", preset, *EIGHT, "--price", "2")
    assert (code, found["problems"]) == (0, [])
    assert found["price"] == pytest.approx(found["gpu_hours"] * 2, rel=1e-3)
    assert {stage["basis"] for stage in found["stages"]} == {"assumed", "elsewhere"}  # no teacher is named yet
    assert {stage["stage"] for stage in found["stages"] if stage["basis"] == "elsewhere"} == {
        "responses-teacher",
        "judgements-teacher",
        "trees-teacher",
    }
    assert all(server["replicas"] == 8 for server in found["serving"])
    largest = max(training["total_gib"] for training in found["training"])
    assert 16 * found["parameters"]["actor"] / 8 / 2**30 < largest < 80
    assert not tmp_path.joinpath("home.json").exists()


def test_the_large_one_fits_four_machines(tmp_path: Path) -> None:
    code, found = planned(tmp_path, "--preset", "llama3-70b", *EIGHT)
    assert code == 1
    told = "\n".join(found["problems"])
    assert "on 32 GPUs (4 machines)" in told
    assert "training.launch.offload=true" in told
    assert planned(tmp_path, "--preset", "llama3-70b", "--gpus", "16", "--gpu-memory", "80")[0] == 1
    code, found = planned(tmp_path, "--preset", "llama3-70b", "--gpus", "32", "--gpu-memory", "80")
    assert (code, found["problems"]) == (0, [])
    machines = ["training.launch.nodes=4", "training.launch.rendezvous=HOST:29500"]
    assert found["settings"] == [*machines, "training.actor.micro_batch_size=1"]  # 32 pairs a step, 32 GPUs


def test_adapters_on_one_small_card(tmp_path: Path) -> None:
    card = ("--preset", "mistral-7b", "--gpus", "1", "--gpu-memory", "24", "--set", "warm_start.source=none")
    code, found = planned(tmp_path, *card)
    assert code == 1
    assert "training.actor.lora.rank=16" in "\n".join(found["problems"])
    adapters = ("--set", "training.actor.lora.rank=16", "--set", "training.refiner.lora.rank=16")
    code, found = planned(tmp_path, *card, *adapters)
    assert (code, found["problems"]) == (0, [])
    assert found["settings"] == ["training.launch.processes=1"]


def test_a_model_that_no_card_can_serve_says_what_would(tmp_path: Path) -> None:
    code, found = planned(
        tmp_path, "--preset", "llama3-70b", "--gpus", "8", "--gpu-memory", "80", "--set", "engine.tensor_parallel=1"
    )
    assert code == 1
    assert any("engine.tensor_parallel=2" in problem for problem in found["problems"])


@pytest.mark.parametrize("method", names())
def test_every_stage_of_every_method_is_forecast(tmp_path: Path, method: str) -> None:
    two = ["iterations=2", "method.pairs.grpo_from=2"] if method == "spar_then_grpo" else []
    run = Run(Home(tmp_path), "r", load_config("smoke", overrides=[f"method.pairs.method={method}", *two]))
    found = make_plan(run, PlanOptions())
    assert not [step.stage for step in found.steps if step.forecast.basis == "unknown"]
    assert {step.iteration for step in found.steps} == ({0, 1, 2} if two else {0, 1})
    steps = {step.stage: step.forecast.work for step in found.steps if step.stage.endswith("_actor")}
    trained = steps.get("train_actor") or steps["reinforce_actor"]
    assert trained.steps == 2  # as the preset says
    assert trained.rows > 0


def test_rates_and_assumptions_are_taken_as_given(tmp_path: Path) -> None:
    rates = tmp_path / "rates.yaml"
    rates.write_text("written: 1000\ntrained: 500\n")
    given = ("--preset", "llama3-8b", *EIGHT, "--rates", str(rates), "--assume", "engine_start_s=0")
    _, found = planned(tmp_path / "home", *given)
    answers = next(stage for stage in found["stages"] if stage["stage"] == "responses")
    assert answers["basis"] == "given"
    assert answers["seconds"] == pytest.approx(answers["tokens_written"] / 8000, rel=0.01)
    _, longer = planned(tmp_path / "home", *given, "--assume", "answer_tokens=900")
    twice = next(stage for stage in longer["stages"] if stage["stage"] == "responses")
    assert twice["tokens_written"] == 2 * answers["tokens_written"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--assume", "answer_tokens=long"), "not negative"),
        (("--assume", "whales=3"), "unknown 'whales'"),
        (("--device", "abacus"), "unknown device"),
        (("--device", "cpu", "--gpus", "2"), "leave --gpus and --gpu-memory out"),
        (("--rates", "nowhere"), "does not exist"),
        (("--set", "models.actor=some/model"), "config.json"),
    ],
)
def test_what_is_not_known_is_said(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        planned(tmp_path, *arguments)


def test_no_heavy_library_is_loaded(tmp_path: Path) -> None:
    look = (
        "import sys; from flows.cli import invoke; "
        f"code = invoke(['plan', '--preset', 'llama3-8b', *{EIGHT!r}, '--home', {str(tmp_path)!r}]); "
        "loaded = {'torch', 'transformers', 'trl', 'mlflow', 'vllm'} & set(sys.modules); "
        "sys.exit(f'{code} {loaded}' if code or loaded else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, env=environment, check=False)
    assert found.returncode == 0, found.stderr
    assert "memory of training" in found.stdout


def test_a_warm_start_by_rules_is_planned_with_the_answers_it_is_made_of(tmp_path: Path) -> None:
    def tokens(samples: int) -> float:
        rules = ("--set", "warm_start.source=rules", "--set", f"warm_start.samples={samples}")
        code, found = planned(tmp_path, "--preset", "smoke", *rules)
        assert code == 0
        stages = {stage["stage"]: stage for stage in found["stages"] if stage["iteration"] == 0}
        start = ["prompts-warm_start_refiner", "responses-rules_refiner", "rule_examples_refiner", "warm_start_refiner"]
        assert list(stages)[:4] == start
        assert stages["rule_examples_refiner"]["rows"] == 48
        return stages["responses-rules_refiner"]["tokens_written"]

    assert tokens(4) == pytest.approx(2 * tokens(2), rel=0.01)


def test_a_probe_is_planned_where_the_run_begins_with_one(tmp_path: Path) -> None:
    def probe(*settings: str) -> dict[str, Any] | None:
        _, found = planned(tmp_path, "--preset", "smoke", *(part for each in settings for part in ("--set", each)))
        return next((stage for stage in found["stages"] if stage["stage"] == "probe"), None)

    assert probe() is None  # its warm start teaches the form
    own = ("warm_start.source=none", "probe.requests=5")
    asked = probe(*own)
    assert asked is not None
    assert (asked["state"], asked["rows"], asked["iteration"]) == ("compute", 5, None)
    assert asked["tokens_written"] > 0
    assert asked["seconds"] > 0
    config = load_config("smoke", overrides=list(own))
    run = Run(Home(tmp_path), "r", config)
    probing = first_probe(run, PlannedModels(run.home, config.engine).base(run))
    assert probing is not None
    pool = SimpleNamespace(engine=lambda *_: ScriptedEngine(lambda request, index: "Final verdict: NO"))
    probing.run(cast("EnginePool", pool), [config.method.prompt_set])
    known = probe(*own)
    assert known is not None
    assert (known["state"], known["tokens_written"]) == ("reuse", 0)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"avx512f", "avx512_bf16"}, True),
        ({"avx512f", "avx512_bf16", "amx_bf16"}, False),  # where it is the default
        ({"avx2"}, False),
    ],
)
def test_a_cpu_that_computes_bfloat16_faster_is_told_so(tmp_path, monkeypatch, flags, told) -> None:
    monkeypatch.setattr("flows.planning.plan.cpu_flags", lambda: flags)
    monkeypatch.setattr("flows.planning.plan.visible_gpus", list)
    arguments = ["--preset", "smollm2-135m", "--home", str(tmp_path)]
    shown = CliRunner().invoke(command, arguments, standalone_mode=False).stdout
    assert ("--set training.warm_start_refiner.precision=bf16" in shown) is told
    bf16 = [f"--set=training.{name}.precision=bf16" for name in ("actor", "refiner", "warm_start_refiner")]
    assert "has bfloat16" not in CliRunner().invoke(command, [*arguments, *bf16], standalone_mode=False).stdout


def test_a_cpu_with_matrix_units_is_planned_in_bfloat16(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("flows.planning.plan.visible_gpus", list)

    def seconds(flags: set[str], *more: str) -> float:
        monkeypatch.setattr("flows.planning.plan.cpu_flags", lambda: flags)
        arguments = ["--preset", "smollm2-135m", "--home", str(tmp_path), "--json", *more]
        return float(json.loads(CliRunner().invoke(command, arguments, standalone_mode=False).stdout)["seconds"])

    xeon = {"avx512f", "amx_bf16"}
    fp32 = [f"--set=training.{name}.precision=fp32" for name in ("actor", "refiner", "warm_start_refiner")]
    assert seconds(xeon) < seconds(xeon, *fp32) == seconds({"avx512f"})


def test_the_starter_is_planned_for_the_minutes_it_takes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("flows.planning.plan.visible_gpus", list)
    monkeypatch.setattr("flows.planning.plan.usable_cores", lambda: 2)
    assert 150 < planned(tmp_path)[1]["seconds"] < 900  # 342 s on two quiet cores


def test_no_votes_are_planned_of_a_refiner_that_nobody_asks_for_any(tmp_path: Path) -> None:
    def measured(anchor: str) -> set[str]:
        asked = ("--set", f"method.judging.anchor={anchor}", "--set", "evaluation.calibration_items=10")
        _, found = planned(tmp_path, "--preset", "smoke", *asked)
        return {stage["stage"] for stage in found["stages"] if stage["stage"].startswith("eval_")}

    assert measured("verifier") - measured("rules_only") == {"eval_votes"}
    assert "eval_refiner" in measured("rules_only")


def test_vllm_on_this_machines_cpu_is_planned_where_it_is_named(tmp_path: Path) -> None:
    model = ("--set", "engine.kind=vllm", "--set", "models.actor=starter")
    much = ("--set", "evaluation.refiner_items=5000")  # the starter's hundreds take no tenth of a second
    asked = ("--preset", "smollm2-smoke", *model, *much, "--assume", "engine_start_s=0")
    _, assumed = planned(tmp_path, *asked)
    _, named = planned(tmp_path, *asked, "--device", "cpu")
    assert (assumed["hardware"]["device"], named["hardware"]["device"]) == ("a100", "cpu")
    assert assumed["gpu_hours"] > 0
    assert named["gpu_hours"] == 0
    measured = [stage["stage"] for stage in named["stages"]].index("eval_refiner")
    assert named["stages"][measured]["seconds"] > assumed["stages"][measured]["seconds"]
