import os
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the API of a real Prefect server that every test shares; child processes find it too."""
    from flows.serving.prefect_server import join_server, leave_server, prepare_environment, stop_client
    from storage.home import Home

    home = Home(tmp_path_factory.mktemp("prefect-server"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home.prefect))
        prepare_environment(home)
        server = join_server(home)
        patch.setenv("PREFECT_API_URL", server.api_url)
        from prefect.logging.configuration import ensure_logging_setup
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOGGING_LEVEL, temporary_settings

        ensure_logging_setup()  # now, while stderr is not that of one test
        # Prefect may have been imported, and have read its settings, before.
        known = {PREFECT_API_URL: server.api_url, PREFECT_HOME: home.prefect, PREFECT_LOGGING_LEVEL: "WARNING"}
        with temporary_settings(known):
            yield server.api_url
            stop_client()
    leave_server(home)
