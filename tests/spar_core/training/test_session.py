import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from sessions import StopAt, run
from trainable_models import FORMATS, save_tiny_model
from transformers import AutoModelForCausalLM, TrainerCallback

from spar_core.config.training import LoraConfig
from spar_core.errors import TrainingError
from spar_core.hashing import model_digest
from spar_core.training import TrainingSpec, arguments, session
from spar_core.training.arguments import computes_in_bf16
from spar_core.training.speed import SpeedMeter
from spar_core.training.workspace import Workspace

MakeSpec = Callable[..., TrainingSpec]


@pytest.mark.parametrize("kind", ["dpo", "sft"])
@pytest.mark.parametrize("architecture", list(FORMATS))
def test_every_architecture_trains_and_loads_again(
    make_spec: MakeSpec, tmp_path: Path, kind: str, architecture: str
) -> None:
    start = save_tiny_model(tmp_path / "m", architecture)
    spec = make_spec(kind, start, rows=4)
    outcome = run(spec)
    assert (outcome.rows_in, outcome.rows_trained, outcome.steps, outcome.dropped) == (4, 4, 1, ())
    before = AutoModelForCausalLM.from_pretrained(start).state_dict()
    after = AutoModelForCausalLM.from_pretrained(spec.output_folder).state_dict()
    assert before.keys() == after.keys()
    assert max((before[name] - after[name]).abs().max().item() for name in before) > 1e-3


@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_same_spec_gives_same_weights_and_a_kill_changes_nothing(
    make_spec: MakeSpec, tmp_path: Path, kind: str
) -> None:
    start = save_tiny_model(tmp_path / "m")
    settings = {"epochs": 2.0, "checkpoint_steps": 2}
    whole = run(make_spec(kind, start, "whole", **settings))
    resumed_spec = make_spec(kind, start, "resumed", **settings)
    with pytest.raises(KeyboardInterrupt):
        run(resumed_spec, StopAt(7))  # in the second epoch, one step after the checkpoint of step 6
    assert not resumed_spec.output_folder.exists()
    resumed = run(resumed_spec)
    other = run(make_spec(kind, start, "other", **settings, seed=1))
    assert (whole.steps, whole.resumed_from_step, resumed.steps, resumed.resumed_from_step) == (8, 0, 8, 6)
    digests = [model_digest(outcome.model_folder) for outcome in (whole, resumed, other)]
    assert digests[0] == digests[1] != digests[2]


