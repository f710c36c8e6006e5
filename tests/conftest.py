import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import pytest

from storage import mlflow_store
from storage.home import Home

_DEFAULT = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first: a file of them that came last would leave all cores but one with nothing to do for minutes."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """The folder of benchmark data and goldens; NLTK's resources are looked for in it too."""
    folder = Path(os.environ.get("SPAR_DATA_DIR", _DEFAULT)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no benchmark data at {folder}; set SPAR_DATA_DIR")
    os.environ["SPAR_DATA_DIR"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_new_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow takes seconds to make a database: it makes one, and the homes of this process begin with copies."""
    found_at = mlflow_store.tracking_uri
    new, one_at_a_time = Home(tmp_path_factory.mktemp("mlflow")), Lock()

    def copied_first(home: Home) -> str:
        if mlflow_store.TRACKING_VARIABLE in os.environ:  # it is another database that a test is about
            return found_at(home)
        file = mlflow_store.database_file(home)
        with one_at_a_time:
            if file.parent.is_dir() and not file.exists():
                if not new.mlflow.is_dir():
                    from mlflow import MlflowClient

                    new.mlflow.mkdir()
                    MlflowClient(tracking_uri=found_at(new), registry_uri=found_at(new)).search_experiments()
                shutil.copyfile(mlflow_store.database_file(new), file)
        return found_at(home)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_store, "tracking_uri", copied_first)
        yield


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
