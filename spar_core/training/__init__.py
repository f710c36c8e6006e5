"""Training in a subprocess: `train(TrainingSpec)` reads Parquet and a model folder, writes a safetensors folder."""

from spar_core.training.launch import train
from spar_core.training.specification import TrainingOutcome, TrainingSpec

__all__ = ["TrainingOutcome", "TrainingSpec", "train"]
