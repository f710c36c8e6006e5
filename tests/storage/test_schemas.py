"""Records survive the way to Parquet and back, and what cannot is refused by name."""

import dataclasses
import typing

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spar_core.errors import StorageError
from spar_core.records import (
    Constraint,
    Drop,
    Message,
    PreferencePair,
    Prompt,
    RefinerExample,
    Response,
    Tree,
    Verdict,
    Vote,
)
from storage import schemas
from storage.artifacts import ArtifactStore
from storage.home import Home

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_BY_TYPE = {
    str: _TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
}


def _field_values(hint: typing.Any) -> st.SearchStrategy:
    if hint in _BY_TYPE:
        return _BY_TYPE[hint]
    if hint is Verdict:
        return st.sampled_from(list(Verdict))
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return st.lists(_records(typing.get_args(hint)[0]), max_size=3).map(tuple)
    (inner,) = [member for member in typing.get_args(hint) if member is not type(None)]
    return st.none() | _field_values(inner)


def _records(record: type) -> st.SearchStrategy:
    hints = typing.get_type_hints(record)
    return st.builds(record, **{entry.name: _field_values(hints[entry.name]) for entry in dataclasses.fields(record)})


@pytest.mark.parametrize("table", schemas.TABLES)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_every_record_survives_parquet(tmp_path_factory, table, data):
    rows = data.draw(st.lists(_records(schemas.TABLES[table]), max_size=4))
    store = ArtifactStore(Home(tmp_path_factory.mktemp("home")))
    with store.part("any", "key", 0) as part:
        part.write(table, rows)
    dropped = len(rows) if table == "drops" else 0
    ref = store.commit("any", "key", rows_in=dropped, rows_out=0)
    assert list(ref.read(table)) == rows
    assert all(batch.schema.equals(schemas.schema_of(schemas.TABLES[table])) for batch in ref.batches(table))


def test_schema_follows_the_type_hints():
    nested = pa.list_(
        pa.field(
            "element",
            pa.struct([pa.field("kind", pa.string(), False), pa.field("kwargs", pa.string(), False)]),
            nullable=False,
        )
    )
    assert schemas.schema_of(Prompt).field("constraints") == pa.field("constraints", nested, nullable=False)
    assert schemas.schema_of(Tree).field("accepted_node_id") == pa.field("accepted_node_id", pa.string(), nullable=True)
    assert schemas.schema_of(Tree).field("engine_seconds") == pa.field("engine_seconds", pa.float64(), nullable=False)
    assert schemas.schema_of(Vote).field("verdict") == pa.field("verdict", pa.string(), nullable=False)
    assert schemas.schema_of(Vote).field("seed") == pa.field("seed", pa.int64(), nullable=False)


def test_lone_surrogates_become_replacement_characters_everywhere():
    row = RefinerExample("e", "answer", "a\ud83d", (Message("user", "\udc00 ok \U0001f600"),))
    (back,) = schemas.from_batch("refiner_examples", schemas.to_batch("refiner_examples", [row]))
    assert back == RefinerExample("e", "answer", "a\ufffd", (Message("user", "\ufffd ok \U0001f600"),))
    assert schemas.row_identity("refiner_examples", row) == schemas.row_identity("refiner_examples", back)


@pytest.mark.parametrize(
    ("table", "row", "named"),
    [
        ("drops", Drop("s", None, "r"), "'record_id'"),
        ("votes", Vote("r", "first", Verdict.NO, "", "stop", 1), "'vote_index'"),
        ("votes", Vote("r", 2**63, Verdict.NO, "", "stop", 1), "'vote_index'"),
        ("votes", Vote("r", 0, "MAYBE", "", "stop", 1), "'verdict'"),
        ("responses", Response("r", "p", 0, "t", "timeout", 1, 1, "m", 1), "'finish_reason'"),
        ("trees", Drop("s", "i", "r"), "Tree records, not Drop"),
        ("treees", Drop("s", "i", "r"), "preference_pairs"),
    ],
)
def test_what_does_not_fit_is_named(table, row, named):
    with pytest.raises(StorageError, match=named):
        schemas.to_batch(table, [row])


def test_a_column_added_later_takes_its_default_and_a_needed_one_is_missed():
    full = schemas.to_batch("prompts", [Prompt("i", "t", (Constraint("k"),), "test", "hub")])
    assert list(schemas.from_batch("prompts", full.select(["prompt_id", "text"]))) == [Prompt("i", "t")]
    with pytest.raises(StorageError, match="lacks the columns text"):
        list(schemas.from_batch("prompts", full.select(["prompt_id"])))


def test_a_row_without_a_thought_has_the_digest_it_had_before_there_were_thoughts():
    plain = Response("r", "p", 0, "text", "stop", 1, 2, "m", 3)
    assert schemas.row_identity("responses", plain) == ["r", "p", 0, "text", "stop", 1, 2, "m", 3]
    thinking = dataclasses.replace(plain, thought="hm")
    assert schemas.row_identity("responses", thinking) == ["r", "p", 0, "text", "stop", 1, 2, "m", 3, "hm"]


def test_rows_written_before_there_were_thoughts_are_read():
    rows = [Response("r", "p", 0, "text", "stop", 1, 2, "m", 3), Response("s", "p", 1, "", "length", 1, 2, "m", 3)]
    older = schemas.to_batch("responses", rows).drop_columns(["thought"])
    assert list(schemas.from_batch("responses", older)) == rows


def test_where_a_row_comes_from_plays_no_part_in_its_digest():
    known = PreferencePair("a", "p", "t", "ask", "yes", "no", 1.0, "node", "root")
    unknown = dataclasses.replace(known, chosen_id="", rejected_id="")
    other = dataclasses.replace(known, tree_id="u")
    same, differs = (schemas.row_identity("preference_pairs", row) for row in (unknown, other))
    assert schemas.row_identity("preference_pairs", known) == same
    assert schemas.row_identity("preference_pairs", known) != differs
    cut = dataclasses.replace(known, rejected_cut=True)
    assert schemas.row_identity("preference_pairs", known) != schemas.row_identity("preference_pairs", cut)
    example, bare = (RefinerExample("e", "judgement", "tree_no", (), *more) for more in (("p", "node", "t"), ()))
    assert schemas.row_identity("refiner_examples", example) == schemas.row_identity("refiner_examples", bare)
