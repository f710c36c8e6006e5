"""What a later version wrote is refused, never made again over it; what an older one wrote is read or made again."""

import json

import pytest

from spar_core.errors import StorageError
from spar_core.records import Prompt
from storage import manifests
from storage.artifacts import ArtifactStore
from storage.catalog import open_catalog
from storage.home import Home
from storage.schemas import SCHEMA_VERSION


@pytest.fixture
def store(tmp_path):
    store = ArtifactStore(Home(tmp_path))
    with store.part("prompts", "k", 0) as part:
        part.write("prompts", [Prompt.create("question")])
        part.account(rows_in=1, rows_out=1)
    return store


def _rewrite(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("also_unknown", [{}, {"parts": "laid out otherwise"}])
def test_an_artifact_of_a_later_schema_is_refused_and_left_out_of_the_catalogue(store, tmp_path, also_unknown):
    file = store.commit("prompts", "k").folder / "manifest.json"
    _rewrite(file, schema_version=SCHEMA_VERSION + 1, **also_unknown)
    with pytest.raises(StorageError, match=r"later version of spar .*upgrade spar"):
        store.get("prompts", "k")
    with open_catalog(Home(tmp_path)) as catalog:
        assert catalog.rows("SELECT * FROM prompts") == []
        (row,) = catalog.rows("SELECT state, problem FROM artifacts")
    assert row["state"] == "damaged"
    assert "upgrade spar" in row["problem"]


def test_a_part_of_a_later_schema_is_refused(store):
    _rewrite(store.folder("prompts", "k") / "part-00000" / "manifest.json", schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(StorageError, match="upgrade spar"):
        store.has_part("prompts", "k", 0)
    with pytest.raises(StorageError, match="upgrade spar"), store.part("prompts", "k", 0) as part:
        part.write("prompts", [])
    assert (store.folder("prompts", "k") / "part-00000" / "prompts.parquet").exists()


def test_an_older_schema_is_read_and_one_long_past_is_made_again(store, monkeypatch, caplog):
    file = store.commit("prompts", "k").folder / "manifest.json"
    monkeypatch.setattr(manifests, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    assert store.get("prompts", "k") is not None
    monkeypatch.setattr(manifests, "OLDEST_SCHEMA", SCHEMA_VERSION + 1)
    assert store.get("prompts", "k") is None
    assert "no longer read" in caplog.text
    assert file.exists()
