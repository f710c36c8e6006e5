"""`spar gc` on the command line: dry first, pins by name, never beside a run."""

import json

import pytest

from flows.cli import invoke
from spar_core.errors import StorageError
from storage.home import Home
from storage.pins import Pins
from storage.registry import ModelVersion
from tests.storage.nights import Nights


class _Registry:
    """The actor's versions 1 to 3; the second is what an alias of champions names."""

    def __init__(self, home):
        self._home = home

    def versions(self, name):
        if name != "actor":
            return []
        aliases = {2: ("champion-starter",)}
        return [
            ModelVersion("actor", number, self._home.root, "d", "r", number - 1, aliases.get(number, ()))
            for number in (1, 2, 3)
        ]

    def resolve(self, reference):
        number = {"actor@champion-starter": 2, "actor/3": 3}.get(reference)
        if number is None:
            raise StorageError(f"there is no {reference!r}")
        return self.versions("actor")[number - 1]


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = Home(tmp_path / "home")
    nights = Nights(home, "r", age=99)
    for number in range(3):
        nights.night(number)
    monkeypatch.setattr("flows.commands.gc._registry", lambda home: _Registry(home))
    return home


@pytest.fixture
def gc(home, capsys):
    def run(*arguments, code=0):
        capsys.readouterr()
        assert invoke(["gc", "--home", str(home.root), "--keep-runs", "0", "--keep-days", "0", *arguments]) == code
        return capsys.readouterr()

    return run


def _models(home):
    return sorted(path.parent.name for path in home.artifacts.glob("stage=train_actor/*/model"))


def test_the_dry_run_deletes_nothing_and_delete_leaves_the_champion(home, gc):
    told = json.loads(gc("--json").out)
    assert not told["deleted"]
    assert told["bytes"] > 200_000
    assert {item["kind"] for item in told["items"]} == {"artifact"}
    assert len(_models(home)) == 3
    assert "Nothing was deleted" in gc().out
    assert "freed" in gc("--delete").out
    assert _models(home) == ["stage_key=r-1"]
    assert json.loads(gc("--json").out)["items"] == []


def test_pins_are_written_down_and_taken_back(home, gc):
    assert "Nothing was deleted" in gc("--pin", "actor/3").out
    assert Pins.of(home) == Pins(models=frozenset({"actor/3"}))
    gc("--delete")
    assert _models(home) == ["stage_key=r-1", "stage_key=r-2"]
    gc("--pin", "r", "--unpin", "actor/3")
    assert Pins.of(home) == Pins(runs=frozenset({"r"}))
    gc("--delete")
    assert _models(home) == ["stage_key=r-1", "stage_key=r-2"]
    gc("--unpin", "r", "--delete")
    assert _models(home) == ["stage_key=r-1"]
    Pins(models=frozenset({"actor/9"})).write(home)  # a version that is there no more
    gc("--unpin", "actor/9")
    assert Pins.of(home) == Pins()


@pytest.mark.parametrize("reference", ["nothing", "actor/9"])
def test_what_cannot_be_pinned_is_said(gc, home, reference):
    assert reference in gc("--pin", reference, code=1).err
    assert Pins.of(home) == Pins()


def test_nothing_is_deleted_beside_a_run(home, gc):
    with home.lock():
        assert "in use" in gc("--delete", code=1).err
        assert json.loads(gc("--json").out)["items"]
    assert len(_models(home)) == 3


def test_a_folder_that_is_no_home_is_named(tmp_path, capsys):
    assert invoke(["gc", "--home", str(tmp_path / "absent")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
