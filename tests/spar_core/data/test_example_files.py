import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spar_core.data.example_files import read_examples, read_pairs
from spar_core.data.example_kinds import kind_of, known_formats, verdict_of
from spar_core.errors import DataError
from spar_core.records import Drop, GivenPair, Message, RefinerExample, Verdict


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": "assistant" if index % 2 else "user", "content": text} for index, text in enumerate(texts)]


CRITIQUE = "Two fruits are asked for.\nFinal Judgement (if the Output accurately follows the Prompt): No"
ANSWER = {"messages": chat("Name a bird.", "Owl")}
JUDGEMENT = {"messages": chat("Judge this.", CRITIQUE)}
REFINEMENT = {
    "messages": chat("Judge this.", CRITIQUE, "Refine it.", "One was missing.\n[[start]]\nplum, fig\n[[end]]")
}
PAIR = {
    "messages": chat("Name a bird."),
    "chosen": {"role": "assistant", "content": "Owl"},
    "rejected": {"role": "assistant", "content": "Fox"},
}


def saved(folder: Path, *rows: Any, name: str = "rows.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (CRITIQUE, Verdict.NO),
        ("Final Judgement (if the Output accurately follows the Prompt): Yes", Verdict.YES),
        ("All is met.\n**Final Judgement (if the Output accurately follows the Prompt):** Yes.\n", Verdict.YES),
        ("1. met\nFinal verdict: YES", Verdict.YES),
        ("Final Judgement (if the Output accurately follows the Prompt): Yes or No", None),
        ("Final verdict: YES\n" + "and then much more was said\n" * 4, None),
        ("Yes, of course.", None),
        ("", None),
    ],
)
def test_verdicts_of_both_wordings_are_seen(text, verdict):
    assert verdict_of(text, known_formats()) is verdict


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (ANSWER, "answer"),
        ({"messages": chat("a", "b", "c", "d")}, "answer"),
        (JUDGEMENT, "judgement"),
        (REFINEMENT, "refinement"),
        ({"messages": chat("Rewrite.", "<revised_answer>\nplum\n</revised_answer>")}, "refinement"),
        ({"messages": chat("Judge this.", CRITIQUE, "Refine it.", "plum, fig")}, "refinement"),
        ({"messages": chat("What does [[start]] mean?", "It is a marker.")}, "answer"),
    ],
)
def test_kinds_are_read_off_the_text(row, kind):
    assert kind_of([Message(**turn) for turn in row["messages"]], known_formats()) == kind


def test_a_prompt_set_of_ones_own_tells_its_rows(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "judge.txt").write_text("{{prompt}} {{response}}")
    (texts / "format.yaml").write_text('verdict: {labels: ["Urteil"], yes: [Ja], no: [Nein]}')
    source = saved(tmp_path, {"messages": chat("Prüfe.", "Alles da.\nUrteil: Ja")})
    (row,) = read_examples(source, "refiner", prompt_set=str(texts))
    assert getattr(row, "kind", row) == "judgement"
    with pytest.raises(DataError, match="no example for the refiner"):
        list(read_examples(source, "refiner"))


def test_each_role_takes_its_rows_whole_and_drops_the_others(tmp_path):
    source = saved(tmp_path, ANSWER, JUDGEMENT, REFINEMENT, PAIR, {"prompt": "only asked"})
    first, second, *drops = sorted(read_examples(source, "refiner"), key=lambda row: isinstance(row, Drop))
    assert isinstance(first, RefinerExample)
    assert isinstance(second, RefinerExample)
    assert (first.kind, second.kind, first.source) == ("judgement", "refinement", "rows.json")
    assert [turn.role for turn in second.messages] == ["user", "assistant", "user", "assistant"]
    assert [(drop.reason, drop.detail) for drop in drops] == [
        ("other_role", "rows.json, line 1 (row 1): read as answer, which is the actor's"),
        ("no_example", "rows.json, line 1 (row 4): a pair (`--pairs` reads it)"),
        ("no_example", "rows.json, line 1 (row 5): no answer by the assistant"),
    ]
    kept = [row for row in read_examples(source, "actor") if not isinstance(row, Drop)]
    assert [row.messages for row in kept] == [(Message("user", "Name a bird."), Message("assistant", "Owl"))]


