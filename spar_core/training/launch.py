"""Run one training in a subprocess, so that its memory is free afterwards and several processes are only settings."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from spar_core.config.launch import LaunchConfig
from spar_core.errors import TrainingError
from spar_core.hashing import digest, file_digest, model_digest
from spar_core.processes import process_mark
from spar_core.processors import usable_cores, wanted_threads
from spar_core.secrets import with_values
from spar_core.training.failures import explain_failure
from spar_core.training.model_folder import PROVENANCE, check_model_folder
from spar_core.training.parentage import PARENT_VARIABLE
from spar_core.training.process_group import stop_group
from spar_core.training.progress import MetricsCallback, MetricsTail
from spar_core.training.specification import TrainingOutcome, TrainingSpec
from spar_core.training.workspace import Workspace

_WORKER = "spar_core.training.worker"
_POLL_SECONDS = 0.1
_LOCK_WAIT_SECONDS = 20.0  # a worker whose launcher was killed notices within half a second, then frees the lock


def train(
    spec: TrainingSpec, on_metrics: MetricsCallback | None = None, stopped: Callable[[], bool] = lambda: False
) -> TrainingOutcome:
    """Train as specified and return when the new model stands at `spec.output_folder`.

    Interrupted trainings of the same content continue from their last checkpoint; a finished one is returned as it
    is. Whatever ends this call early (an exception of `on_metrics`, KeyboardInterrupt) ends the subprocess too.

    Args:
        spec: what to do.
        on_metrics: receives (step, metrics) while training runs, in this thread.
        stopped: asked all the time; once it says yes, the subprocess is ended.

    Raises:
        TrainingError: the model, the data or the subprocess failed; the message says what to do next and names the
            log.
    """
    check_model_folder(spec.model_folder)
    identity = spec.identity(model_digest(spec.model_folder), [_data_digest(file) for file in spec.data_files])
    workspace = Workspace(spec.work)
    finished(spec, identity)  # a taken output folder is said before anything is created
    with workspace.owned(_LOCK_WAIT_SECONDS) as lock:
        outcome = finished(spec, identity)
        if outcome is None:
            workspace.claim(digest([identity, *_launched_as(spec.launch)]))
            workspace.spec_file.write_text(spec.model_dump_json(indent=1), encoding="utf-8")
            _run(spec, identity, workspace, lock, on_metrics or (lambda _step, _metrics: None), stopped)
            outcome = finished(spec, identity)
        if outcome is None:
            raise TrainingError(f"Training ended without a model at {spec.output_folder}; see {spec.log}.")
        workspace.remove()
    return outcome


def finished(spec: TrainingSpec, identity: str) -> TrainingOutcome | None:
    """Outcome that stands at the output folder already, if it is that of this training.

    Raises:
        TrainingError: something else stands there.
    """
    if not spec.output_folder.exists():
        return None
    try:
        outcome = TrainingOutcome.from_json((spec.output_folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        outcome = None
    if outcome is None or outcome.identity != identity:
        raise TrainingError(
            f"{spec.output_folder} exists already and holds something else; remove it or choose another output folder."
        )
    return outcome._replace(model_folder=spec.output_folder, log_file=spec.log)


def command(spec: TrainingSpec, identity: str, spec_file: Path) -> list[str]:
    """Command line of the subprocess."""
    worker = ["-m", _WORKER, str(spec_file), identity]
    launch = spec.launch
    if launch.accelerate_config is not None:
        launcher = ["-m", "accelerate.commands.launch", "--config_file", str(launch.accelerate_config)]
        return [sys.executable, *launcher, *worker]
    if launch.processes > 1:
        # `accelerate launch --cpu --num_processes N` starts a single process; torchrun starts N on CPU and GPU alike.
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(launch.processes)]
        return [sys.executable, *launcher, *worker]
    return [sys.executable, *worker]


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
        PARENT_VARIABLE: process_mark(os.getpid()),
        **_one_device(spec),
        **with_values(spec.launch.environment, "training.launch.environment"),
    }


def processes_here(launch: LaunchConfig) -> int:
    """Training processes on this machine: as configured, or as the accelerate file says.

    Raises:
        TrainingError: the accelerate file cannot be read.
    """
    if launch.accelerate_config is None:
        return launch.processes
    try:
        settings = yaml.safe_load(launch.accelerate_config.read_text(encoding="utf-8"))
        return max(1, int(settings.get("num_processes", 1)) // int(settings.get("num_machines", 1)))
    except (OSError, ValueError, AttributeError, ArithmeticError, yaml.YAMLError) as error:
        raise TrainingError(
            f"launch.accelerate_config {launch.accelerate_config} cannot be read ({error}): make it with "
            "`accelerate config`, or unset it"
        ) from error


def _launched_as(launch: LaunchConfig) -> list[str | int]:
    """What a checkpoint fits: its shards belong to one number of processes, and to one way of sharding."""
    if launch.accelerate_config is None:
        return [launch.processes]
    return [processes_here(launch), file_digest(launch.accelerate_config)]


def _one_device(spec: TrainingSpec) -> dict[str, str]:
    """One visible GPU for one process: with several, the trainer would split batches in a way TRL refuses."""
    if spec.launch.processes > 1 or spec.launch.accelerate_config is not None:
        return {}
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}


def _run(
    spec: TrainingSpec,
    identity: str,
    workspace: Workspace,
    lock: int,
    receive: MetricsCallback,
    stopped: Callable[[], bool],
) -> None:
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    tail = MetricsTail(workspace.metrics_file)
    with spec.log.open("ab") as log:
        log_start = log.tell()
        process = subprocess.Popen(
            command(spec, identity, workspace.spec_file),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(spec),
            pass_fds=(lock,),
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                if stopped():
                    raise TrainingError(f"{spec.label}: interrupted; run again to go on from its last checkpoint")
                tail.pass_on(receive)
                time.sleep(_POLL_SECONDS)
            tail.pass_on(receive)
        finally:
            stop_group(process)
    if process.returncode != 0:
        message = workspace.failure() or explain_failure(spec.log, log_start, process.returncode)
        raise TrainingError(f"{spec.label}: {message} Log: {spec.log}")


def _data_digest(file: Path) -> str:
    try:
        return file_digest(file)
    except OSError as error:
        raise TrainingError(f"Cannot read training data {file}: {error.strerror}.") from error
