"""What a home in an object store keeps besides artifacts: ledger, pins, MLflow's database, journals, its identity."""

import sqlite3
from contextlib import closing

import pytest

from flows.wiring.request import RunRequest
from spar_core.errors import ConfigError, StorageError
from storage.home import Home
from storage.home_record import LAYOUT
from storage.journal import Journal
from storage.ledger import Ledger
from storage.objects import as_url
from storage.pins import Pins
from tests.storage.object_server import FaultyProxy

pytest_plugins = ["tests.storage.remote_homes"]


@pytest.mark.parametrize(
    ("place", "url"),
    [("s3://b/p/q/", "s3://b/p/q"), ("s3:/b/p", "s3://b/p"), ("s3://b", "s3://b"), ("/s3/b", None), (".spar", None)],
)
def test_addresses_are_told_from_folders(place, url):
    assert as_url(place) == url


def test_the_working_folder_is_the_same_home(worker, s3_url):
    home = worker("one")
    again = Home(home.root)
    assert again.address == home.address == s3_url
    assert again.remote is home.remote
    assert Home(home.root.parent).remote is None


def test_the_next_worker_finds_ledger_pins_and_tracking(worker):
    one, two = worker("one"), worker("two")
    with pytest.raises(StorageError, match="no home yet"):
        _ = one.identity
    with one.lock():
        Ledger(one).open_run("r", {"seed": 3})
        Pins(frozenset({"r"})).write(one)
        one.mlflow.mkdir()
        count(one, 3)
    with two.lock():
        assert [run.run_id for run in Ledger(two).runs()] == ["r"]
        assert Pins.of(two).runs == {"r"}
        assert counted(two) == [3]
        count(two, 4)
        assert two.identity == one.identity
    with one.lock():
        assert counted(one) == [3, 4]
    assert two.lock_holder() is None


def count(home, value):
    with closing(sqlite3.connect(home.mlflow / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS counts (n)")
        database.execute("INSERT INTO counts VALUES (?)", [value])


def counted(home):
    with closing(sqlite3.connect(home.mlflow / "mlflow.db")) as database:
        return [n for (n,) in database.execute("SELECT n FROM counts ORDER BY n")]


def test_what_was_answered_of_a_part_that_was_broken_off_is_not_asked_again(worker):
    one, two = worker("one"), worker("two")
    file = one.journal_file("trees", "k", 0)
    journal = Journal(file)
    journal.put("question", "answer")
    one.remote.keep_journal(file)
    journal.close()

    other = two.journal_file("trees", "k", 0)
    two.remote.bring_journal(other)
    found = Journal(other)
    assert found.get("question") == "answer"
    found.close()
    two.remote.discard_journals(other.parent)
    assert not one.remote.objects.listed("journal")


def test_a_later_layout_is_refused(worker):
    home = worker("one")
    home.remote.objects.write("home.json", b'{"layout": %d, "identity": "x"}' % (LAYOUT + 1))
    with pytest.raises(StorageError, match="laid out by a later version"):
        home.check_layout()
    with pytest.raises(StorageError, match="laid out by a later version"), home.lock():
        raise AssertionError("it is held")
    assert home.lock_holder() is None


def test_a_store_without_conditional_writes_is_refused(s3_address, s3_url, tmp_path, monkeypatch):
    proxy = FaultyProxy(s3_address)
    try:
        proxy.drops_conditions = True
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        monkeypatch.setenv("SPAR_WORK", str(tmp_path))
        home = Home(f"{s3_url}/old")
        with pytest.raises(StorageError, match="ignores conditional writes"), home.lock():
            raise AssertionError("it is held")
        assert not home.remote.objects.listed("")
    finally:
        proxy.close()


def test_what_is_not_there_is_told_before_work_starts(worker, s3_url, monkeypatch, tmp_path):
    monkeypatch.setenv("SPAR_WORK", str(tmp_path))
    missing = Home("s3://b-that-nobody-made/p")
    with pytest.raises(StorageError, match="no such bucket"), missing.lock():
        raise AssertionError("it is held")
    with pytest.raises(ConfigError, match="give --home a shared folder"):
        RunRequest(
            preset="smoke", home=s3_url, overrides=["training.launch.nodes=2", "training.launch.rendezvous=a:1"]
        ).resolve()
