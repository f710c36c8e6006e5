"""What a run will need before it has run: memory, tokens, time. Formulas only; nothing here loads a model.

shape = KNOWN["meta-llama/Meta-Llama-3-8B-Instruct"]
training_memory(shape, TrainingLoad(sequences=2, tokens=2048, checkpointing=True, sharded=True), gpus=8).total
"""

from spar_core.planning.assumptions import Assumptions
from spar_core.planning.known_models import KNOWN
from spar_core.planning.serving_memory import ServingMemory, serving_memory
from spar_core.planning.shapes import ModelShape
from spar_core.planning.training_memory import TrainingLoad, TrainingMemory, training_memory

__all__ = [
    "KNOWN",
    "Assumptions",
    "ModelShape",
    "ServingMemory",
    "TrainingLoad",
    "TrainingMemory",
    "serving_memory",
    "training_memory",
]
