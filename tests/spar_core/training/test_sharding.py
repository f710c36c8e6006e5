import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from launched import in_another_process, wait_until, workers
from safetensors.torch import load_file
from trainable_models import save_tiny_model
from transformers import AutoModelForCausalLM

from spar_core.config.launch import LaunchConfig
from spar_core.config.training import LoraConfig
from spar_core.errors import TrainingError
from spar_core.hashing import model_digest
from spar_core.ports import free_port
from spar_core.training import TrainingSpec, train
from spar_core.training.meeting import driving, join_trainings
from spar_core.training.session import run_session
from spar_core.training.workspace import Workspace

MakeSpec = Callable[..., TrainingSpec]
Losses = dict[int, float]
TWO = LaunchConfig(processes=2, sharding="full", threads=1)
FOUR = LaunchConfig(processes=4, sharding="full", threads=1)


def in_this_process(spec: TrainingSpec) -> Losses:
    """Train as one process would, without the wait for another Python."""
    workspace = Workspace(spec.work)
    workspace.folder.mkdir()
    workspace.claim("one", "whole")
    run_session(spec, "one")
    lines = [json.loads(line) for line in workspace.metrics_file.read_text().splitlines()]
    return {line["step"]: line["metrics"]["loss"] for line in lines if "loss" in line["metrics"]}


def launched(spec: TrainingSpec) -> Losses:
    losses: Losses = {}
    train(spec, lambda step, metrics: losses.update({step: metrics["loss"]} if "loss" in metrics else {}))
    return losses


def assert_close(one: Path, two: Path) -> None:
    """Same files but for rounding."""
    assert {entry.name for entry in one.iterdir()} == {entry.name for entry in two.iterdir()}
    first, second = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert first.keys() == second.keys()
    assert {value.dtype for value in first.values()} == {value.dtype for value in second.values()}
    apart = {name: (first[name] - second[name]).abs().max().item() for name in first}
    # A bias of keys adds the same to all scores of a query where positions do not turn it (GLM turns half of each
    # head): its gradient is zero but for rounding, of which Adam makes whole steps.
    assert {name: most for name, most in apart.items() if most > 1e-4 and not name.endswith("k_proj.bias")} == {}


def assert_equal_to_one_process(make_spec: MakeSpec, start: Path, kind: str, **settings: object) -> None:
    one, two = make_spec(kind, start, "one", **settings), make_spec(kind, start, "two", launch=TWO, **settings)
    assert launched(two) == pytest.approx(in_this_process(one), abs=1e-4)
    assert_close(one.output_folder, two.output_folder)
    before = load_file(start / "model.safetensors")
    after = load_file(two.output_folder / "model.safetensors")
    assert max((before[name] - after[name]).abs().max().item() for name in before) > 1e-3


def test_two_shares_equal_one_process(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m", tied=True)
    assert_equal_to_one_process(make_spec, start, "dpo", sft_reduction="sequence", gradient_checkpointing=True)
    found = load_file(tmp_path / "two" / "model.safetensors")
    assert torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"])
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path / "two").lm_head.weight, found["lm_head.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["mistral", "glm", "glm4"])
def test_shares_of_every_architecture_equal_one_process(make_spec: MakeSpec, tmp_path: Path, architecture: str) -> None:
    assert_equal_to_one_process(make_spec, save_tiny_model(tmp_path / "m", architecture), "sft")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_adapters_on_a_sharded_base_equal_one_process(make_spec: MakeSpec, tmp_path: Path, kind: str) -> None:
    lora = LoraConfig(rank=1, alpha=2, learning_rate=1e-2)  # fewer rows than processes
    assert_equal_to_one_process(make_spec, save_tiny_model(tmp_path / "m"), kind, lora=lora)


@pytest.mark.slow
def test_weights_kept_in_cpu_memory_equal_others(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    offloaded = LaunchConfig(sharding="full", offload=True, threads=1)
    one, kept = make_spec("dpo", start, "one"), make_spec("dpo", start, "kept", launch=offloaded)
    assert launched(kept) == pytest.approx(in_this_process(one), abs=1e-4)
    assert_close(one.output_folder, kept.output_folder)


@pytest.mark.slow
def test_what_does_not_fit_the_model_is_named_by_every_process(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    config = json.loads((start / "config.json").read_text())
    (start / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(TrainingError, match=r"lack \['model.layers.2.*launch.sharding=none"):
        train(make_spec("sft", start, launch=TWO))
    (start / "config.json").write_text(json.dumps({**config, "intermediate_size": 24}))
    with pytest.raises(TrainingError, match=r"has shape \(32, 16\) in the files and \(24, 16\) by config"):
        train(make_spec("sft", start, launch=TWO))


def interrupted_at(spec: TrainingSpec, step: int) -> None:
    def interrupt(reached: int, _metrics: dict[str, float]) -> None:
        if reached >= step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, interrupt)


@pytest.mark.slow
def test_a_checkpoint_serves_any_number_of_shares_and_nothing_else(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    settings = {"rows": 64, "epochs": 2.0, "checkpoint_minutes": 1e-9, "micro_batch_size": 1}
    whole = make_spec("dpo", start, "whole", **settings)
    in_this_process(whole)
    interrupted_at(make_spec("dpo", start, "cut", launch=TWO, **settings), 4)
    with pytest.raises(TrainingError, match=r"written with launch.sharding=full, and this is launch.sharding=none"):
        train(make_spec("dpo", start, "cut", **settings))
    resumed = train(make_spec("dpo", start, "cut", launch=FOUR, **settings))
    assert 3 <= resumed.resumed_from_step < resumed.steps == 32
    assert_close(whole.output_folder, resumed.model_folder)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["rank", "launcher"])
def test_kill_9_of_a_process_or_the_launcher_changes_nothing(make_spec: MakeSpec, tmp_path: Path, victim: str) -> None:
    start = save_tiny_model(tmp_path / "m")
    settings = {"rows": 64, "epochs": 4.0, "checkpoint_steps": 10, "launch": TWO}
    spec = make_spec("dpo", start, "killed", **settings)
    asking = in_another_process(spec, tmp_path / "spec.json")
    wait_until(lambda: (spec.work / "checkpoints" / "checkpoint-20" / "complete").exists())
    if victim == "rank":
        ranks = [
            pid for pid in workers(spec) if b"torch.distributed.run" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(max(ranks), signal.SIGKILL)
        assert asking.wait(60) != 0
        assert "SIGKILL" in spec.log.read_text()
    else:
        asking.send_signal(signal.SIGKILL)
        asking.wait()
    wait_until(lambda: workers(spec) == [])
    resumed, whole = train(spec), train(make_spec("dpo", start, "whole", **settings))
    assert resumed.resumed_from_step >= 20
    assert model_digest(resumed.model_folder) == model_digest(whole.model_folder)


@pytest.mark.slow
def test_two_machines_equal_one(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    one = make_spec("dpo", start, "one")
    meeting, said = tmp_path / "meeting", []
    launch = LaunchConfig(nodes=2, rendezvous=f"127.0.0.1:{free_port()}", sharding="full", threads=1)
    two = make_spec("dpo", start, "two", launch=launch).model_copy(update={"meeting_folder": meeting})
    follower = threading.Thread(target=join_trainings, args=(meeting, 1, said.append))
    follower.start()
    with driving(meeting):
        losses = launched(two)
    follower.join(60)
    assert not follower.is_alive()
    assert said[-2:] == ["training ended here", "the run is finished"]
    assert losses == pytest.approx(in_this_process(one), abs=1e-4)
    assert_close(one.output_folder, two.output_folder)
