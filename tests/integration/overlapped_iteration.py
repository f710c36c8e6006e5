"""The data of an iteration on a home, for a process that is killed: python -m tests.integration.overlapped_iteration"""

import sys
from pathlib import Path

from benchmarks.one_iteration import StageListener, make_iteration
from tests.integration.command_line import SCRIPT

SETTINGS = (
    "engine.kind=scripted",
    f"engine.script={SCRIPT}",
    "prompts.source=file",
    "prompts.per_iteration=12",
    "method.refiner_data.replay_fraction=0",
    "orchestration.shard_size=3",  # four shards, three of them at once: the last has free places beside it
    "orchestration.parallel_shards=3",
    "orchestration.requests_in_flight=4",
)

if __name__ == "__main__":
    make_iteration(Path(sys.argv[1]), [*SETTINGS, *sys.argv[2:]], StageListener())