def test_slow_steps_are_kept_by_the_clock(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    settings = {"epochs": 2.0, "checkpoint_steps": 100}
    whole = run(make_spec("sft", start, "whole", **settings))
    digests = {model_digest(whole.model_folder)}
    for minutes, kept in ((1e-9, 6), (60.0, 0), (None, 0)):
        spec = make_spec("sft", start, f"every-{minutes}", **settings, checkpoint_minutes=minutes)
        with pytest.raises(KeyboardInterrupt):
            run(spec, StopAt(7))
        resumed = run(spec)
        assert resumed.resumed_from_step == kept
        digests.add(model_digest(resumed.model_folder))
    assert len(digests) == 1


@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_max_steps_is_met_exactly_by_few_rows_and_by_many(make_spec: MakeSpec, tmp_path: Path, kind: str) -> None:
    # Batches of 4 in passes of 2 rows. Five rows are an epoch of two steps (two passes, then one), so that step 5 ends
    # after two of three passes of the third epoch. 40 rows would be ten steps.
    start = save_tiny_model(tmp_path / "m")
    few = run(make_spec(kind, start, "few", rows=5, max_steps=5))
    many = run(make_spec(kind, start, "many", rows=40, max_steps=5))
    assert (few.rows_trained, few.steps, many.rows_trained, many.steps) == (5, 5, 40, 5)
    assert (few.metrics["epoch"], many.metrics["epoch"]) == (pytest.approx(2 + 2 / 3), 0.5)


def test_half_written_checkpoint_is_passed_over(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    spec = make_spec("sft", start, checkpoint_steps=1)
    with pytest.raises(KeyboardInterrupt):
        run(spec, StopAt(3))
    newest = spec.work / "checkpoints" / "checkpoint-2"
    (newest / "optimizer.pt").write_bytes(b"torn")
    (newest / "complete").unlink()
    assert run(spec).resumed_from_step == 1


def test_new_folder_holds_a_model_and_nothing_of_the_trainer(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m", tied=True, dtype=torch.bfloat16)
    (start / "README.md").write_text("card of the old model")
    spec = make_spec("sft", start)
    run(spec)
    files = {entry.name for entry in spec.output_folder.iterdir()}
    assert files == {
        *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
        *("model.safetensors", "training_provenance.json"),
    }
    for name in files - {"model.safetensors", "training_provenance.json"}:
        assert (spec.output_folder / name).read_bytes() == (start / name).read_bytes()
    weights = load_file(spec.output_folder / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"])
    reloaded = AutoModelForCausalLM.from_pretrained(spec.output_folder)
    assert reloaded.lm_head.weight is reloaded.model.embed_tokens.weight


@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_lora_is_merged_into_full_weights(make_spec: MakeSpec, tmp_path: Path, kind: str) -> None:
    start = save_tiny_model(tmp_path / "m")
    spec = make_spec(kind, start, lora=LoraConfig(rank=2, alpha=4, learning_rate=1e-2))
    run(spec)
    before, after = load_file(start / "model.safetensors"), load_file(spec.output_folder / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj" in name}
    difference = after["model.layers.0.self_attn.q_proj.weight"] - before["model.layers.0.self_attn.q_proj.weight"]
    assert torch.linalg.matrix_rank(difference, atol=1e-5).item() == 2


def test_gradient_checkpointing_changes_memory_only(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    plain = run(make_spec("dpo", start, "plain"))
    saving = run(make_spec("dpo", start, "saving", gradient_checkpointing=True))
    assert saving.metrics["train_loss"] == pytest.approx(plain.metrics["train_loss"], abs=1e-5)


def test_metrics_are_written_per_step_with_the_offset(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("dpo", save_tiny_model(tmp_path / "m")).model_copy(update={"step_offset": 100})
    run(spec)
    lines = [json.loads(line) for line in (spec.work / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [101, 102, 103, 104, 104]
    assert {"loss", "rewards/margins", "learning_rate"} <= lines[0]["metrics"].keys()


def test_unusable_models_are_named(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    (start / "chat_template.jinja").unlink()
    with pytest.raises(TrainingError, match="no chat template"):
        run(make_spec("sft", start))
    other = save_tiny_model(tmp_path / "n")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(TrainingError, match=r"lack \['model.layers.2"):
        run(make_spec("sft", other))
    (other / "config.json").write_text(json.dumps({**config, "hidden_size": 24}))
    with pytest.raises(TrainingError, match="Cannot load the model"):
        run(make_spec("sft", other))


class Overflow(TrainerCallback):
    """Makes every logit overflow."""

    def on_train_begin(self, args: object, state: object, control: object, **found: object) -> None:
        with torch.no_grad():
            found["model"].get_output_embeddings().weight.fill_(1e38)  # type: ignore[attr-defined]


def test_diverged_training_is_refused(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("dpo", save_tiny_model(tmp_path / "m"))
    with pytest.raises(TrainingError, match="lower learning_rate"):
        run(spec, Overflow())
    assert not spec.output_folder.exists()


class Poison(TrainerCallback):
    """Makes one weight NaN after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: object, state: object, control: object, **found: object) -> None:
        if state.global_step == self._step:  # type: ignore[attr-defined]
            with torch.no_grad():
                found["model"].model.layers[1].mlp.up_proj.weight[3, 5] = float("nan")  # type: ignore[attr-defined]


@pytest.mark.parametrize("step", [3, 4])
def test_weights_that_are_not_finite_are_never_published(make_spec: MakeSpec, tmp_path: Path, step: int) -> None:
    # Four steps, and only the loss of the first is logged; what the last update breaks shows in no loss at all.
    spec = make_spec("sft", save_tiny_model(tmp_path / "m"), log_steps=100)
    with pytest.raises(TrainingError, match=r"NaN or infinite.*lower learning_rate"):
        run(spec, Poison(step))
    assert not spec.output_folder.exists()


def test_a_checkpoint_counts_when_every_process_has_written_its_part(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    (workspace.checkpoints / "checkpoint-5").mkdir(parents=True)
    recorder = session._Recorder(workspace, make_spec("sft", tmp_path), SpeedMeter(1))
    whole: list[Path | None] = []
    monkeypatch.setattr(session, "await_all_processes", lambda: whole.append(workspace.latest_checkpoint()))
    for main in (False, True):  # every process waits, one marks
        recorder.on_save(None, SimpleNamespace(global_step=5, is_world_process_zero=main), None)
        assert (workspace.latest_checkpoint() is not None) is main
    assert whole == [None, None]


def test_bf16_is_usual_where_the_cpu_multiplies_it_and_the_model_is_not_small(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spar_core.processors.cpu_flags", lambda: {"avx512f", "amx_bf16"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    small, said = make_spec("sft", tmp_path), make_spec("sft", tmp_path, precision="bf16")
    assert [computes_in_bf16(spec) for spec in (small, said)] == [False, True]
    monkeypatch.setattr(arguments, "weight_bytes", lambda _: 270_000_000)
    refused = make_spec("sft", tmp_path, precision="fp32")
    assert [computes_in_bf16(spec) for spec in (small, said, refused)] == [True, True, False]


def test_bf16_on_a_cpu_without_it_is_warned_of(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session, "computes_bfloat16", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    start = save_tiny_model(tmp_path / "m")
    run(make_spec("sft", start, "auto", rows=4))
    assert not [message for message in caplog.messages if "40 times" in message]
    run(make_spec("sft", start, "bf16", rows=4, precision="bf16"))
    assert [message for message in caplog.messages if "leave precision at its default" in message]
