"""Trainings in this process, whole or ended in the middle."""

from typing import Any

from transformers import TrainerCallback

from spar_core.training import TrainingOutcome, TrainingSpec
from spar_core.training.session import run_session
from spar_core.training.workspace import Workspace


class StopAt(TrainerCallback):
    """Ends the process' work in the middle of training, as a kill would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: object, state: Any, control: object, **_: object) -> None:
        if state.global_step == self._step:
            raise KeyboardInterrupt


def run(spec: TrainingSpec, *callbacks: TrainerCallback) -> TrainingOutcome:
    """Train as the worker process does; gives what stands beside the trained weights."""
    workspace = Workspace(spec.work)
    workspace.folder.mkdir(exist_ok=True)
    workspace.claim("same", "whole")
    run_session(spec, "same", callbacks=callbacks)
    return TrainingOutcome.from_json((spec.output_folder / "training_provenance.json").read_text())
