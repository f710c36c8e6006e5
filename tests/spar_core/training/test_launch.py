import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from launched import in_another_process, wait_until, workers
from safetensors.torch import load_file
from trainable_models import save_tiny_model

from spar_core.config.launch import LaunchConfig
from spar_core.errors import TrainingError
from spar_core.hashing import model_digest
from spar_core.training import TrainingSpec, train
from spar_core.training.commands import check_exportable, checkpoint_layout, command, environment, processes_here

MakeSpec = Callable[..., TrainingSpec]


def test_training_reports_metrics_and_leaves_only_model_and_log(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("dpo", save_tiny_model(tmp_path / "m"))
    seen: list[tuple[int, dict[str, float]]] = []
    outcome = train(spec, lambda step, metrics: seen.append((step, metrics)))
    assert [step for step, metrics in seen if "loss" in metrics] == [1, 2, 3, 4]
    assert (outcome.model_folder, outcome.steps, outcome.rows_trained) == (spec.output_folder, 4, 16)
    assert {entry.name for entry in tmp_path.iterdir()} == {"m", "dpo-16.parquet", "out", "out.log"}

    before = model_digest(spec.output_folder)
    assert train(spec, lambda step, _: seen.append((step, {}))) == outcome
    assert len(seen) == 5  # nothing ran again
    assert model_digest(spec.output_folder) == before
    changed = spec.model_copy(update={"seed": 1})
    with pytest.raises(TrainingError, match="exists already and holds something else"):
        train(changed)


def test_worker_failure_arrives_as_one_message(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    (start / "chat_template.jinja").unlink()
    spec = make_spec("sft", start)
    with pytest.raises(TrainingError, match=r"training: .* has no chat template.*Log: .*out\.log"):
        train(spec)
    assert not spec.output_folder.exists()


def test_what_is_missing_or_damaged_is_said_without_starting_a_process(make_spec: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="does not exist"):
        train(make_spec("dpo", tmp_path / "nowhere"))
    start = save_tiny_model(tmp_path / "m")
    spec = make_spec("dpo", start)
    weights = start / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    with pytest.raises(TrainingError, match=rf"damaged: {len(whole) - 10} bytes instead of {len(whole)}"):
        train(spec)
    weights.write_bytes(b"\xff" * 100)
    with pytest.raises(TrainingError, match="no valid safetensors file"):
        train(spec)
    weights.unlink()
    with pytest.raises(TrainingError, match=r"has no \.safetensors weights"):
        train(spec)
    weights.write_bytes(whole)
    spec.data_files[0].unlink()
    with pytest.raises(TrainingError, match="Cannot read training data"):
        train(spec)
    assert not spec.work.exists()


def test_launchers(make_spec: MakeSpec, tmp_path: Path) -> None:
    def words(**launch: object) -> list[str]:
        return command(make_spec("dpo", tmp_path, launch=LaunchConfig(**launch)), "id", Path("spec.json"))[1:]

    worker = ["-m", "spar_core.training.worker", "spec.json", "id"]
    assert words() == worker
    assert words(processes=2) == ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *worker]
    sharded = words(processes=2, sharding="full")
    assert sharded == words(processes=2)
    assert words(sharding="full") == worker  # nothing to share
    assert words(sharding="full", offload=True)[2:5] == ["--standalone", "--nproc_per_node", "1"]
    accelerate = ["-m", "accelerate.commands.launch", "--config_file", "fsdp.yaml"]
    assert words(accelerate_config="fsdp.yaml") == [*accelerate, *worker]


def test_every_machine_starts_its_part_under_one_name(make_spec: MakeSpec, tmp_path: Path) -> None:
    launch = LaunchConfig(processes=2, nodes=3, rendezvous="first:29500")
    spec = make_spec("dpo", tmp_path, launch=launch, batch_size=12)
    words = command(spec, "id", Path("spec.json"), node=1, token="try-1")
    found = {words[i]: words[i + 1] for i in range(3, 17, 2)}
    assert found == {
        **{"--nnodes": "3", "--node_rank": "1", "--master_addr": "first", "--master_port": "29500"},
        **{"--rdzv_id": "try-1", "--rdzv_conf": "timeout=1800", "--nproc_per_node": "2"},
    }
    accelerated = LaunchConfig(accelerate_config="a.yaml", nodes=3, rendezvous="first:29500")
    assert "--machine_rank 2" in " ".join(
        command(make_spec("dpo", tmp_path, launch=accelerated, batch_size=12), "i", Path("s"), 2)
    )


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("deepspeed_config: {zero_stage: 3}", "zero3_save_16bit_model"),
        ("deepspeed_config: {zero_stage: 3, zero3_save_16bit_model: false}", "zero3_save_16bit_model"),
        ("deepspeed_config: {zero_stage: 3, zero3_save_16bit_model: true}", None),
        ("deepspeed_config: {zero_stage: 2}", None),
        ("fsdp_config: {fsdp_state_dict_type: SHARDED_STATE_DICT}", None),
        ("deepspeed_config: {deepspeed_config_file: zero.json}", "stage3_gather_16bit_weights_on_model_save"),
    ],
)
def test_what_could_not_be_exported_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, remedy: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zero.json").write_text('{"zero_optimization": {"stage": 3}}')
    (tmp_path / "a.yaml").write_text(text)
    launch = LaunchConfig(accelerate_config="a.yaml")
    if remedy is None:
        check_exportable(launch)
    else:
        with pytest.raises(TrainingError, match=f"set {remedy} to true"):
            check_exportable(launch)