def test_a_kind_is_taken_from_the_row_or_else_from_the_source(tmp_path):
    own = {"prompt": "Is it right?", "response": "Nope."}
    source = saved(tmp_path, own, {**own, "kind": "answer"}, {**own, "kind": "replay"})
    kinds = [getattr(row, "kind", row) for row in read_examples(f"{source}#kind=judgement", "refiner")]
    assert kinds[0] == "judgement"
    assert isinstance(kinds[1], Drop)
    assert kinds[2] == "replay"
    with pytest.raises(DataError, match=r"rows\.json, line 1 \(row 1\): kind 'verdict' is unknown; allowed: judgement"):
        list(read_examples(saved(tmp_path, {**own, "kind": "verdict"}), "refiner"))


def test_pairs_keep_their_whole_prompt(tmp_path):
    longer = {**PAIR, "messages": chat("Name a bird.", "Fox", "No, a bird.")}
    equal = {**PAIR, "rejected": {"role": "assistant", "content": "Owl\n"}}
    rows = list(read_pairs(saved(tmp_path, PAIR, longer, equal, ANSWER)))
    assert [type(row) for row in rows] == [GivenPair, GivenPair, Drop, Drop]
    assert rows[1].prompt == tuple(Message(**turn) for turn in longer["messages"])
    assert (rows[1].chosen, rows[1].rejected, rows[1].source) == ("Owl", "Fox", "rows.json")
    assert rows[0].pair_id != rows[1].pair_id
    assert [(row.reason, row.detail) for row in rows[2:]] == [
        ("identical", "rows.json, line 1 (row 3): chosen and rejected are equal"),
        ("no_pair", "rows.json, line 1 (row 4): messages has no chosen and rejected answer"),
    ]


def test_pairs_say_which_texts_were_cut(tmp_path):
    path = tmp_path / "pairs.parquet"  # as the table of a run holds them
    rows = [PAIR, {**PAIR, "chosen_cut": False, "rejected_cut": True}]
    pq.write_table(pa.Table.from_pylist([{"chosen_cut": None, "rejected_cut": None, **row} for row in rows]), path)
    found = [(row.chosen_cut, row.rejected_cut) for row in read_pairs(path)]
    assert found == [(False, False), (False, True)]


def test_parquet_rows_with_empty_columns_of_other_shapes(tmp_path):
    path = tmp_path / "mixed.parquet"
    pq.write_table(pa.Table.from_pylist([{**ANSWER, "chosen": None, "rejected": None}, PAIR]), path)
    assert [type(row) for row in read_pairs(path)] == [Drop, GivenPair]
    assert [type(row) for row in read_examples(path, "actor")] == [RefinerExample, Drop]


@pytest.mark.parametrize("read", [read_pairs, lambda source, **options: read_examples(source, "actor", **options)])
def test_a_broken_row_stops_with_file_and_line_or_is_a_drop(tmp_path, read):
    path = tmp_path / "rows.jsonl"
    good = [{**PAIR}, {"prompt": "q", "completion": "a"}]
    path.write_text("\n".join([*map(json.dumps, good), '{"prompt": 7, "response": "a"}', "{", '{"text": "x"}']))
    with pytest.raises(DataError, match=r"rows\.jsonl, line 3: column 'prompt' must be text"):
        list(read(path))
    broken = [row for row in read(path, skip_bad=True) if isinstance(row, Drop) and row.reason == "bad_row"]
    assert [drop.detail.partition(": ")[0] for drop in broken] == [f"rows.jsonl, line {line}" for line in (3, 4, 5)]


def test_drops_are_the_same_wherever_the_data_lie(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    found = [list(read_examples(saved(tmp_path / place, ANSWER, JUDGEMENT), "actor")) for place in "ab"]
    assert found[0] == found[1]


def test_no_usable_row_at_all_is_an_error_that_says_what_there_is(tmp_path):
    with pytest.raises(
        DataError,
        match=r"no example for the refiner in 2 rows \(1 other_role, the first: rows.json.*1 no_example, .*spar i",
    ):
        list(read_examples(saved(tmp_path, ANSWER, PAIR), "refiner"))
    with pytest.raises(DataError, match="no preference pair in 0 rows; `spar inspect`"):
        list(read_pairs(saved(tmp_path)))
