"""Where a home's user interfaces answer: on the same ports every time, so that links from one into the other last.

The pages of `spar view` have one address per thing. Whoever links to one makes the address here:

    view_page(home, places.tree(tree_id))     # http://127.0.0.1:PORT/trees/TREE_ID
"""

from typing import Literal

from spar_core.ports import free_port, port_is_free
from spar_core.secrets import HIDDEN, redacted_text
from storage.disk import read_json, write_json
from storage.home import Home
from storage.mlflow_store import experiment_page, is_tracking_server, shared_uri

Interface = Literal["prefect", "mlflow", "view"]
_HOST = "127.0.0.1"


def known_port(home: Home, interface: Interface) -> int:
    """The port an interface of the home is given, whether it runs or not.

    Raises:
        StorageError: the home cannot be written.
    """
    port = kept_port(home, interface)
    return _remember(home, interface, free_port()) if port is None else port


def kept_port(home: Home, interface: Interface) -> int | None:
    """The port an interface of the home was given; None where it was given none yet. Writes nothing."""
    port = (read_json(home.root / "ports.json") or {}).get(interface)
    return port if isinstance(port, int) else None


def port_to_listen_on(home: Home, interface: Interface) -> int:
    """The interface's port; another one from now on where somebody else listens there.

    Raises:
        StorageError: the home cannot be written.
    """
    port = known_port(home, interface)
    return port if port_is_free(port) else _remember(home, interface, free_port())


def mlflow_page(home: Home, mlflow_run: str, experiment: str) -> str:
    """Address of a run in MLflow: on the server that is shared, else on the home's own, which answers while `spar ui`
    is open."""
    place = shared_mlflow() or f"http://{_HOST}:{known_port(home, 'mlflow')}"
    return f"{place}/{experiment_page(experiment, mlflow_run)}"


def shared_mlflow() -> str | None:
    """Address of the MLflow server that MLFLOW_TRACKING_URI names, without a password; None where it names none."""
    shared = shared_uri()
    if shared is None or not is_tracking_server(shared):
        return None
    return redacted_text(shared.rstrip("/")).replace(f"{HIDDEN}@", "")


def view_page(home: Home, place: str) -> str:
    """Address of a page (`storage.places`) of the home's `spar view`, which also answers while `spar ui` is open."""
    return f"http://{_HOST}:{known_port(home, 'view')}{place}"


def _remember(home: Home, interface: Interface, port: int) -> int:
    ports = read_json(home.root / "ports.json") or {}
    write_json(home.root / "ports.json", ports | {interface: port})
    return port
