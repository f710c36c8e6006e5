"""TRL's own GRPO trainer takes the registry's reward as it is."""

from importlib import import_module
from pathlib import Path

import pytest
from trainable_models import save_tiny_model

from spar_core.constraints.rewards import constraint_reward
from spar_core.training.loading import load_tokenizer


@pytest.mark.slow
def test_grpo_trains_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The folder tests/vllm is on the path of this process, and TRL takes it for a vLLM without a version.
    monkeypatch.setattr(import_module("trl.import_utils"), "is_vllm_available", lambda *_, **__: False)
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    folder = save_tiny_model(tmp_path / "model")
    constraints = [{"kind": "punctuation:no_comma", "kwargs": "{}"}]
    rows = Dataset.from_list([{"prompt": "a", "constraints": constraints}] * 2)
    arguments = GRPOConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=4,
        use_cpu=True,
        bf16=False,
        report_to=[],
    )
    trainer = GRPOTrainer(
        str(folder), constraint_reward, args=arguments, train_dataset=rows, processing_class=load_tokenizer(folder)
    )
    trainer.train()
    (logged,) = [entry for entry in trainer.state.log_history if "rewards/constraint_reward/mean" in entry]
    assert 0.0 <= logged["rewards/constraint_reward/mean"] <= 1.0
