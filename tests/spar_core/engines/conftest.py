from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import write_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny random model of the named architecture, made once."""
    made: dict[str, Path] = {}

    def folder(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = write_model(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return folder
