import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """The folder of benchmark data and goldens; NLTK's resources are looked for in it too."""
    folder = Path(os.environ.get("SPAR_DATA_DIR", _DEFAULT)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no benchmark data at {folder}; set SPAR_DATA_DIR")
    os.environ["SPAR_DATA_DIR"] = str(folder)
    return folder
