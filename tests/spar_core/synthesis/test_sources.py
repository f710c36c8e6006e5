import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spar_core.data import row_reading
from spar_core.errors import DataError
from spar_core.evaluation.truth import is_checkable
from spar_core.records import SOFT, Constraint, Drop, Prompt
from spar_core.synthesis import read_prompt_rows
from spar_core.synthesis.sources import PromptRow

NO_COMMA = Constraint.create("punctuation:no_comma")
GOOD = b'{"prompt": "Name a bird.", "response": "Owl", "constraints": [{"id": "punctuation:no_comma"}]}'


def test_rows_of_a_file(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\n\n \r\n" + '{"prompt": "Größe?\\n"}'.encode() + b"\r\n")
    assert list(read_prompt_rows(path)) == [
        PromptRow(Prompt.create("Name a bird.", (NO_COMMA,)), "Owl"),
        PromptRow(Prompt.create("Größe?\n"), None),
    ]


def test_a_text_among_the_constraints_is_a_soft_one(tmp_path):
    path, table = tmp_path / "p.jsonl", tmp_path / "p.parquet"
    row = {"prompt": "Name two.", "constraints": ["Write formally.", {"id": "punctuation:no_comma"}]}
    path.write_text(json.dumps(row))
    soft = Constraint.create(SOFT, text="Write formally.")
    assert list(read_prompt_rows(path)) == [PromptRow(Prompt.create("Name two.", (soft, NO_COMMA)), None)]
    columns = [{"kind": entry.kind, "kwargs": entry.kwargs} for entry in (soft, NO_COMMA)]
    pq.write_table(pa.Table.from_pylist([{**row, "constraints": columns}]), table)
    assert list(read_prompt_rows(table)) == list(read_prompt_rows(path))
    assert not is_checkable(next(read_prompt_rows(path)).prompt)


def test_gzip_and_parquet_give_the_same_rows(tmp_path):
    packed, table = tmp_path / "p.jsonl.gz", tmp_path / "p.parquet"
    row = {
        "prompt": "Name two.",
        "response": None,
        "constraints": [{"kind": "keywords:existence", "kwargs": '{"keywords":["x"]}'}],
    }
    packed.write_bytes(gzip.compress(json.dumps(row).encode()))
    pq.write_table(pa.Table.from_pylist([row]), table)
    expected = [PromptRow(Prompt.create("Name two.", (Constraint.create("keywords:existence", keywords=["x"]),)), None)]
    assert list(read_prompt_rows(packed)) == list(read_prompt_rows(table)) == expected
    assert next(iter(read_prompt_rows(tmp_path, split="test"))).prompt.split == "test"  # the folder's Parquet file


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt": "a"', "line 2: not a JSON object"),
        (b'["a"]', "line 2: a row must be a JSON object, not list"),
        (b'{"prompt": "\xff"}', "line 2: not UTF-8 at byte 13"),
        (b'{"text": "a"}', r"line 2: the row has \['text'\]; expected are .*prompt"),
        (b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant"}]}', "line 2: turn 2 needs role"),
        (
            b'{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]}',
            "line 2: .* has 2 turns",
        ),
        (b'{"prompt": " "}', "line 2: column 'prompt' must be text that is not blank"),
        (b'{"prompt": "a", "response": 3}', "line 2: column 'response' must be text"),
        (b'{"prompt": "a", "constraints": {}}', "line 2: column 'constraints': a list"),
        (b'{"prompt": "a", "constraints": [3]}', "line 2: column 'constraints': each entry"),
        (b'{"prompt": "a", "constraints": [" "]}', "line 2: column 'constraints': soft: a constraint in words"),
        (b'{"prompt": "a", "constraints": [{"id": "x:y"}]}', "line 2: .*unknown constraint kind"),
        (b"[" * 100_000, "line 2: not a JSON object"),
    ],
)
def test_broken_row_names_its_line_or_is_a_drop(tmp_path, line, message):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b"\n".join([GOOD, line, GOOD]))
    with pytest.raises(DataError, match=message):
        list(read_prompt_rows(path))
    first, drop, last = read_prompt_rows(path, skip_bad=True)
    assert first == last
    assert isinstance(drop, Drop)
    assert (drop.stage, drop.reason) == ("read_prompts", "bad_row")
    assert "line 2" in drop.detail


def test_over_long_line_is_one_bad_row(tmp_path, monkeypatch):
    monkeypatch.setattr(row_reading, "MAX_LINE_BYTES", 100)
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b'{"prompt": "' + b"a" * 950 + b'"}\n{"prompt": "b"}\n')
    drop, row = read_prompt_rows(path, skip_bad=True)
    assert "line 1: longer than" in drop.detail
    assert row.prompt.text == "b"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.jsonl", None, "no such file or folder"),
        ("prompts.csv", b"prompt\n", "data are read from .json"),
        ("empty.jsonl", b"\n", "no usable prompt"),
        ("torn.jsonl.gz", gzip.compress(GOOD, mtime=0)[:-9], "cannot be read"),
        ("torn.parquet", b"PAR1", "not a readable Parquet file"),
    ],
)
def test_unusable_sources_are_explained(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_prompt_rows(path))


def test_parquet_without_the_column_names_what_it_has(tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"no column of .*prompt.*; the file has \['text'\]"):
        list(read_prompt_rows(tmp_path / "t.parquet"))


def test_training_rows_of_one_turn_are_prompts_too(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "given"}]},
        {"instruction": "b", "output": "given"},
        {"prompt": [{"role": "user", "content": "c"}], "chosen": "x", "rejected": "y"},
        {"conversations": [{"from": "human", "value": "d"}]},
        {"prompt": "e", "chosen": "x", "rejected": "y"},
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows, indent=2))
    found = [(row.prompt.text, row.response) for row in read_prompt_rows(path)]
    assert found == [("a", "given"), ("b", "given"), ("c", None), ("d", None), ("e", None)]
