"""Two workers on one home in an object store: what one completes the other finds, and none harms the other."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from spar_core.errors import StorageError
from spar_core.records import Prompt
from storage.artifacts import ArtifactStore
from storage.catalog import open_catalog
from storage.digests import RowsDigest
from storage.entries import StageRun, utc_now
from storage.home import Home
from storage.ledger import Ledger
from storage.object_files import ObjectFile, ObjectFiles
from storage.parts import split_of
from storage.registry import bring_model
from storage.schemas import row_identity
from tests.storage.object_server import FaultyProxy

pytest_plugins = ["tests.storage.remote_homes"]
PROMPTS = [Prompt.create(f"question {index}") for index in range(6)]
OTHERS = [Prompt.create(f"another {index}") for index in range(6)]


def write_part(store, index, rows, *, cut=None, split=None, key="k"):
    with store.part("prompts", key, index, cut=cut, split=split) as part:
        part.write("prompts", rows)
        part.account(rows_in=len(rows), rows_out=len(rows))


def committed(store, key="k"):
    write_part(store, 0, PROMPTS[:2], key=key)
    write_part(store, 1, PROMPTS[2:], key=key)
    return store.commit("prompts", key, parts=2)


def model_in(folder, text):
    (folder / "trained").mkdir(parents=True)
    (folder / "trained" / "model.safetensors").write_bytes(text)
    (folder / "trained" / "config.json").write_text("{}", encoding="utf-8")
    return folder / "trained"


def test_another_worker_reads_what_is_complete_and_the_digest_is_that_of_a_folder(worker, tmp_path):
    ref = committed(ArtifactStore(worker("one")))
    on_disk = committed(ArtifactStore(Home(tmp_path / "plain")))
    assert ref.content_digest == on_disk.content_digest

    other = ArtifactStore(worker("two"))
    found = other.require("prompts", "k")
    assert found.content_digest == ref.content_digest
    assert not list(found.folder.rglob("*.parquet"))  # fetched when they are read
    assert [*found.read("prompts")] == PROMPTS
    assert len(list(found.folder.rglob("*.parquet"))) == 2
    assert other.get("prompts", "other") is None


def test_parts_of_a_stage_are_shared_before_it_is_complete(worker):
    first, second = ArtifactStore(worker("one")), ArtifactStore(worker("two"))
    write_part(first, 0, PROMPTS[:2])
    assert second.get("prompts", "k") is None
    assert second.has_part("prompts", "k", 0)
    assert not second.has_part("prompts", "k", 1)
    write_part(second, 1, PROMPTS[2:])
    assert [*first.commit("prompts", "k").read("prompts")] == PROMPTS


def test_of_two_writers_of_one_part_the_first_counts_for_both(worker):
    first, second = ArtifactStore(worker("one")), ArtifactStore(worker("two"))
    with second.part("prompts", "k", 0, cut="same") as part:
        part.write("prompts", OTHERS)  # an engine that answers differently
        part.account(rows_in=6, rows_out=6)
        write_part(first, 0, PROMPTS, cut="same")
    assert second.has_part("prompts", "k", 0, cut="same")
    both = [store.commit("prompts", "k") for store in (second, first)]
    assert both[0].content_digest == both[1].content_digest
    assert [*both[0].read("prompts")] == [*both[1].read("prompts")] == PROMPTS


def test_of_two_commits_the_first_counts_for_both(worker):
    first, second = ArtifactStore(worker("one")), ArtifactStore(worker("two"))
    for store in (first, second):
        write_part(store, 0, PROMPTS)
    done = first.commit("prompts", "k", metrics={"seconds": 1.0})
    again = second.commit("prompts", "k", metrics={"seconds": 2.0})
    assert again.manifest() == done.manifest()


def test_what_is_cut_otherwise_replaces_what_was_there(worker):
    first, second = ArtifactStore(worker("one")), ArtifactStore(worker("two"))
    write_part(first, 0, PROMPTS, cut="earlier")
    first.commit("prompts", "k")
    assert not second.has_part("prompts", "k", 0, cut="later")
    write_part(second, 0, OTHERS, cut="later")
    second.commit("prompts", "k")
    third = ArtifactStore(worker("three")).require("prompts", "k")
    assert third.cut_of_part(0) == "later"
    assert [*third.read("prompts")] == OTHERS


def digest_of(rows: Sequence[Prompt]) -> RowsDigest:
    found = RowsDigest()
    for row in rows:
        found = found.add(row_identity("prompts", row))
    return found


def test_a_smaller_cut_forgets_the_parts_beyond_it(worker):
    store = ArtifactStore(worker("one"))
    three = split_of([digest_of(PROMPTS[:2]), digest_of(PROMPTS[2:4]), digest_of(PROMPTS[4:])])
    for index in (1, 2):
        write_part(store, index, PROMPTS[2 * index : 2 * index + 2], split=three)
    store.discard_parts_from("prompts", "k", 1)
    other = ArtifactStore(worker("two"))
    assert not other.has_part("prompts", "k", 1)
    write_part(other, 0, PROMPTS, split=split_of([digest_of(PROMPTS)]))
    assert [*other.commit("prompts", "k").read("prompts")] == PROMPTS


def test_a_model_is_fetched_when_it_is_needed_and_the_first_of_two_counts(worker, tmp_path):
    first, second = ArtifactStore(worker("one")), ArtifactStore(worker("two"))
    first.adopt_model("train", "k", model_in(tmp_path / "a", b"weights of one"))
    mine = second.adopt_model("train", "k", model_in(tmp_path / "b", b"weights of two"))
    assert (mine / "model.safetensors").read_bytes() == b"weights of one"
    write_part_of_training(first)
    ref = first.commit("train", "k", parts=1)
    found = ArtifactStore(worker("three")).require("train", "k")
    place = found.folder / "model"
    assert found.model_digest == ref.model_digest
    assert not place.exists()
    assert (found.model_folder / "model.safetensors").read_bytes() == b"weights of one"
    shutil.rmtree(place)
    assert bring_model(place)
    assert (place / "config.json").exists()


def test_a_worker_that_goes_on_before_the_commit_has_the_model_too(worker, tmp_path):
    first, second = ArtifactStore(worker("one")), ArtifactStore(worker("two"))
    first.adopt_model("train", "k", model_in(tmp_path / "a", b"weights"))
    write_part_of_training(first)
    assert second.has_part("train", "k", 0)
    assert second.commit("train", "k", parts=1).model_digest is not None


def test_what_a_worker_left_unshipped_is_not_mixed_with_what_another_completed(worker):
    one, two = worker("one"), worker("two")
    committed(ArtifactStore(two))
    left = ArtifactStore(one).folder("prompts", "k") / "part-00000" / "prompts.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(
        b"x" * (ArtifactStore(two).folder("prompts", "k") / "part-00000" / "prompts.parquet").stat().st_size
    )
    with one.lock():
        assert [*ArtifactStore(one).require("prompts", "k").read("prompts")] == PROMPTS


def test_a_folder_whose_store_was_emptied_fills_it_again(worker, tmp_path):
    home = worker("one")
    store = ArtifactStore(home)
    store.adopt_model("train", "k", model_in(tmp_path / "a", b"weights"))
    write_part_of_training(store)
    ref = store.commit("train", "k", parts=1)
    home.remote.objects.delete(entry.key for entry in home.remote.objects.listed(""))
    with home.lock():
        again = ArtifactStore(home)
        assert again.get("train", "k") is None
        assert again.has_part("train", "k", 0)
        second = ArtifactStore(worker("two"))
        assert second.has_part("train", "k", 0)
        assert second.commit("train", "k", parts=1).model_digest == ref.model_digest


def write_part_of_training(store):
    with store.part("train", "k", 0) as part:
        part.write("drops", [])


def test_a_damaged_copy_is_fetched_again_and_a_lost_object_makes_the_stage_anew(worker):
    home = worker("one")
    store = ArtifactStore(home)
    ref = committed(store)
    copy = ref.folder / "part-00000" / "prompts.parquet"
    copy.write_bytes(b"x" * copy.stat().st_size)
    assert store.get("prompts", "k", verify=True) is not None
    assert [*ref.read("prompts")] == PROMPTS

    objects = home.remote.objects
    objects.delete(o.key for o in objects.listed("artifacts") if o.key.endswith(".parquet") and "part-00001" in o.key)
    found = ArtifactStore(worker("two")).require("prompts", "k")
    with pytest.raises(StorageError, match="run again to make it anew"):
        list(found.read("prompts"))
    assert ArtifactStore(worker("three")).get("prompts", "k") is None


def test_the_catalogue_reads_the_store_without_copying_it(worker):
    home = worker("one")
    run = Ledger(home).open_run("r", {})
    ref = committed(ArtifactStore(home))
    now = utc_now()
    stage = StageRun(
        run_id=run.run_id, iteration=1, stage="prompts", stage_key="k", state="completed", started=now, ended=now
    )
    Ledger(home).record_stage(stage.model_copy(update={"artifact_uri": ref.uri}))

    reader = worker("two")
    with open_catalog(reader) as catalog:
        rows = catalog.rows("SELECT run_id, iteration, stage_key, text FROM prompts ORDER BY text")
        assert catalog.rows("SELECT stage, state FROM stages") == [{"stage": "prompts", "state": "completed"}]
        with pytest.raises(StorageError, match="disabled"):
            catalog.query(f"SELECT * FROM read_text('{home.remote.url}/home.json')")
    assert [row["text"] for row in rows] == sorted(prompt.text for prompt in PROMPTS)
    assert {(row["run_id"], row["iteration"], row["stage_key"]) for row in rows} == {("r", 1, "k")}
    assert not list(reader.root.rglob("*.parquet"))


def test_a_query_opens_the_tables_it_names_and_no_others(worker, monkeypatch):
    home = worker("one")
    committed(ArtifactStore(home))
    opened: list[str] = []
    opening = ObjectFiles._open

    def noted(files, path, *arguments, **options):
        opened.append(path)
        return opening(files, path, *arguments, **options)

    monkeypatch.setattr(ObjectFiles, "_open", noted)
    with open_catalog(worker("two")) as catalog:
        catalog.query("SELECT * FROM models JOIN lineage USING (stage_key)")
        catalog.query("SELECT count(*) FROM trees JOIN tree_nodes USING (run_id, iteration, tree_id)")
        assert not opened
        named = catalog.query("SELECT text FROM query_table('pro' || 'mpts')")
        assert named.num_rows == 0  # no run has used them
    assert {path.rpartition("/")[2].partition("-")[0] for path in opened} == {"prompts"}


def test_a_store_that_fails_changes_nothing_of_what_is_written(s3_address, s3_url, tmp_path, monkeypatch):
    proxy, faults = FaultyProxy(s3_address), ["error", "lost", "cut", "slow"]
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        proxy.every = dict.fromkeys(("GET", "PUT", "HEAD"), faults)
        monkeypatch.setenv("SPAR_WORK", str(tmp_path / "one"))
        one = Home(f"{s3_url}/faulty")
        monkeypatch.setenv("SPAR_WORK", str(tmp_path / "two"))
        two = Home(f"{s3_url}/faulty")
        with one.lock():
            Ledger(one).open_run("r", {"seed": 1})
            written = committed(ArtifactStore(one))
        with two.lock():
            assert Ledger(two).run("r").config == {"seed": 1}
            read = ArtifactStore(two).require("prompts", "k")
            assert [*read.read("prompts")] == PROMPTS
        assert read.manifest() == written.manifest()
        assert {fault for _, fault in proxy.met} == set(faults)
    finally:
        proxy.close()
    plain = committed(ArtifactStore(Home(tmp_path / "plain")))
    assert read.content_digest == plain.content_digest


def test_threads_that_read_one_object_do_not_move_one_another():
    content = bytes(range(100))
    file = ObjectFile(lambda start, count: content[start : start + count], len(content))
    file.seek(10)
    with ThreadPoolExecutor(1) as other:
        other.submit(file.seek, 50).result()
        assert other.submit(file.read, 3).result() == content[50:53]
        assert other.submit(file.tell).result() == 53
    assert file.read(2) == content[10:12]
    file.seek(-4, 2)
    assert file.read() == content[96:]
    assert file.read(5) == b""


def test_the_end_of_an_object_is_asked_for_once_and_its_middle_every_time():
    content, asked = bytes(range(100)), []

    def read(key, start, count):
        asked.append((key, start, count))
        return content[start : start + count]

    files = ObjectFiles("s3://bucket/home", lambda key: {"size": 100, "mtime": None}, read)
    for _ in range(2):
        file = files.open("s3://bucket/home/a")
        file.seek(90)
        assert file.read(10) == content[90:]
        file.seek(20)
        assert file.read(5) == content[20:25]
    assert asked == [("a", 90, 10), ("a", 20, 5), ("a", 20, 5)]
