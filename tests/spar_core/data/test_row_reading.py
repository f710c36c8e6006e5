import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spar_core.data import row_reading
from spar_core.data.row_reading import raw_rows
from spar_core.errors import DataError

ROWS = [{"prompt": "eins, [zwei]"}, {"prompt": "Größe \u2028 \\n {"}, {"prompt": "c" * 5000, "n": [1, {"x": None}]}]
MARK = b"\xef\xbb\xbf"


def written(folder: Path, content: bytes, name: str = "rows.json") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS).encode(),
        MARK + json.dumps(ROWS, indent=4, ensure_ascii=False).encode() + b"\r\n",
        b" \n[" + b"\n,\n".join(json.dumps(row).encode() for row in ROWS) + b"]\n\n",
        gzip.compress(json.dumps(ROWS, indent=1).encode(), mtime=0),
        "\n".join(map(json.dumps, ROWS)).encode(),
        MARK + b"\n \r\n" + b"\r\n\n".join(json.dumps(row).encode() for row in ROWS),
        gzip.compress("\n".join(map(json.dumps, ROWS)).encode(), mtime=0),
    ],
)
def test_arrays_and_lines_are_told_apart_by_content(tmp_path, monkeypatch, content, chunk):
    monkeypatch.setattr(row_reading, "_CHUNK", chunk)
    rows = list(raw_rows(written(tmp_path, content)))
    assert [row.values for row in rows] == ROWS
    assert not any(row.problem for row in rows)


@pytest.mark.parametrize("content", [b"", b"\n\n", MARK, b"[]", b"[ \n ]\n", gzip.compress(b"", mtime=0)])
def test_an_empty_file_has_no_rows(tmp_path, content):
    assert list(raw_rows(written(tmp_path, content))) == []


def test_rows_are_told_by_line_and_number(tmp_path):
    path = written(tmp_path, b'[\n {\n "a": 1 },\n\n {"a": 2}, 7, ["b"]\n]')
    found = list(raw_rows(path, "rows"))
    assert [row.where for row in found] == [
        "rows, line 2 (row 1)",
        "rows, line 5 (row 2)",
        "rows, line 5 (row 3)",
        "rows, line 5 (row 4)",
    ]
    problems = ["", "", "a row must be a JSON object, not int", "a row must be a JSON object, not list"]
    assert [row.problem for row in found] == problems


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'[\n{"a": 1}\n{"a": 2}]', r"line 3 \(row 1\): the array is broken here.*a comma or \] is expected, not '{'"),
        (b'[\n{"a": 1},\n{"a": 2', r"line 3 \(row 2\): the array is broken"),
        (b'[{"a": 1}', "not 'the end of the file'"),
        (b'[{"a": 1},]', r"\(row 2\): the array is broken"),
        (b'[{"a": 1}] x', "something follows the end of the array"),
        (b'[{"a": 1}]\n[{"a": 2}]', "something follows the end of the array"),
        (b"[" * 100_000, "nested too deeply|the array is broken"),
        (b'[{"a": "\xff"}]', "not UTF-8"),
        ('[{"a": 1}]'.encode("utf-16"), r"is UTF-16; save it as UTF-8 \(`iconv -f UTF-16 -t UTF-8`\)"),
        ('{"a": 1}\n'.encode("utf-16-be").join([b"\xfe\xff", b""]), "is UTF-16"),
        (gzip.compress(b'[{"a": 1}]', mtime=0)[:-9], "cannot be read after row"),
    ],
)
def test_a_file_that_cannot_be_read_on_is_an_error(tmp_path, content, told):
    with pytest.raises(DataError, match=told):
        list(raw_rows(written(tmp_path, content)))


def test_what_was_whole_before_an_array_broke_is_not_taken_for_all(tmp_path):
    rows = raw_rows(written(tmp_path, b'[{"a": 1}, {"a": '))
    assert next(rows).values == {"a": 1}
    with pytest.raises(DataError, match="row 2"):
        next(rows)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"a": 1', "not a JSON object .*one a line, or one array of them, is expected"),
        (b"[1]", "a row must be a JSON object, not list"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 8 of the line"),
        (b"[" * 100_000, "not a JSON object"),
        (b'{"a": "' + b"x" * 300 + b'"}', "longer than 0 MiB"),
    ],
)
def test_a_broken_line_is_one_row_with_its_problem(tmp_path, monkeypatch, line, told):
    monkeypatch.setattr(row_reading, "MAX_LINE_BYTES", 200 if b"xxx" in line else 1 << 20)
    first, broken, last = raw_rows(written(tmp_path, b'{"a": 1}\n' + line + b'\n{"a": 3}'))
    assert (first.values, last.values) == ({"a": 1}, {"a": 3})
    assert broken.place == "line 2"
    assert re.match(told, broken.problem)


def test_a_row_longer_than_many_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(row_reading, "_CHUNK", 16)
    row = {"a": "x" * 100_000}
    assert [found.values for found in raw_rows(written(tmp_path, json.dumps([row, row]).encode()))] == [row, row]


def test_parquet_reads_the_columns_that_count(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([{"prompt": "a", "vector": [0.5]}, {"prompt": "b", "vector": None}]), path)
    rows = list(raw_rows(path, columns=("prompt", "messages")))
    assert [(row.place, row.values) for row in rows] == [("row 1", {"prompt": "a"}), ("row 2", {"prompt": "b"})]
    with pytest.raises(DataError, match=r"no column of messages; the file has \['prompt', 'vector'\]"):
        list(raw_rows(path, columns=("messages",)))
    path.write_bytes(b"PAR1 but torn")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        list(raw_rows(path))
