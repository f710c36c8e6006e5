from collections.abc import Iterator

import pytest

from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.vllm_server import VllmServer
from spar_core.starter import base_model_dir
from tests.vllm.vllm_environment import PYTHON


@pytest.fixture(scope="module")
def starter_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """The starter's base behind a server of its own."""
    config = VllmEngineConfig(
        python=str(PYTHON),
        dtype="float32",
        cpu_cache_gib=1,
        extra_args=("--enforce-eager",),
        log_folder=tmp_path_factory.mktemp("logs"),
    )
    running = VllmServer(config, str(base_model_dir()))
    yield running
    running.stop()
