"""Homes in an object store for tests: every worker has a working folder of its own."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.home import Home
from tests.storage.object_server import make_bucket, object_server, variables

Worker = Callable[[str], Home]


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """A real S3 server."""
    with object_server() as address:
        yield address


@pytest.fixture
def s3_url(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A home that nobody has used yet, and the way to its server."""
    for name, value in variables(s3_address).items():
        monkeypatch.setenv(name, value)
    bucket = f"b-{secrets.token_hex(6)}"
    make_bucket(s3_address, bucket)
    return f"s3://{bucket}/homes/own"


@pytest.fixture
def worker(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Makes the home as a machine of this name sees it."""

    def make(name: str) -> Home:
        with monkeypatch.context() as patch:
            patch.setenv("SPAR_WORK", str(tmp_path / name))
            return Home(s3_url)

    return make
