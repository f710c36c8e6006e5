"""How many optimiser steps a training takes: known before anything is loaded."""

from spar_core.config.training import GrpoTrainingConfig, OptimisationConfig


def planned_steps(config: OptimisationConfig, rows: int) -> int:
    """Optimiser steps of the whole training; the last step of an epoch may hold fewer rows.

    `max_steps` is met exactly: epochs go on until it is reached.
    """
    if config.max_steps is not None:
        return config.max_steps
    if isinstance(config, GrpoTrainingConfig):  # whole batches alone: a group that is not whole has no baseline
        per_epoch = rows * config.group // config.batch_size
    else:
        per_epoch = -(-rows // config.batch_size)
    return -(-int(per_epoch * config.epochs * 1_000_000) // 1_000_000)
