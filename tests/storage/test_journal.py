"""What was put is there after kill -9, and a damaged file costs its answers, not the run."""

import logging
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from spar_core.errors import StorageError
from storage.home import Home
from storage.journal import Journal, discard_journals


@pytest.fixture
def path(tmp_path):
    return Home(tmp_path).journal_file("search", "key", 3)


def test_answers_outlive_the_journal_object_and_the_first_one_stays(path):
    journal = Journal(path)
    assert journal.get("a") is None
    journal.put("a", "one \u00e9")
    journal.put("a", "two")
    journal.close()
    again = Journal(path)
    assert (again.get("a"), len(again)) == ("one \u00e9", 1)


_KILLED_WRITER = """
import sys
from pathlib import Path
from storage.journal import Journal, discard_journals
journal = Journal(Path(sys.argv[1]))
for number in range(1_000_000):
    journal.put(str(number), "answer " * 50 + str(number))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_kill_9_while_writing_loses_nothing_that_was_handed_on(path):
    process = subprocess.Popen([sys.executable, "-c", _KILLED_WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    handed_on = [int(process.stdout.readline()) for _ in range(500)]
    process.send_signal(signal.SIGKILL)
    handed_on += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    process.wait()
    process.stdout.close()
    journal = Journal(path)
    assert len(journal) - len(handed_on) in (0, 1), "at most the one between its put and its print"
    assert all(journal.get(str(number)) == "answer " * 50 + str(number) for number in handed_on)


def test_a_damaged_file_is_set_aside_with_a_warning(path, caplog):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with caplog.at_level(logging.WARNING):
        journal = Journal(path)
    assert "damaged" in caplog.text
    assert path.with_name(path.name + ".damaged-0").exists()
    journal.put("a", "fresh")
    assert journal.get("a") == "fresh"


def test_damage_inside_the_file_is_found_when_opening(path, caplog):
    journal = Journal(path)
    for number in range(500):
        journal.put(str(number), "x" * 500)
    journal.close()
    content = bytearray(path.read_bytes())
    content[8192:12288] = b"\xff" * 4096
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert len(Journal(path)) == 0
    assert "will be asked again" in caplog.text


def test_discarding_takes_every_shard_of_a_key_and_leaves_other_keys(path, tmp_path):
    home = Home(tmp_path)
    for file in (path, home.journal_file("search", "key", 4), home.journal_file("search", "other", 0)):
        Journal(file).put("a", "b")
    discard_journals(path.parent)
    assert [entry.name for entry in (home.journal / "search").iterdir()] == ["other"]
    discard_journals(home.journal_file("search", "other", 0).parent)
    assert list(home.journal.iterdir()) == []
    discard_journals(path.parent)  # there is nothing: nothing happens


def test_threads_share_one_journal(path):
    journal = Journal(path)

    def write(worker):
        for number in range(200):
            journal.put(f"{worker}/{number}", f"{worker}")
            assert journal.get(f"{worker}/{number}") == f"{worker}"

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal) == 800


def test_a_full_disk_says_what_to_do_and_keeps_what_is_there(path):
    journal = Journal(path)
    journal.put("kept", "x")
    journal._connection.execute("PRAGMA max_page_count = 6")  # SQLite answers SQLITE_FULL, as on a full disk
    with pytest.raises(StorageError, match="no space left on the disk"):
        journal.put("large", "x" * 100_000)
    assert (journal.get("kept"), journal.get("large")) == ("x", None)


def test_a_path_that_cannot_be_a_file_is_a_clear_error(path):
    path.mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot use the journal"):
        Journal(path)


def test_use_after_close_is_a_storage_error(path):
    journal = Journal(path)
    journal.close()
    with pytest.raises(StorageError):
        journal.get("a")
    assert sqlite3.connect(path).execute("SELECT count(*) FROM answers").fetchone() == (0,)
