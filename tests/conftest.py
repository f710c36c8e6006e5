import os
from pathlib import Path

import pytest

from spar_core.constraints import nltk_data

_DEFAULT = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """The folder of benchmark data and goldens; NLTK's resources in it are put in use."""
    folder = Path(os.environ.get("SPAR_DATA_DIR", _DEFAULT)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no benchmark data at {folder}; set SPAR_DATA_DIR")
    if (folder / "nltk_data").is_dir():
        nltk_data.use_folder(folder / "nltk_data")
    return folder
