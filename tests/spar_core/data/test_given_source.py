from pathlib import Path

import pytest

from spar_core.data.given_source import DataSource, files_to_read, find_files
from spar_core.errors import ConfigError, DataError


def folder_of(place: Path, *names: str) -> Path:
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return place


def names_of(source: str) -> list[str]:
    return [file.short for file in find_files(DataSource.parse(source)).files]


def test_options_follow_the_place(tmp_path):
    source = DataSource.parse("someone/set#files=sft/*.json&split=train&revision=v1&kind=judgement")
    assert source == ("someone/set", "sft/*.json", "train", "v1", "judgement")
    assert source.written() == "someone/set#files=sft/*.json&split=train&revision=v1&kind=judgement"
    odd = folder_of(tmp_path, "set#1/a.json") / "set#1"
    assert DataSource.parse(odd) == (str(odd), "", "", "", "")
    assert names_of(str(odd)) == ["a.json"]


def test_a_local_place_is_written_down_as_an_absolute_path(tmp_path, monkeypatch):
    folder_of(tmp_path, "data/a.json")
    monkeypatch.chdir(tmp_path)
    assert DataSource.parse("data#kind=answer").written() == f"{tmp_path}/data#kind=answer"
    assert DataSource.parse("someone/set").written() == "someone/set"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("set#sft", "after # come &-separated files=, split=, revision=, kind= .*got 'sft'"),
        ("set#split=", "got 'split='"),
        ("set#config=main", "got 'config=main'"),
        ("set#kind=verdict", "kind is one of answer, judgement, refinement, not 'verdict'"),
    ],
)
def test_unknown_options_are_refused(source, told):
    with pytest.raises(ConfigError, match=told):
        DataSource.parse(source)


def test_a_folder_is_its_data_files_in_order(tmp_path):
    folder_of(tmp_path, "b.jsonl", "a.json", "sub/c.parquet", "d.ndjson.gz", "notes.txt", ".hidden/e.json", ".f.json")
    folder_of(tmp_path, "dataset_info.json", "state.json")
    assert names_of(str(tmp_path)) == ["a.json", "b.jsonl", "d.ndjson.gz", "sub/c.parquet"]
    assert names_of(f"{tmp_path}#files=sub/*") == ["sub/c.parquet"]
    assert find_files(DataSource.parse(tmp_path)).files[0].name == f"{tmp_path}/a.json"


def test_held_out_files_are_left_out_unless_they_are_asked_for(tmp_path, caplog):
    folder_of(
        tmp_path, "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "sft.json", "dev.jsonl"
    )
    found = find_files(DataSource.parse(tmp_path))
    assert [file.short for file in found.files] == ["data/train-00000-of-00001.parquet", "sft.json"]
    assert found.left_out == ("data/test-00000-of-00001.parquet", "dev.jsonl")
    assert files_to_read(DataSource.parse(tmp_path)) == found.files
    assert "left out, as named for a held-out split (#split= reads them): data/test-" in caplog.text
    assert names_of(f"{tmp_path}#split=test") == ["data/test-00000-of-00001.parquet"]
    assert names_of(f"{tmp_path}#split=validation") == ["dev.jsonl"]
    assert names_of(str(folder_of(tmp_path / "only", "test.jsonl"))) == ["test.jsonl"]


def test_splits_of_other_names(tmp_path):
    folder_of(tmp_path, "train_sft-0.parquet", "train_prefs-0.parquet", "test_sft-0.parquet", "latest.json")
    assert names_of(f"{tmp_path}#split=train_prefs") == ["train_prefs-0.parquet"]
    assert names_of(str(tmp_path)) == ["latest.json", "train_prefs-0.parquet", "train_sft-0.parquet"]


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("absent.jsonl", "no such file or folder"),
        ("a/b/c", "no such file or folder"),
        ("/absent", "no such file or folder"),
        ("notes.txt", "data are read from .json"),
        ("empty", "holds no file; .json"),
        ("full#files=*.parquet", r"holds no file that matches files=\*.parquet; .* it has a.json"),
    ],
)
def test_places_without_data_are_explained(tmp_path, monkeypatch, place, told):
    folder_of(tmp_path, "notes.txt", "full/a.json")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=told):
        find_files(DataSource.parse(place))


def test_a_hub_that_cannot_be_reached_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        DataError, match=r"'nobody/nothing' is neither .* nor a data set that can be loaded from the hub"
    ):
        find_files(DataSource.parse("nobody/nothing"))
