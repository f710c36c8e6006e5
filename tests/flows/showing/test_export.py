"""Exported tables hold the rows of every artifact, also of files of an older version, without holding them at once."""

import json

import pyarrow.parquet as pq

from flows.showing.export import export_tables
from spar_core.hashing import file_digest
from spar_core.records import Verdict, Vote
from storage.artifacts import ArtifactStore
from storage.home import Home
from storage.parts import ROW_GROUP_ROWS


def _votes(store, key, count):
    with store.part("judgements", key, 0) as part:
        part.write("votes", [Vote(f"{key}{number}", 0, Verdict.YES, "fine", "stop", seed=1) for number in range(count)])
    return store.commit("judgements", key, rows_in=0, rows_out=0)


def _as_an_older_version_wrote_it(ref):
    """Without the columns that were added later."""
    file = ref.folder / "part-00000" / "votes.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["wording", "voter"]), file)
    for manifest in (ref.folder / "manifest.json", file.parent / "manifest.json"):
        text = json.loads(manifest.read_text())
        for part in text.get("parts", [text]):
            part["tables"][0] |= {"bytes": file.stat().st_size, "sha256": file_digest(file)}
        manifest.write_text(json.dumps(text))


def test_rows_of_all_artifacts_are_written_in_order_with_todays_columns(tmp_path):
    store = ArtifactStore(Home(tmp_path / "home"))
    first, second = _votes(store, "a", ROW_GROUP_ROWS + 3), _votes(store, "b", 2)
    _as_an_older_version_wrote_it(second)
    assert export_tables([first, second], tmp_path / "out") == {"votes": ROW_GROUP_ROWS + 5}
    file = pq.ParquetFile(tmp_path / "out" / "votes.parquet")
    assert file.metadata.num_row_groups == 3  # never more rows at once than a row group has
    rows = file.read().to_pylist()
    assert [rows[place]["response_id"] for place in (0, -2, -1)] == ["a0", "b0", "b1"]
    assert rows[-1]["voter"] == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["votes.parquet"]
