"""A home in an object store: killed on one machine, continued on another, looked into from a third."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from flows.cli import invoke
from flows.view.reader import Reader
from spar_core.hashing import model_digest
from spar_core.starter import base_model_dir
from storage.artifacts import ArtifactStore
from storage.home import Home
from storage.objects import object_store
from tests.integration.command_line import SCRIPTED, spar, started

pytest_plugins = ["tests.storage.remote_homes"]
PROMPTS = 6


class Machines:
    """`spar search` on machines that share nothing but the store; `asked` is what each asked its model."""

    def __init__(self, url: str, server: str, folder: Path) -> None:
        self.url = url
        self._server = server
        self._folder = folder
        file = folder / "prompts.jsonl"
        file.write_text("".join(f'{{"prompt": "Name {n} birds."}}\n' for n in range(PROMPTS)), encoding="utf-8")
        self._search = ("search", "--json", "--prompts", file, "--out", folder / "out", *SCRIPTED)
        self._search += ("--actor", "starter", "--refiner", "starter", "--set", "orchestration.shard_size=3")
        self._search += ("--set", "orchestration.parallel_shards=1", "--set", "engine.latency_s=0.02")

    def variables(self, name: str) -> dict[str, str]:
        return {
            "PREFECT_API_URL": self._server,
            "SPAR_WORK": str(self._folder / name),
            "SCRIPT_LOG": str(self._folder / f"{name}.log"),
            "SCRIPT_MODEL": model_digest(base_model_dir()),
        }

    def search(self, name: str, home: str | Path) -> None:
        done = spar(*self._search, "--home", home, timeout=900, **self.variables(name))
        assert done.returncode == 0, done.stderr

    def killed_when_listed(self, name: str, wanted: str) -> None:
        """Kill -9 as soon as an object of this name is in the store."""
        process = started(*self._search, "--home", self.url, **self.variables(name))
        objects = object_store(self.url)
        try:
            while not any(wanted in entry.key for entry in objects.listed("artifacts")):
                assert process.poll() is None, "it ended before it could be killed"
                time.sleep(0.05)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()

    def asked(self, name: str) -> list[str]:
        return (self._folder / f"{name}.log").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def machines(s3_url: str, prefect_server: str, tmp_path: Path) -> Machines:
    return Machines(s3_url, prefect_server, tmp_path)


def digests(home: Home) -> dict[str, str]:
    return {entry.ref.stage: entry.ref.content_digest for entry in ArtifactStore(home).scan().whole}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_on_one_machine_and_continued_on_another(machines, tmp_path, monkeypatch, capsys):
    machines.killed_when_listed("one", "stage=judgements")
    machines.search("two", machines.url)
    machines.search("plain", tmp_path / "home")

    monkeypatch.setenv("SPAR_WORK", str(tmp_path / "reader"))
    reader = Home(machines.url)
    reader.check_layout()  # as every command that reads does: it brings the index
    assert digests(reader) == digests(Home(tmp_path / "home"))
    # The second asked nothing that a finished part of the first holds.
    asked = machines.asked("plain")
    assert len(machines.asked("two")) < len(asked)
    assert {*machines.asked("one"), *machines.asked("two")} == set(asked)

    assert invoke(["status", "--home", machines.url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {told["state"], *(row["state"] for row in told["stages"])} == {"completed"}
    counted = "SELECT count(*) AS n FROM trees JOIN tree_nodes USING (tree_id)"
    assert invoke(["sql", "--home", machines.url, "--json", counted]) == 0
    assert json.loads(capsys.readouterr().out)[0]["n"] > 0
    pages = Reader(reader)
    assert pages.one("SELECT count(*) AS n FROM runs") == {"n": 1}
    pages.close()
    assert not list(reader.root.rglob("*.parquet"))  # looked into, not copied
    assert invoke(["gc", "--home", machines.url]) == 1
    assert "does not clear up object stores" in capsys.readouterr().err
