"""Tables of many parts as one file."""

import pyarrow.parquet as pq
import pytest

from spar_core.records import Prompt
from storage import table_files
from storage.artifacts import ArtifactStore
from storage.home import Home

PROMPTS = [Prompt.create(f"question {index}") for index in range(9)]


@pytest.fixture
def parts(tmp_path):
    store = ArtifactStore(Home(tmp_path / "home"))
    for index in range(3):
        with store.part("prompts", "k", index) as part:
            part.write("prompts", PROMPTS[3 * index : 3 * index + 3])
            part.account(rows_in=3, rows_out=3)
    folder = store.commit("prompts", "k", parts=3).folder
    return sorted(folder.rglob("prompts.parquet"))


def test_small_parts_are_one_row_group_of_the_joined_file(parts, tmp_path):
    table_files.join("prompts", parts, tmp_path / "joined.parquet")
    with pq.ParquetFile(tmp_path / "joined.parquet") as joined:
        assert joined.num_row_groups == 1
        assert joined.read(["text"])["text"].to_pylist() == [prompt.text for prompt in PROMPTS]


def test_no_row_group_holds_more_than_a_writer_may_hold_in_memory(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "JOINED_BYTES", 1)
    table_files.join("prompts", parts, tmp_path / "joined.parquet")
    with pq.ParquetFile(tmp_path / "joined.parquet") as joined:
        assert joined.num_row_groups == 3
        assert joined.read(["text"])["text"].to_pylist() == [prompt.text for prompt in PROMPTS]
