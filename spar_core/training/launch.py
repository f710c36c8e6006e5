"""Run one training in a subprocess, so that its memory is free afterwards and several processes are only settings."""

import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from spar_core.errors import TrainingError
from spar_core.hashing import file_digest, model_digest
from spar_core.training.commands import check_exportable, checkpoint_layout, command, environment
from spar_core.training.failures import explain_failure
from spar_core.training.meeting import invited
from spar_core.training.model_folder import PROVENANCE, check_model_folder, check_weights
from spar_core.training.process_group import stop_group
from spar_core.training.progress import MetricsCallback, MetricsTail
from spar_core.training.specification import TrainingOutcome, TrainingSpec
from spar_core.training.spread import spread
from spar_core.training.workspace import Workspace

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
    if spec.weights_folder != spec.model_folder:
        check_weights(spec.weights_folder)
    check_exportable(spec.launch)
    identity = spec.identity(model_digest(spec.model_folder), [_data_digest(file) for file in spec.data_files])
    spec = spread(spec)  # its identity is that of what was asked: how it is spread follows the machine
    workspace = Workspace(spec.work)
    finished(spec, identity)  # a taken output folder is said before anything is created
    with workspace.owned(_LOCK_WAIT_SECONDS) as lock:
        outcome = finished(spec, identity)
        if outcome is None:
            workspace.claim(identity, checkpoint_layout(spec.launch))
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
    with spec.log.open("ab") as log, _invitation(spec, identity, workspace) as token:
        log_start = log.tell()
        process = subprocess.Popen(
            command(spec, identity, workspace.spec_file, token=token),
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


def _invitation(spec: TrainingSpec, identity: str, workspace: Workspace) -> AbstractContextManager[str]:
    if spec.launch.nodes == 1:
        return nullcontext("")
    if spec.meeting_folder is None:
        raise TrainingError(f"launch.nodes is {spec.launch.nodes}: give a meeting_folder where the others find it.")
    if spec.launch.meeting_point is None:
        raise TrainingError(
            f"launch.nodes is {spec.launch.nodes}: name where they meet, launch.rendezvous=HOST:PORT of the first."
        )
    return invited(spec.meeting_folder, workspace.spec_file, identity)


def _data_digest(file: Path) -> str:
    try:
        return file_digest(file)
    except OSError as error:
        raise TrainingError(f"Cannot read training data {file}: {error.strerror}.") from error
