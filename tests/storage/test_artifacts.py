"""An artifact is whole or it is not there, whatever happened to the process or the disk."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise

import pytest

from spar_core.errors import StorageError
from spar_core.hashing import model_digest
from spar_core.processes import process_mark
from spar_core.records import Drop, PreferencePair, Prompt, Tree, Verdict, Vote
from storage import parts as parts_module
from storage.artifacts import ArtifactStore, Provenance
from storage.digests import RowsDigest
from storage.home import Home
from storage.parts import split_of
from storage.schemas import row_identity
from storage.temporary import temporary_beside

PROMPTS = [Prompt.create(f"question {index}") for index in range(6)]


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(Home(tmp_path / "home"))


def _commit_prompts(store, cuts=(0, 6), key="k"):
    for index, (start, stop) in enumerate(pairwise(cuts)):
        with store.part("prompts", key, index) as part:
            part.write("prompts", PROMPTS[start:stop])
    return store.commit("prompts", key, rows_in=6, rows_out=6, parts=len(cuts) - 1)


def test_parts_are_read_in_order_and_the_digest_ignores_how_rows_were_cut(store, tmp_path):
    assert store.get("prompts", "k") is None
    ref = _commit_prompts(store, (0, 2, 3, 6))
    assert [*ref.read("prompts")] == PROMPTS
    assert [*ref.read("prompts", part=1)] == PROMPTS[2:3]
    assert ref.rows == {"prompts": 6}
    assert store.get("prompts", "k", verify=True) == ref
    assert store.require("prompts", "k") == ref
    other = _commit_prompts(ArtifactStore(Home(tmp_path / "other")), (0, 6))
    assert other.content_digest == ref.content_digest
    assert ref.uri == "artifacts/stage=prompts/stage_key=k"


def test_the_digest_depends_on_order_and_content_but_not_on_timing(store):
    def digest_of(key, table, rows):
        with store.part("s", key, 0) as part:
            part.write(table, rows)
        return store.commit("s", key, rows_in=0, rows_out=0).content_digest

    tree = Tree("t", "p", "r", "bfs", "accepted", 3, None, 1.5)
    slower = Tree("t", "p", "r", "bfs", "accepted", 3, None, 9.5)
    longer = Tree("t", "p", "r", "bfs", "accepted", 4, None, 1.5)
    assert digest_of("a", "trees", [tree]) == digest_of("b", "trees", [slower])
    assert digest_of("c", "trees", [longer]) != digest_of("a2", "trees", [tree])
    assert digest_of("d", "prompts", PROMPTS) != digest_of("e", "prompts", PROMPTS[::-1])
    votes = [Vote("r", 0, Verdict.NO, "", "stop", 1)]
    assert digest_of("f", "votes", votes) != digest_of("g", "tree_votes", votes)


def test_rows_must_be_accounted_for(store):
    with store.part("search", "k", 0) as part:
        part.write("preference_pairs", [PreferencePair("i", "p", None, "q", "a", "b", 0.6)])
        part.write("drops", [Drop("search", "x", "budget"), Drop("search", "y", "budget"), Drop("search", "z", "tie")])
    with pytest.raises(StorageError, match="5 rows came in, 1 went out, 3 were dropped: 1 unaccounted for"):
        store.commit("search", "k", rows_in=5, rows_out=1)
    with pytest.raises(StorageError, match="1 too many"):
        store.commit("search", "k", rows_in=3, rows_out=1)
    assert store.get("search", "k") is None
    ref = store.commit("search", "k", rows_in=4, rows_out=1)
    assert ref.manifest().drops == {"budget": 2, "tie": 1}


def test_parts_account_for_their_own_rows(store):
    for index in range(2):
        with store.part("judge", "k", index) as part:
            part.write("drops", [Drop("judge", str(index), "tie")])
            part.account(rows_in=4, rows_out=3)
    manifest = store.commit("judge", "k").manifest()
    assert (manifest.rows_in, manifest.rows_out, manifest.drops) == (8, 6, {"tie": 2})
    with store.part("judge", "wrong", 0) as part:
        part.account(rows_in=4, rows_out=3)
    with pytest.raises(StorageError, match="1 unaccounted for"):
        store.commit("judge", "wrong")


def test_a_missing_or_unexpected_part_cannot_be_committed(store):
    for index in (0, 2):
        with store.part("prompts", "k", index) as part:
            part.write("prompts", PROMPTS[:3])
    with pytest.raises(StorageError, match="missing or damaged parts: part-00001"):
        store.commit("prompts", "k", rows_in=6, rows_out=6)
    with pytest.raises(StorageError, match="unexpected parts: part-00002"):
        store.commit("prompts", "k", rows_in=3, rows_out=3, parts=1)


def test_a_damaged_artifact_is_not_believed_and_only_its_broken_part_is_made_again(store):
    ref = _commit_prompts(store, (0, 3, 6))
    victim = ref.folder / "part-00001" / "prompts.parquet"
    intact = victim.read_bytes()

    victim.write_bytes(intact[:-1])
    assert store.get("prompts", "k") is None
    assert store.scan().damaged[0].problems == (
        f"part-00001/prompts.parquet has {len(intact) - 1} bytes instead of {len(intact)}",
    )
    victim.write_bytes(intact[:-1] + b"?")
    assert store.get("prompts", "k") == ref, "sizes alone look right"
    assert store.get("prompts", "k", verify=True) is None
    with pytest.raises(StorageError, match=r"cannot read .*part-00001/prompts\.parquet"):
        list(ref.read("prompts"))
    assert [store.has_part("prompts", "k", index) for index in (0, 1)] == [True, False]

    with store.part("prompts", "k", 1) as part:
        part.write("prompts", PROMPTS[3:])
    assert store.commit("prompts", "k", rows_in=6, rows_out=6).content_digest == ref.content_digest
    assert store.get("prompts", "k", verify=True) == ref

    victim.unlink()
    assert store.get("prompts", "k") is None
    with pytest.raises(StorageError, match="gone or damaged"):
        store.require("prompts", "k")
    (ref.folder / "manifest.json").write_text("{")
    assert store.get("prompts", "k") is None


def test_an_exception_inside_a_part_leaves_nothing(store):
    def broken():
        yield PROMPTS[0]
        raise KeyError

    with pytest.raises(KeyError), store.part("prompts", "k", 0) as part:
        part.write("prompts", broken())
    assert not store.has_part("prompts", "k", 0)
    assert list(store.folder("prompts", "k").iterdir()) == []


def test_a_finished_part_is_not_replaced(store):
    with store.part("prompts", "k", 0) as part:
        part.write("prompts", PROMPTS)
    with store.part("prompts", "k", 0) as part:
        part.write("prompts", PROMPTS[:1])
    assert list(store.commit("prompts", "k", rows_in=6, rows_out=6).read("prompts")) == PROMPTS


_KILLED_WRITER = """
import sys, time
from spar_core.records import Prompt
from storage.artifacts import ArtifactStore
from storage.home import Home
store = ArtifactStore(Home(sys.argv[1]))
with store.part("prompts", "k", 0) as part:
    part.write("prompts", [Prompt.create("kept")])
