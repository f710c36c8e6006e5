import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trainable_models import save_tiny_model

from spar_core.training import TrainingSpec
from spar_core.training.arguments import planned_steps, warmup_steps
from spar_core.training.loading import load_tokenizer, read_facts
from spar_core.training.session import prepare
from spar_core.training.trainers import ExampleTrainer, PairTrainer, sequence_mean_nll

MakeSpec = Callable[..., TrainingSpec]
PAIRS = [
    {"prompt_ids": [0, 5, 6], "chosen_ids": [7, 8, 9, 1], "rejected_ids": [10, 1]},
    {"prompt_ids": [0, 11], "chosen_ids": [12, 1], "rejected_ids": [13, 14, 1]},
]
BETA, SFT_WEIGHT = 0.5, 0.3


def answer_log_probs(model: torch.nn.Module, prompt: list[int], answer: list[int]) -> list[float]:
    """Log-probability of each answer token, one unpadded sequence at a time."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].double()
    return [float(torch.log_softmax(logits[len(prompt) + i - 1], dim=0)[token]) for i, token in enumerate(answer)]


def trainer_of(spec: TrainingSpec, rows: list[dict[str, list[int]]]) -> PairTrainer | ExampleTrainer:
    folder = spec.model_folder
    return prepare(spec, load_tokenizer(folder), read_facts(folder), rows)


def drift(model: torch.nn.Module) -> None:
    """Move the policy away from the reference, as training would."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize(("reduction", "weight"), [("token", SFT_WEIGHT), ("sequence", SFT_WEIGHT), ("token", 0.0)])
def test_pair_loss_equals_the_formula(make_spec: MakeSpec, tmp_path: Path, reduction: str, weight: float) -> None:
    folder = save_tiny_model(tmp_path / "m")
    spec = make_spec("dpo", folder, beta=BETA, sft_weight=weight, sft_reduction=reduction)
    trainer = trainer_of(spec, PAIRS)
    model = trainer.model
    reference = {
        (i, name): sum(answer_log_probs(model, row["prompt_ids"], row[name]))
        for i, row in enumerate(PAIRS)
        for name in ("chosen_ids", "rejected_ids")
    }
    drift(model)
    batch = trainer.data_collator(list(trainer.train_dataset))
    loss = trainer.compute_loss(model.train(), batch)

    chosen = [answer_log_probs(model, row["prompt_ids"], row["chosen_ids"]) for row in PAIRS]
    rejected = [answer_log_probs(model, row["prompt_ids"], row["rejected_ids"]) for row in PAIRS]
    preference = 0.0
    for i in range(2):
        margin = sum(chosen[i]) - reference[i, "chosen_ids"] - sum(rejected[i]) + reference[i, "rejected_ids"]
        assert abs(margin) > 0.1  # the drift shows
        preference += math.log1p(math.exp(-BETA * margin)) / 2
    by_token = -(sum(chosen[0]) + sum(chosen[1])) / 6  # 4 + 2 answer tokens
    by_sequence = -(sum(chosen[0]) / 4 + sum(chosen[1]) / 2) / 2
    assert abs(by_token - by_sequence) > 0.01
    term = by_token if reduction == "token" else by_sequence
    assert loss.item() == pytest.approx(preference + weight * term, abs=1e-4)
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_example_loss_is_the_mean_over_answer_tokens(make_spec: MakeSpec, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    spec = make_spec("sft", folder)
    rows = [
        {"input_ids": [0, 5, 6, 7, 1], "labels": [-100, -100, -100, 7, 1]},
        {"input_ids": [0, 8, 9], "labels": [-100, -100, 9]},
    ]
    trainer = trainer_of(spec, rows)
    model = trainer.model
    batch = trainer.data_collator(list(trainer.train_dataset))
    assert batch["labels"].tolist() == [[-100, -100, 9, -100, -100], [-100, -100, -100, 7, 1]]
    loss = trainer.compute_loss(model.train(), batch, num_items_in_batch=torch.tensor(3))
    scores = answer_log_probs(model, [0, 5, 6], [7, 1]) + answer_log_probs(model, [0, 8], [9])
    assert loss.item() == pytest.approx(-sum(scores) / 3, abs=1e-5)


def test_sft_term_by_sequence_on_literal_tensors() -> None:
    log_probs = torch.tensor([[-1.0, -2.0, -3.0, 0.0], [0.0, -4.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 0, 0]])
    assert sequence_mean_nll(log_probs, mask).item() == 3.0  # (6/3 + 4/1) / 2; by token it would be 10/4


def test_no_answer_token_is_lost_to_trl_truncation(make_spec: MakeSpec, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    row = {"prompt_ids": [0, *[5] * 60], "chosen_ids": [6] * 60, "rejected_ids": [7]}
    spec = make_spec("dpo", folder, max_length=128)
    trainer = trainer_of(spec, [row])
    assert isinstance(trainer, PairTrainer)
    batch = trainer.data_collator(list(trainer.train_dataset))
    assert batch["completion_mask"].sum(dim=1).tolist() == [60, 1]
    assert batch["input_ids"].shape == (2, 121)


@pytest.mark.parametrize(
    ("rows", "settings", "steps"),
    [
        (16, {}, 4),
        (17, {}, 5),
        (16, {"epochs": 1.5}, 6),
        (16, {"epochs": 3.0, "max_steps": 7}, 7),
        (16, {"max_steps": 7}, 7),  # exactly: 16 rows are 4 steps, the rows are repeated
    ],
)
def test_planned_steps(make_spec: MakeSpec, tmp_path: Path, rows: int, settings: dict[str, float], steps: int) -> None:
    assert planned_steps(make_spec("sft", tmp_path, **settings).config, rows) == steps


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (2, 1), (10, 1), (11, 2), (100, 10)])
def test_a_tenth_of_the_steps_warms_up_but_never_all(
    make_spec: MakeSpec, tmp_path: Path, steps: int, warmup: int
) -> None:
    assert warmup_steps(make_spec("sft", tmp_path, warmup_ratio=0.1).config, steps) == warmup
