"""Step time, memory and model-FLOPs utilisation of training a Llama-3-8B-shaped model on one GPU.

    python benchmarks/training_scale.py                       # as many layers as fit, all cases
    python benchmarks/training_scale.py --layers 12 --cases full-dpo,lora-dpo --json figures.json
    python benchmarks/training_scale.py --tiny                # seconds on a CPU: sees that it runs

Random weights, made on the spot; random token ids, so no tokenizer and no data. Each case runs in a process of its own
through the product's own code (`session.prepare`: loading, sharding, TRL), for a few optimiser steps.

Cases: full-sft, full-dpo (all weights), sharded-dpo (the same through FSDP2, with a single share), offload-dpo (weights
and optimiser in CPU memory), lora-sft, lora-dpo (bf16 base), nf4-dpo (4-bit base; needs bitsandbytes).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CASES = ("full-sft", "full-dpo", "sharded-dpo", "lora-sft", "lora-dpo")
_GIB = 2**30
_SHAPE = {"hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 128256}
_TINY = {"hidden_size": 64, "intermediate_size": 128, "vocab_size": 512}
_BYTES_PER_WEIGHT = 16  # fp32 weights, gradients and two moments
_ROOM_GIB = 14  # activations, the passes' bf16 copies, the allocator
_MOST_LAYERS = 16  # more only make the benchmark longer


def main() -> None:
    """Make the model, run the cases one after another, print the table."""
    options = _options()
    if options.case:
        print("RESULT " + json.dumps(_measure(options)))
        return
    with tempfile.TemporaryDirectory(prefix="training-scale-") as scratch:
        folder = Path(scratch) / "model"
        options.layers = options.layers or (2 if options.tiny else _layers_that_fit())
        started = time.monotonic()
        _in_a_process(["--make"], options, folder)
        print(f"{options.layers} layers made in {time.monotonic() - started:.0f} s", flush=True)
        results = []
        for case in options.cases.split(","):
            results.append({"case": case, **_in_a_process(["--case", case], options, folder)})
            print(_line(results[-1]), flush=True)
    print(_table(results))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=0, help="decoder layers (0: as many as fit, at most 16)")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated")
    parser.add_argument("--steps", type=int, default=4, help="measured optimiser steps, after one to warm up")
    parser.add_argument("--batch", type=int, default=8, help="rows per optimiser step")
    parser.add_argument("--micro", type=int, default=1, help="rows per forward pass")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens per sequence, half of them the prompt")
    parser.add_argument("--case-seconds", type=float, default=120.0, help="a case that takes longer is given up")
    parser.add_argument("--tiny", action="store_true", help="a model of a few thousand weights, short rows")
    parser.add_argument("--json", help="also write the figures here")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tiny:
        options.tokens, options.batch, options.steps = 32, 4, 2
    if options.make:
        _make_model(options)
        print("RESULT {}")
        sys.exit()
    return options


def _in_a_process(what: list[str], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one step of the benchmark apart, so that its memory is its own; a failure is a result too."""
    names = ("layers", "steps", "batch", "micro", "tokens")
    numbers = [word for name in names for word in (f"--{name}", str(getattr(options, name)))]
    command = [sys.executable, __file__, *what, "--folder", str(folder), *numbers, *(["--tiny"] * options.tiny)]
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    quiet = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    meets = {**alone, "ACCELERATE_USE_CPU": "true"} if options.tiny else alone
    offloaded = {"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"}  # as the product's launcher sets them
    shared = {"sharded": meets, "offload": {**meets, **offloaded}}
    grouped = shared.get(what[-1].partition("-")[0], {})
    environment = {**os.environ, **quiet, **grouped}
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=options.case_seconds)
    except subprocess.TimeoutExpired:
        return {"error": f"more than {options.case_seconds:.0f} s"}
    for line in ended.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return found
    print(ended.stderr[-3000:], file=sys.stderr)
    return {"error": (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1][:200]}


def _layers_that_fit() -> int:
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device; --tiny shows that the benchmark runs")
    hidden, inner = _SHAPE["hidden_size"], _SHAPE["intermediate_size"]
    outside = 2 * _SHAPE["vocab_size"] * hidden
    layer = 2 * hidden * hidden + 2 * hidden * hidden // 4 + 3 * hidden * inner
    room = torch.cuda.get_device_properties(0).total_memory - _ROOM_GIB * _GIB
    return max(1, min(_MOST_LAYERS, int((room / _BYTES_PER_WEIGHT - outside) / layer)))