with store.part("prompts", "k", 1) as part:
    part.write("prompts", (Prompt.create(str(index)) for index in range(5000)))
    print("writing", flush=True)
    time.sleep(60)
"""


def test_kill_9_in_the_middle_of_a_part_keeps_the_finished_ones(tmp_path):
    home = Home(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", _KILLED_WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    store = ArtifactStore(home)
    folder = store.folder("prompts", "k")
    assert len(list(folder.glob("part-00001.tmp-*"))) == 1, "the kill came in the middle of the part"
    assert [store.has_part("prompts", "k", index) for index in (0, 1)] == [True, False]
    with pytest.raises(StorageError, match="part-00001"):
        store.commit("prompts", "k", rows_in=2, rows_out=2, parts=2)
    with store.part("prompts", "k", 1) as part:
        part.write("prompts", [Prompt.create("again")])
    ref = store.commit("prompts", "k", rows_in=2, rows_out=2, parts=2)
    assert [prompt.text for prompt in ref.read("prompts")] == ["kept", "again"]
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "part-00000", "part-00001"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_a_clear_error_and_loses_nothing_finished(store, monkeypatch):
    with store.part("prompts", "k", 0) as part:
        part.write("prompts", PROMPTS[:3])
    monkeypatch.setattr(parts_module, "_open", lambda path: open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    with pytest.raises(StorageError, match="no space left on the disk"), store.part("prompts", "k", 1) as part:
        part.write("prompts", PROMPTS[3:])
    assert [store.has_part("prompts", "k", index) for index in (0, 1)] == [True, False]
    monkeypatch.undo()
    with store.part("prompts", "k", 1) as part:
        part.write("prompts", PROMPTS[3:])
    assert store.commit("prompts", "k", rows_in=6, rows_out=6).rows == {"prompts": 6}


def test_a_full_disk_at_commit_is_a_clear_error(store, monkeypatch):
    with store.part("prompts", "k", 0) as part:
        part.write("prompts", PROMPTS)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="free some space"):
        store.commit("prompts", "k", rows_in=6, rows_out=6)
    monkeypatch.undo()
    assert store.get("prompts", "k") is None
    assert store.commit("prompts", "k", rows_in=6, rows_out=6) == store.get("prompts", "k")


def test_unknown_tables_and_tables_never_written_are_named(store):
    ref = _commit_prompts(store)
    with pytest.raises(StorageError, match="unknown table 'promts'"):
        ref.read("promts").__next__()
    with pytest.raises(StorageError, match="no table 'votes', only prompts"):
        ref.read("votes").__next__()
    assert list(ref.read("drops")) == []


def _model(folder, weights=b"weights"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text("{}")
    (folder / "optimizer.pt").write_bytes(b"never registered")
    (folder / "checkpoint-5").mkdir(exist_ok=True)
    return folder


def test_a_model_is_adopted_without_trainer_leftovers_and_the_workspace_is_freed(store):
    workspace = store.workspace("train", "k")
    source = _model(workspace / "out")
    assert store.adopt_model("train", "k", source) == store.folder("train", "k") / "model"
    inputs = _commit_prompts(store)
    provenance = Provenance(
        inputs=(inputs,), model_digests={"actor": "base"}, config={"b": 1, "a": (2,)}, code_version="7"
    )
    ref = store.commit("train", "k", rows_in=3, rows_out=3, metrics={"loss": 0.5}, provenance=provenance)
    assert sorted(path.name for path in ref.model_folder.iterdir()) == ["config.json", "model.safetensors"]
    assert ref.model_digest == model_digest(ref.model_folder)
    assert not workspace.exists()

    manifest = ref.manifest()
    assert [(entry.stage, entry.stage_key, entry.content_digest) for entry in manifest.inputs] == [
        ("prompts", "k", inputs.content_digest)
    ]
    assert (manifest.config, manifest.metrics, manifest.code_version) == ({"a": [2], "b": 1}, {"loss": 0.5}, "7")
    (ref.model_folder / "config.json").write_text('{"changed": 1}')
    assert store.get("train", "k") is None
    with pytest.raises(StorageError, match="holds no model"):
        _ = inputs.model_folder


def test_a_folder_without_weights_is_no_model(store, tmp_path):
    with pytest.raises(StorageError, match=r"no \.safetensors"):
        store.adopt_model("train", "k", tmp_path)


def test_a_hundred_thousand_votes_stream_through(store):
    def votes():
        for index in range(100_000):
            yield Vote(f"response {index // 5}", index % 5, Verdict.YES, "step by step " * 5, "stop", index)

    with store.part("votes", "k", 0) as part:
        part.write("votes", votes())
    ref = store.commit("votes", "k", rows_in=100_000, rows_out=100_000)
    assert sum(vote.seed for vote in ref.read("votes")) == 100_000 * 99_999 // 2


def test_counts_of_the_parts_add_up_in_the_artifact(store):
    for index, tokens in enumerate((30, 12)):
        with store.part("responses", "k", index) as part:
            part.write("responses", ())
            part.measure({"completion_tokens": tokens})
    ref = store.commit("responses", "k", parts=2)
    assert ref.manifest().metrics == {"completion_tokens": 42}


def test_two_writers_of_one_part_do_not_harm_each_other(store):
    with store.part("prompts", "k", 0) as first:
        first.write("prompts", PROMPTS[:3])
        with store.part("prompts", "k", 0) as second:  # as another worker that took over the same shard
            second.write("prompts", PROMPTS)
        first.write("prompts", PROMPTS[3:])
    folder = store.folder("prompts", "k")
    assert [path.name for path in folder.iterdir()] == ["part-00000"]
    assert list(store.commit("prompts", "k", rows_in=6, rows_out=6).read("prompts")) == PROMPTS


def test_what_a_dead_writer_left_behind_is_removed_and_a_foreign_one_only_when_old(store):
    folder = store.folder("prompts", "k")
    mine = temporary_beside(folder / "part-00000")
    # This process's id, but started at another time.
    dead = mine.with_name(mine.name.replace(process_mark(os.getpid()), f"{os.getpid()}:1"))
    elsewhere, long_ago = (mine.with_name(f"part-00000.tmp-abcdef12-1:1-{number}") for number in ("00", "01"))
    for path in (mine, dead, elsewhere, long_ago):
        path.mkdir(parents=True)
    os.utime(long_ago, (0, 0))
    with store.part("prompts", "k", 0) as part:
        part.write("prompts", PROMPTS)
    assert {path.name for path in folder.iterdir()} == {"part-00000", mine.name, elsewhere.name}


def test_a_part_is_finished_only_for_the_rows_it_is_about(store):
    with store.part("votes", "k", 0, cut="the first three") as part:
        part.write("prompts", PROMPTS[:3])
    assert store.has_part("votes", "k", 0)
    assert store.has_part("votes", "k", 0, cut="the first three")
    assert not store.has_part("votes", "k", 0, cut="the first two")
    with store.part("votes", "k", 0, cut="the first two") as part:
        part.write("prompts", PROMPTS[:2])
    assert [*store.commit("votes", "k", rows_in=2, rows_out=2).read("prompts")] == PROMPTS[:2]


def test_parts_cut_in_different_ways_are_never_committed_together(store):
    def write(slices: Sequence[Sequence[Prompt]], indices: Sequence[int]) -> None:
        split = split_of([digest_of(rows) for rows in slices])
        for index in indices:
            with store.part("prompts", "k", index, split=split) as part:
                part.write("prompts", slices[index])

    def digest_of(rows: Sequence[Prompt]) -> RowsDigest:
        found = RowsDigest()
        for row in rows:
            found = found.add(row_identity("prompts", row))
        return found

    write([PROMPTS[:4], PROMPTS[4:]], [0, 1])
    assert store.has_split("prompts", "k")
    write([PROMPTS[:2], PROMPTS[2:]], [1])
    assert not store.has_split("prompts", "k")
    with pytest.raises(StorageError, match="cut in different ways"):
        store.commit("prompts", "k", rows_in=6, rows_out=6)
