import gzip
from pathlib import Path

import pytest

from spar_core.errors import DataError
from spar_core.evaluation import row_files
from spar_core.evaluation.row_files import FileRow, SeenIds, read_rows, row_writer


def test_rows_keep_their_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": "\xe4\xb8\xad"}')
    rows = list(read_rows(path))
    assert [(row.line, row.values["a"]) for row in rows] == [(1, 1), (3, "中")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": "\xff"}\n', "line 2: not UTF-8 at byte 8"),
        (b'{"a": 1}\n{"a": \n', "line 2: not a JSON object"),
        (b"[1]\n", "line 1: a row must be a JSON object, not list"),
        (b"[" * 100_000, "line 1: not a JSON object"),
        (gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-20], "gzip data is damaged"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"in\.jsonl.*{message}"):
        list(read_rows(path))


def test_a_file_without_line_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "MAX_LINE_BYTES", 100)
    path = tmp_path / "in.jsonl"
    path.write_text('{"a": "' + "x" * 200 + '"}', encoding="utf-8")
    with pytest.raises(DataError, match="line 1: longer than"):
        list(read_rows(path))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        list(read_rows(tmp_path / "none.jsonl"))


def test_duplicates_name_both_lines() -> None:
    seen = SeenIds()
    seen.add(FileRow("f, line 4", {}, 4), "x")
    seen.add(FileRow("f, line 5", {}, 5), "y")
    with pytest.raises(DataError, match=r"f, line 9: duplicate of line 4 \(x\)"):
        seen.add(FileRow("f, line 9", {}, 9), "x")


def test_output_appears_only_when_complete(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    def interrupted() -> None:
        with row_writer(out) as sink:
            sink.write({"a": 1})
            raise DataError("stop")

    with pytest.raises(DataError, match="stop"):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with row_writer(out) as sink:
        sink.write({"a": "\ud800"})
    assert out.read_text(encoding="utf-8") == '{"a": "\\ud800"}\n'
