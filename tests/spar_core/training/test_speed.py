from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from trainable_models import save_tiny_model
from transformers import AutoModelForCausalLM

from spar_core.training import speed
from spar_core.training.speed import SpeedMeter, mean_length, operations_per_token


@pytest.mark.parametrize("tied", [False, True])
def test_operations_equal_those_counted(tmp_path: Path, tied: bool) -> None:
    folder = save_tiny_model(tmp_path / "m", tied=tied)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    length = 24
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.zeros((1, length), dtype=torch.long)).logits.sum().backward()
    # Eager attention also computes what the causal mask hides: 6 x layers x width x length more per token.
    hidden_half = 6 * 2 * 16 * length
    assert counter.get_total_flops() / length == operations_per_token(model, model.config, length) + hidden_half


def test_frozen_weights_cost_two_thirds(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_tiny_model(tmp_path / "m"))
    whole = operations_per_token(model, model.config, 0)
    model.requires_grad_(False)
    assert operations_per_token(model, model.config, 0) == pytest.approx(whole * 4 / 6)


def test_speed_is_counted_from_report_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 12.0, 14.0])
    monkeypatch.setattr(speed.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(speed, "peak_operations", lambda: 1000.0)
    meter = SpeedMeter(processes=2)
    meter._per_token = 4.0
    meter.start()
    assert meter.since_last(100.0)["tokens_per_second"] == 10.0  # the first step, with all that starts in it
    assert meter.since_last(300.0)["mfu"] == pytest.approx(100 * 4 / 2000)
    assert meter.since_last(600.0)["tokens_per_second"] == 150.0
    assert meter.summary["tokens_per_second"] == 125.0  # without the first
    assert meter.summary["peak_memory_gib"] > 0


def test_a_pair_is_two_sequences() -> None:
    assert mean_length([{"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 5, 6]}]) == 4
    assert mean_length([{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, {"input_ids": [1], "labels": [1]}]) == 2
