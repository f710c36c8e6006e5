"""How the subprocess of a training is started on one machine: its command line and environment."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from spar_core.config.launch import LaunchConfig
from spar_core.errors import TrainingError
from spar_core.hashing import file_digest
from spar_core.processors import usable_cores, wanted_threads
from spar_core.secrets import with_values
from spar_core.training.parentage import PARENT_VARIABLE, own_mark
from spar_core.training.specification import TrainingSpec

_WORKER = "spar_core.training.worker"
_JOINING_SECONDS = 1800  # how long the machines wait for each other


def command(spec: TrainingSpec, identity: str, spec_file: Path, node: int = 0, token: str = "") -> list[str]:
    """Command line of the subprocess.

    Args:
        spec: the training.
        identity: its name, for the worker.
        spec_file: where the worker reads the training.
        node: which of `launch.nodes` machines this is.
        token: name of this try of it, the same on all machines.
    """
    worker = ["-m", _WORKER, str(spec_file), identity]
    launch = spec.launch
    if launch.accelerate_config is not None:
        machine = ["--machine_rank", str(node)] if launch.nodes > 1 else []
        launcher = ["-m", "accelerate.commands.launch", "--config_file", str(launch.accelerate_config), *machine]
        return [sys.executable, *launcher, *worker]
    if launch.world == 1 and not launch.shards:
        return [sys.executable, *worker]
    # `accelerate launch --cpu --num_processes N` starts a single process; torchrun starts N on CPU and GPU alike.
    launcher = ["-m", "torch.distributed.run", *_meeting(launch, node, token)]
    return [sys.executable, *launcher, "--nproc_per_node", str(launch.per_machine), *worker]


def _meeting(launch: LaunchConfig, node: int, token: str) -> list[str]:
    if launch.meeting_point is None or launch.nodes == 1:
        return ["--standalone"]
    host, port = launch.meeting_point
    machines = ["--nnodes", str(launch.nodes), "--node_rank", str(node)]
    return [
        *(*machines, "--master_addr", host, "--master_port", str(port)),
        *("--rdzv_id", token, "--rdzv_conf", f"timeout={_JOINING_SECONDS}"),
    ]


def environment(spec: TrainingSpec) -> dict[str, str]:
    """Environment of the subprocess: the cores shared out among its processes, no network, no progress bars."""
    # Not the cores that are free just now: the number of threads changes the last bits of the weights.
    threads = spec.launch.threads or wanted_threads() or max(usable_cores() // processes_here(spec.launch), 1)
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",  # spinning threads run 3x to 30x slower beside any other busy process
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only with a fixed workspace
        PARENT_VARIABLE: own_mark(),
        **_backends(spec.launch),
        **_one_device(spec),
        **with_values(spec.launch.environment, "training.launch.environment"),
    }


def processes_here(launch: LaunchConfig) -> int:
    """Training processes on this machine: as configured, or as the accelerate file says.

    Raises:
        TrainingError: the accelerate file cannot be read, or asks for what cannot be done.
    """
    if launch.accelerate_config is None:
        return launch.per_machine
    settings = _accelerate_settings(launch.accelerate_config)
    try:
        machines = int(settings.get("num_machines", 1))
        processes = max(1, int(settings.get("num_processes", 1)) // machines)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise _unreadable(launch.accelerate_config, error) from error
    if machines != launch.nodes:
        raise TrainingError(
            f"launch.accelerate_config {launch.accelerate_config} is for {machines} machines and launch.nodes is "
            f"{launch.nodes}; set launch.nodes={machines} (and launch.rendezvous), so that the others are joined."
        )
    return processes


def checkpoint_layout(launch: LaunchConfig) -> str:
    """What a checkpoint fits: whole and sharded ones any number of processes, an accelerate file's only its own."""
    if launch.accelerate_config is not None:
        return f"{processes_here(launch)} processes of accelerate file {file_digest(launch.accelerate_config)[:8]}"
    return "launch.sharding=full" if launch.shards else "launch.sharding=none"


def check_exportable(launch: LaunchConfig) -> None:
    """Refuse an accelerate file with which the trained weights could not be written at the end.

    Raises:
        TrainingError: says what to change in it.
    """
    if launch.accelerate_config is None:
        return
    settings = _accelerate_settings(launch.accelerate_config)
    deepspeed = settings.get("deepspeed_config") or {}
    stage, gathers = deepspeed.get("zero_stage"), deepspeed.get("zero3_save_16bit_model")
    key, file = "zero3_save_16bit_model", launch.accelerate_config
    if deepspeed.get("deepspeed_config_file"):
        key, file = "stage3_gather_16bit_weights_on_model_save", Path(str(deepspeed["deepspeed_config_file"]))
        try:
            zero = json.loads(file.read_text(encoding="utf-8")).get("zero_optimization") or {}
        except (OSError, ValueError, AttributeError) as error:
            raise _unreadable(file, error) from error
        stage, gathers = zero.get("stage"), zero.get(key)
    if str(stage) == "3" and str(gathers).lower() != "true":
        raise TrainingError(
            f"{file} shards weights (ZeRO-3) and does not gather them for saving: set {key} to true there, else there "
            "would be no model at the end."
        )


def _accelerate_settings(file: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("no mapping")
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _unreadable(file, error) from error
    return settings


def _unreadable(file: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"launch.accelerate_config {file} cannot be read ({error}): make it with `accelerate config`, or unset it"
    )


def _backends(launch: LaunchConfig) -> dict[str, str]:
    """What makes accelerate open a CPU process group beside the GPU's, for gradients that are kept in CPU memory."""
    return {"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"} if launch.offload else {}


def _one_device(spec: TrainingSpec) -> dict[str, str]:
    """One visible GPU for one process: with several, the trainer would split batches in a way TRL refuses."""
    if spec.launch.per_machine > 1 or spec.launch.accelerate_config is not None:
        return {}
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
