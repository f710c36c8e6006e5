"""A home is known by a random id: it stays when the folder is renamed and differs in every copy."""

import json
import re
import shutil

import pytest

from spar_core.errors import StorageError
from storage.home import Home
from storage.home_record import LAYOUT, Folder


def _held(root) -> str:
    with Home(root).lock():
        return Home(root).identity


def test_two_homes_have_different_ids_and_each_keeps_its_own(tmp_path):
    first, second = _held(tmp_path / "a"), _held(tmp_path / "b")
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert first != second
    assert _held(tmp_path / "a") == first


def test_a_home_that_was_never_held_has_no_id(tmp_path):
    with pytest.raises(StorageError, match="a run makes it one"):
        _ = Home(tmp_path).identity
    assert list(tmp_path.iterdir()) == []


def test_a_renamed_home_keeps_its_id(tmp_path, caplog):
    identity = _held(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    caplog.set_level("INFO")
    assert _held(tmp_path / "new") == identity
    assert "moved to" in caplog.text
    caplog.clear()
    assert _held(tmp_path / "new") == identity
    assert caplog.text == ""


def test_a_copied_home_gets_its_own_id_and_the_original_is_left_alone(tmp_path, caplog):
    identity = _held(tmp_path / "original")
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    before = (tmp_path / "original" / "home.json").read_bytes()
    copied = _held(tmp_path / "copy")
    assert copied != identity
    assert "is a copy of" in caplog.text
    assert (tmp_path / "original" / "home.json").read_bytes() == before
    assert _held(tmp_path / "original") == identity
    assert _held(tmp_path / "copy") == copied


def test_a_copy_knows_nothing_of_the_servers_of_the_original_and_a_renamed_home_does(tmp_path):
    original = Home(tmp_path / "original")
    _held(original.root)
    for record in (original.prefect / "server.json", original.servers / "vllm-1.json"):
        record.parent.mkdir(parents=True)
        record.write_text("{}")
    copy = Home(shutil.copytree(original.root, tmp_path / "copy"))
    _held(copy.root)
    assert not (copy.prefect / "server.json").exists()
    assert list(copy.servers.iterdir()) == []
    renamed = Home(original.root.rename(tmp_path / "renamed"))
    _held(renamed.root)
    assert (renamed.prefect / "server.json").exists()
    assert (renamed.servers / "vllm-1.json").exists()


def test_a_restart_that_renumbers_devices_does_not_make_a_copy():
    folder = Folder(path="/data/home", host="box", device=64768, inode=12)
    assert folder.is_same(folder.model_copy(update={"device": 64769}))
    assert folder.is_same(folder.model_copy(update={"path": "/other/home"}))
    assert folder.is_same(folder.model_copy(update={"device": 1, "inode": 99}))  # restored in place
    assert not folder.is_same(folder.model_copy(update={"inode": 99, "host": "another"}))
    assert not folder.is_same(folder.model_copy(update={"inode": 99, "path": "/other/home"}))
    assert not folder.is_same(folder.model_copy(update={"device": 1, "path": "/other/home"}))


@pytest.mark.parametrize("damaged", ["", "[]", '{"layout": 1}'])
def test_a_home_without_a_readable_record_gets_a_new_one(tmp_path, damaged):
    identity = _held(tmp_path)
    (tmp_path / "home.json").write_text(damaged)
    assert re.fullmatch("[0-9a-f]{16}", _held(tmp_path))
    assert _held(tmp_path) != identity


def test_a_home_of_a_later_layout_is_refused_and_left_as_it_is(tmp_path):
    _held(tmp_path)
    record = json.loads((tmp_path / "home.json").read_text()) | {"layout": LAYOUT + 1}
    (tmp_path / "home.json").write_text(json.dumps(record))
    with pytest.raises(StorageError, match="upgrade spar"), Home(tmp_path).lock():
        pass
    assert json.loads((tmp_path / "home.json").read_text()) == record
    assert Home(tmp_path).lock_holder() is None


def _old_entry(root, name, uri, trained_by) -> None:
    file = root / "runs" / "r" / "models" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    fields = {"run_id": "r", "role": "actor", "iteration": 1, "name": "actor", "version": 1, "digest": "d"}
    file.write_text(json.dumps(fields | {"uri": uri, "train_stage_key": trained_by}))


def test_an_older_home_is_migrated_wherever_it_lies_now(tmp_path):
    """Before layout 1 the ledger held absolute paths; the home was moved before it was upgraded."""
    model = "artifacts/stage=train_actor/stage_key=k1/model"
    (tmp_path / model).mkdir(parents=True)
    _old_entry(tmp_path, "moved", f"/old/home/{model}", "k1")
    _old_entry(tmp_path, "here", str(tmp_path / model), "k1")
    _old_entry(tmp_path, "another_home", f"/another/home/{model}", None)  # a base model that another home trained
    _old_entry(tmp_path, "gone", "/old/home/artifacts/stage=train_actor/stage_key=k2/model", "k2")
    _held(tmp_path)
    uris = {file.stem: json.loads(file.read_text())["uri"] for file in (tmp_path / "runs/r/models").iterdir()}
    assert uris == {
        "moved": model,
        "here": model,
        "another_home": f"/another/home/{model}",
        "gone": "/old/home/artifacts/stage=train_actor/stage_key=k2/model",
    }
