"""The lease on a home in an object store: one holder, and a next one only when that is gone."""

import threading

import pytest

from spar_core.errors import StorageError
from storage.home import HomeInUseError
from storage.lease import HeldElsewhereError, Lease
from storage.ledger import Ledger
from storage.objects import object_store

pytest_plugins = ["tests.storage.remote_homes"]
SHORT_S = 3.0


@pytest.fixture
def objects(s3_url):
    return object_store(s3_url)


def test_it_is_refused_while_its_holder_lives_and_free_when_that_let_go(objects):
    held = Lease.take(objects, "one", SHORT_S)
    with pytest.raises(HeldElsewhereError, match="is in use by a worker on"):
        Lease.take(objects, "two", SHORT_S)
    held.check()
    held.release()
    Lease.take(objects, "two", SHORT_S).release()


def test_a_dead_holder_is_waited_for_and_the_one_who_comes_back_knows(objects):
    renewed = threading.Event()
    dead = Lease.take(objects, "one", 3600.0)  # does not renew in the time of this test
    content, tag = objects.read("lease.json")
    objects.exchange("lease.json", content.replace(b"3600.0", b"0.2"), tag)  # as if it had died with a short one
    lease = Lease.take(objects, "two", SHORT_S, renewed.set)
    assert renewed.wait(60)
    dead._stopped.set()  # it comes back, and renews
    assert objects.exchange("lease.json", b"{}", tag) is None
    lease.release()


def test_the_same_working_folder_takes_it_again_at_once(objects):
    Lease.take(objects, "one", 3600.0)
    Lease.take(objects, "one", SHORT_S).release()


def test_a_holder_that_was_overtaken_writes_no_more(worker):
    home = worker("one")
    with home.lock():
        Ledger(home).open_run("r", {})
        lease = home.remote._lease
        _, tag = home.remote.objects.read("lease.json")
        home.remote.objects.exchange("lease.json", b'{"worker": "two", "host": "h", "seconds": 9}', tag)
        lease._length_s = 0.0
        lease._stopped.set()
        lease._renewer.join()
        lease._stopped.clear()
        lease._renewer = threading.Thread(target=lease._renew)
        lease._renewer.start()
        lease._renewer.join()
        with pytest.raises(StorageError, match="another worker has taken over"):
            Ledger(home).close_run("r", "completed")
    assert Ledger(worker("one")).run("r").state == "running"


def test_a_home_that_another_worker_holds_is_in_use(worker, monkeypatch):
    monkeypatch.setattr("storage.remote.LEASE_S", SHORT_S)
    one, two = worker("one"), worker("two")
    with one.lock(), pytest.raises(HomeInUseError, match="is in use by a worker"), two.lock():
        raise AssertionError("both hold it")
    with two.lock():
        assert two.lock_holder() is not None