def _make_model(options: argparse.Namespace) -> None:
    """Configuration and random bf16 weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = _TINY if options.tiny else _SHAPE
    config = LlamaConfig(
        **shape,
        num_hidden_layers=options.layers,
        num_attention_heads=4 if options.tiny else 32,
        num_key_value_heads=2 if options.tiny else 8,
        max_position_embeddings=8192,
        rope_theta=500000.0,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    model.save_pretrained(options.folder)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """One case: figures of its optimiser steps."""
    import torch
    from transformers import TrainerCallback

    from spar_core.training.loading import read_facts
    from spar_core.training.session import prepare
    from spar_core.training.speed import mean_length, operations_per_token, peak_memory_bytes, peak_operations

    class Clock(TrainerCallback):  # type: ignore[misc]
        """When each step ended."""

        ends: list[float]

        def __init__(self) -> None:
            self.ends = []

        def on_step_end(self, _args: Any, _state: Any, control: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.ends.append(time.monotonic())
            control.should_save = False  # the trainer's last checkpoint, which takes longer than the steps

    spec, rows, clock = _spec(options), _rows(options), Clock()
    started = time.monotonic()
    trainer = prepare(spec, _tokenizer(options), read_facts(spec.model_folder), rows, 1, [clock])
    prepared, prepared_bytes = time.monotonic() - started, peak_memory_bytes()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    step = (clock.ends[-1] - clock.ends[0]) / (len(clock.ends) - 1)
    sequences = options.batch * (2 if spec.kind == "dpo" else 1)
    rate = sequences * mean_length(rows) / step
    operations = operations_per_token(trainer.model, read_facts(spec.model_folder).config, mean_length(rows))
    peak = peak_operations()
    weights = sum(weight.numel() for weight in trainer.model.parameters())
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "torch": torch.__version__,
        "layers": options.layers,
        "weights": weights,
        "trained": sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad),
        "prepare_seconds": prepared,
        "prepare_peak_gib": prepared_bytes / _GIB,
        "step_seconds": step,
        "tokens_per_second": rate,
        "mfu": rate * operations / peak if peak else None,
        "peak_gib": peak_memory_bytes() / _GIB,
        "loss": trainer.state.log_history[-1].get("train_loss"),
    }


def _spec(options: argparse.Namespace) -> Any:
    from spar_core.config.launch import LaunchConfig
    from spar_core.config.training import DpoTrainingConfig, LoraConfig, SftTrainingConfig
    from spar_core.training.specification import TrainingSpec

    class Shared(LaunchConfig):
        """FSDP2 with a single share, which the product leaves out as needless."""

        @property
        def shards(self) -> bool:
            return True

    method, kind = options.case.split("-")
    adapters = {"lora": LoraConfig(rank=32, alpha=64), "nf4": LoraConfig(rank=32, alpha=64, base_bits=4)}
    launches = {"sharded": Shared(sharding="full"), "offload": LaunchConfig(sharding="full", offload=True)}
    folder = Path(options.folder)
    settings = {
        "max_steps": options.steps + 1,
        "batch_size": options.batch,
        "micro_batch_size": options.micro,
        "max_length": 8192,
        "gradient_checkpointing": True,
        "checkpoint_steps": 10**6,
        "log_steps": 1,
        "lora": adapters.get(method),
    }
    spec = TrainingSpec(
        kind=kind,
        model_folder=folder,
        data_files=(folder / "none",),
        output_folder=folder.parent / options.case,
        config=DpoTrainingConfig(**settings) if kind == "dpo" else SftTrainingConfig(**settings),
    )
    # Past validation, which would make a plain LaunchConfig of it.
    return spec.model_copy(update={"launch": launches.get(method, spec.launch)})


def _rows(options: argparse.Namespace) -> list[dict[str, list[int]]]:
    import torch

    generator = torch.Generator().manual_seed(0)
    words, half = (_TINY if options.tiny else _SHAPE)["vocab_size"], options.tokens // 2

    def ids() -> list[int]:
        found: list[int] = torch.randint(2, words, (half,), generator=generator).tolist()
        return found

    count = options.batch * (options.steps + 1)
    if options.case.endswith("dpo"):
        return [{"prompt_ids": ids(), "chosen_ids": ids(), "rejected_ids": ids()} for _ in range(count)]
    answers = [ids() for _ in range(count)]
    return [{"input_ids": ids() + answer, "labels": [-100] * half + answer} for answer in answers]


def _tokenizer(options: argparse.Namespace) -> Any:
    """Only pads; the rows are token ids already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def _line(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"{result['case']}: {result['error']}"
    return f"{result['case']}: {result['step_seconds']:.2f} s per step, {result['peak_gib']:.1f} GiB"


def _table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| case | weights | trained | step, s | tokens/s | MFU | peak, GiB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for found in results:
        if "error" in found:
            lines.append(f"| {found['case']} | {found['error']} | | | | | |")
            continue
        mfu = "" if found["mfu"] is None else f"{found['mfu']:.1%}"
        lines.append(
            f"| {found['case']} | {found['weights'] / 1e9:.2f} B | {found['trained'] / 1e9:.3f} B | "
            f"{found['step_seconds']:.2f} | {found['tokens_per_second']:.0f} | {mfu} | {found['peak_gib']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