def test_environment_sizes_threads_and_shows_one_device(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    one = environment(make_spec("dpo", tmp_path, launch=LaunchConfig(threads=5, environment={"NCCL_DEBUG": "INFO"})))
    assert (one["OMP_NUM_THREADS"], one["CUDA_VISIBLE_DEVICES"], one["NCCL_DEBUG"]) == ("5", "3", "INFO")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    two = environment(make_spec("dpo", tmp_path, launch=LaunchConfig(processes=2)))
    assert (two["OMP_NUM_THREADS"], two["CUDA_VISIBLE_DEVICES"]) == ("2", "3,4")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environment(make_spec("dpo", tmp_path, launch=LaunchConfig(processes=2)))["OMP_NUM_THREADS"] == "3"


def test_an_accelerate_file_says_how_many_processes_share_the_cores(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    file = tmp_path / "fsdp.yaml"
    launch = LaunchConfig(accelerate_config=file)
    spec = make_spec("dpo", tmp_path, launch=launch)
    with pytest.raises(TrainingError, match=r"fsdp\.yaml cannot be read"):
        environment(spec)
    file.write_text("distributed_type: FSDP\nnum_processes: 2\n")
    assert processes_here(launch) == 2
    assert environment(spec)["OMP_NUM_THREADS"] == "4"
    as_two = checkpoint_layout(launch)
    file.write_text("distributed_type: FSDP\nnum_processes: 4\n")
    assert checkpoint_layout(launch) != as_two  # another number of processes cannot resume its checkpoint
    assert checkpoint_layout(LaunchConfig(processes=2)) == checkpoint_layout(LaunchConfig())  # but here it can
    file.write_text("distributed_type: FSDP\nnum_machines: 2\nnum_processes: 4\n")
    with pytest.raises(TrainingError, match=r"for 2 machines and launch\.nodes is 1"):
        environment(spec)
    assert processes_here(LaunchConfig(accelerate_config=file, nodes=2, rendezvous="a:1")) == 2


def test_asking_for_training_imports_nothing_heavy() -> None:
    code = "import sys, spar_core.training; print([m for m in ('torch', 'transformers', 'trl') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_leaving_early_ends_the_subprocess(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec("sft", save_tiny_model(tmp_path / "m"), rows=64, epochs=100.0, checkpoint_steps=1600)

    def interrupt(_step: int, _metrics: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, interrupt)
    assert workers(spec) == []
    assert not spec.output_folder.exists()


@pytest.mark.slow
def test_kill_9_leaves_no_training_behind_and_the_rerun_gives_the_same_model(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    start = save_tiny_model(tmp_path / "m")
    settings = {"rows": 64, "epochs": 20.0, "checkpoint_steps": 20}
    spec = make_spec("dpo", start, "killed", **settings)
    asking = in_another_process(spec, tmp_path / "spec.json")
    wait_until(lambda: (spec.work / "checkpoints" / "checkpoint-40" / "complete").exists())
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    wait_until(lambda: workers(spec) == [])
    resumed = train(spec)
    whole = train(make_spec("dpo", start, "whole", **settings))
    assert resumed.resumed_from_step >= 40
    assert resumed.steps == whole.steps == 320
    assert model_digest(resumed.model_folder) == model_digest(whole.model_folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_two_processes_equal_accumulation_of_two(make_spec: MakeSpec, tmp_path: Path, kind: str) -> None:
    start = save_tiny_model(tmp_path / "m")
    settings = {"sft_reduction": "sequence"} if kind == "dpo" else {}
    losses: dict[str, dict[int, float]] = {"one": {}, "two": {}}
    for name, launch in (("one", LaunchConfig(threads=1)), ("two", LaunchConfig(processes=2, threads=1))):

        def collect(step: int, metrics: dict[str, float], name: str = name) -> None:
            if "loss" in metrics:
                losses[name][step] = metrics["loss"]

        train(make_spec(kind, start, name, launch=launch, **settings), collect)
    assert losses["two"] == pytest.approx(losses["one"], abs=1e-4)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_specification_survives_json(make_spec: MakeSpec, tmp_path: Path) -> None:
    for kind in ("dpo", "sft"):
        spec = make_spec(kind, tmp_path)
        assert TrainingSpec.model_validate_json(spec.model_dump_json()) == spec
    wrong = json.loads(make_spec("sft", tmp_path).model_dump_json()) | {"kind": "dpo"}
    del wrong["config"]["loss_turns"]  # what pairs have not
    assert TrainingSpec.model_validate(wrong).kind == "dpo"
    with pytest.raises(ValueError, match="not a multiple"):
        make_spec("sft", tmp_path, batch_size=5, micro_batch_size=2)
