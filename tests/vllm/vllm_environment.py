"""The environment in which vLLM is installed, and the marks of tests that need it."""

import os
from pathlib import Path

import pytest

PYTHON = Path(os.environ.get("SPAR_VLLM_PYTHON", Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"))


def needs_vllm(timeout_s: int) -> list[pytest.MarkDecorator]:
    """Marks of a module whose tests take at most so long each."""
    return [
        pytest.mark.vllm,
        pytest.mark.slow,
        pytest.mark.timeout(timeout_s),
        pytest.mark.skipif(not PYTHON.is_file(), reason=f"no vLLM environment at {PYTHON}: run `make vllm`"),
    ]
