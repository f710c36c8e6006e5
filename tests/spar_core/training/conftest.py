from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from training_data import example_rows, pair_rows, write_parquet

from spar_core.config.launch import LaunchConfig
from spar_core.config.training import DpoTrainingConfig, SftTrainingConfig
from spar_core.training import TrainingSpec


@pytest.fixture(autouse=True)
def restored_determinism() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def make_spec(tmp_path: Path) -> Callable[..., TrainingSpec]:
    """Specs of small trainings: 16 rows, 4 optimiser steps, rates at which weights visibly move."""

    def make(kind: str, model: Path, output: str = "out", rows: int = 16, **settings: object) -> TrainingSpec:
        data = tmp_path / f"{kind}-{rows}.parquet"
        write_parquet(data, pair_rows(rows) if kind == "dpo" else example_rows(rows))
        common = {"learning_rate": 1e-2, "epochs": 1.0, "batch_size": 4, "micro_batch_size": 2, "max_length": 100}
        config_class = DpoTrainingConfig if kind == "dpo" else SftTrainingConfig
        launch = settings.pop("launch", LaunchConfig(threads=1))
        seed = settings.pop("seed", 0)
        return TrainingSpec(
            kind=kind,
            model_folder=model,
            data_files=(data,),
            output_folder=tmp_path / output,
            config=config_class(**{**common, "log_steps": 1, **settings}),
            launch=launch,
            seed=seed,
        )

    return make
