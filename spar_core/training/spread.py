"""On how many processes a training runs where nobody said: several on a CPU, each with its own cores."""

import math

from spar_core.engines.placement import gpu_is_present, weight_bytes
from spar_core.processors import LARGE_MODEL, usable_cores, wanted_threads, whole_memory
from spar_core.training.specification import TrainingSpec

_STATE = 10  # bytes of memory per byte of 16-bit weights: these in fp32, gradients, two moments, buckets to exchange


def spread(spec: TrainingSpec) -> TrainingSpec:
    """The training with `launch.processes` decided.

    Two processes of one thread train a model faster on two cores than one process of two threads: within a layer none
    waits for another (docs/results/cpu-speed.md). No more rows are in work at once than before, so that activations
    take no more memory; weights, gradients and the optimiser's state are there once for each process. Results change
    as with another `micro_batch_size`: DPO's SFT term is averaged over the tokens of fewer rows at a time.
    """
    launch, config = spec.launch, spec.config
    if launch.processes is not None or launch.accelerate_config is not None:
        return spec
    weights = weight_bytes(spec.weights_folder)
    arranged = launch.nodes > 1 or launch.sharding != "none" or (launch.threads or wanted_threads()) is not None
    if arranged or spec.kind == "grpo" or gpu_is_present() or weights < LARGE_MODEL:
        return spec
    # Not the memory that is free just now: the number of processes changes the last bits of the weights.
    most = min(usable_cores(), int(whole_memory() / 2 / (_STATE * weights)))
    count = max((count for count in range(1, most + 1) if config.batch_size % count == 0), default=1)
    rows = math.gcd(config.batch_size // count, max(1, spec.micro_batch_size // count))
    return spec.model_copy(
        update={
            "launch": launch.model_copy(update={"processes": count}),
            "config": config.model_copy(update={"micro_batch_size": rows}),
        }
    )
