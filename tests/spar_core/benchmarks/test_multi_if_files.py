"""Multi-IF: reading its chats, and scoring files of answers, with every figure derived by hand."""

import gzip
import json
import runpy
from pathlib import Path

import pytest

from spar_core.benchmarks.multi_if import BENCHMARK
from spar_core.benchmarks.plugin import FileRequest, Options
from spar_core.errors import DataError
from spar_core.evaluation.multi_if import Chats, read_chats

_MADE = runpy.run_path(str(Path(__file__).parents[1] / "evaluation" / "multi_if_chats.py"))
chat, write_csv = _MADE["chat"], _MADE["write_csv"]
COMMA, QUOTES, TITLE = "punctuation:no_comma", "startend:quotation", "detectable_format:title"
NO_WORD = {"keyword": "", "relation": "at least", "frequency": 2}
CHATS = [
    chat("1:en", "English", ("a", [COMMA]), ("b", [COMMA, QUOTES]), ("c", [COMMA, QUOTES, TITLE])),
    chat("2:en", "English", ("a", [COMMA]), ("b", [COMMA, QUOTES]), ("c", [COMMA, QUOTES, TITLE])),
    chat("3:fr", "French", ("d", [COMMA]), ("e", [COMMA, TITLE])),
]


def answered(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scored(tmp_path: Path, *rows: object, chats: list[dict[str, str]] = CHATS, **options: object):
    write_csv(tmp_path, chats)
    answers = answered(tmp_path / "answers.jsonl", *rows)
    found = BENCHMARK.score_file(FileRequest(answers, tmp_path / "items.jsonl", data_dir=tmp_path, **options))
    ((_, scores),) = found.sections
    return found, {score.metric: score for score in scores}


def test_the_four_rates_and_their_mean_by_turn_and_language(tmp_path: Path) -> None:
    found, scores = scored(
        tmp_path,
        {"key": "1:en", "responses": ["yes", '"yes"', '"<<yes>>"']},
        {"key": "2:en", "responses": ["a, b", "yes", "sure:\n\n<<no>>"]},
        {"key": "3:fr", "turn": 1, "response": "oui"},
        {"key": "3:fr", "turn": 2, "response": "non, <<oui>>\noui"},
    )
    # Turn 1: two of three prompts, two of three instructions, strict and loose.
    assert scores["turn_1"].value == pytest.approx(2 / 3)
    # Turn 2, strict: 1:en right, 2:en lacks quotes, 3:fr has a comma: 1 of 3 prompts, 2 + 1 + 1 of 6 instructions.
    # Loose: 3:fr without its first line has no comma, its whole text has the title: 2 of 3 and 5 of 6.
    rates = {"prompt_strict": 1 / 3, "instruction_strict": 4 / 6, "prompt_loose": 2 / 3, "instruction_loose": 5 / 6}
    assert {rate: scores[f"turn_2/{rate}"].value for rate in rates} == pytest.approx(rates)
    assert scores["turn_2"].value == pytest.approx(sum(rates.values()) / 4)
    # Turn 3: 1:en all right, 2:en two of three: 1 of 2 and 5 of 6; French has none.
    assert scores["turn_3"].value == pytest.approx((1 / 2 + 5 / 6) / 2)
    assert "turn_3/French" not in scores
    assert scores["turn_2/French"].value == pytest.approx((0 + 1 / 2 + 1 + 1) / 4)
    assert scores["turn_2/English/instruction_strict"].value == pytest.approx(3 / 4)
    assert scores["average"].value == pytest.approx(sum(scores[f"turn_{turn}"].value for turn in (1, 2, 3)) / 3)
    assert (scores["average"].n, scores["turn_3"].n, scores["turn_1/French"].n) == (8, 2, 1)
    assert "unanswered" not in scores
    assert found.notes[0].startswith("the chats are not as many as the published ones")
    items = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert items[1] == {
        "key": "1:en/2",
        "instruction_id_list": [COMMA, "multi_if:" + QUOTES],
        "strict": [True, True],
        "loose": [True, True],
        "language": "English",
    }


def test_chats_not_turns_are_drawn_for_the_intervals(tmp_path: Path) -> None:
    """Turns of a chat that all share its fate are worth no more than the chat."""
    chats = [chat(f"{n}:en", "English", *[(text, [COMMA]) for text in "abc"]) for n in range(20)]
    rows = [{"key": f"{n}:en", "responses": ["a, b" if n % 2 else "a"] * 3} for n in range(20)]
    _, scores = scored(tmp_path, *rows, chats=chats)
    assert scores["average"].value == 0.5
    widths = [scores[name].ci_high - scores[name].ci_low for name in ("average", "turn_1")]
    assert widths[0] == pytest.approx(widths[1], abs=0.02)
    assert widths[0] > 0.4  # 20 chats: 1.96 * sqrt(0.25 / 20) to either side


def test_what_has_no_answer_or_no_rule_is_counted_and_not_scored(tmp_path: Path) -> None:
    chats = [
        *CHATS,
        chat("4:zh", "Chinese", ("词", ["keywords:frequency", COMMA], [NO_WORD, {}]), ("再", ["no:such", COMMA])),
    ]
    found, scores = scored(
        tmp_path,
        {"key": "1:en", "responses": ["yes", None]},
        {"key": "4:zh", "responses": ["好", "好, 好"]},
        chats=chats,
    )
    # French is not answered at all: not part of it. 1:en/2, 1:en/3 and all of 2:en are missing.
    assert (found.plain["missing"], scores["unanswered"].n) == (5, 8)
    assert not [metric for metric in scores if "French" in metric]
    # 4:zh/1: one instruction met, one unknown: no verdict on the whole. 4:zh/2: the comma decides.
    assert (scores["turn_1/Chinese/prompt_strict"].n, scores["turn_1/Chinese/prompt_strict"].unscored) == (0, 1)
    assert scores["turn_1/Chinese/instruction_strict"].value == 1.0
    assert scores["turn_2/Chinese/prompt_strict"].value == 0.0
    assert scores["turn_1/prompt_strict"].n == 1
    notes = "\n".join(found.notes)
    assert "2 of 19 instructions have no verdict" in notes
    assert "keywords:frequency: keyword is ''" in notes
    assert "1 unreadable_instruction: unknown constraint kind 'no:such'" in notes
    assert "5 of 8 turns have no answer" in notes
    assert "no chat in French is answered" in notes
    items = {row["key"]: row for row in map(json.loads, (tmp_path / "items.jsonl").read_text().splitlines())}
    assert items["4:zh/2"]["reasons"][0].startswith("unreadable_instruction: unknown constraint kind 'no:such'")
    assert items["4:zh/1"]["strict"] == [None, True]


def test_answers_cut_by_the_token_limit_are_counted(tmp_path: Path) -> None:
    _, scores = scored(tmp_path, {"key": "1:en", "turn": 1, "response": "yes", "finish_reason": "length"})
    assert (scores["truncated"].value, scores["truncated"].n) == (1.0, 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"key": "9:en", "responses": ["a"]}, "line 1: key '9:en' is no chat of the data"),
        ({"key": "3:fr", "turn": 3, "response": "a"}, "line 1: chat '3:fr' has no turn 3"),
        ({"key": "1:en", "response": "a"}, "line 1: column 'turn' must be a whole number"),
        ({"key": "1:en", "text": "a"}, "line 1: a row needs 'turn' and 'response', or 'responses'"),
        ({"key": "1:en", "responses": "a"}, "line 1: column 'responses' must be a list of texts"),
        ({"key": "1:en", "responses": ["a"] * 4}, "line 1: chat '1:en' has no turn 4"),
        ({"turn": 1, "response": "a"}, "line 1: column 'key' is missing"),
    ],
)
def test_bad_answers_are_told_with_their_line_or_left_out(tmp_path: Path, row: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        scored(tmp_path, row)
    found, scores = scored(tmp_path, row, {"key": "2:en", "responses": ["a"]}, skip_bad=True)
    assert [drop.reason for drop in found.left_out] == ["bad_row"]
    assert scores["turn_1/English"].n == 1


def test_a_second_answer_to_a_turn_is_told(tmp_path: Path) -> None:
    rows = ({"key": "1:en", "responses": ["a"]}, {"key": "1:en", "turn": 1, "response": "b"})
    with pytest.raises(DataError, match="line 2: second answer to turn '1:en/1'"):
        scored(tmp_path, *rows)


def test_a_row_that_is_left_out_answers_nothing(tmp_path: Path) -> None:
    rows = [{"key": "1:en", "responses": [None, "b"]}, {"key": "1:en", "responses": [None, "b", "c"]}]
    found, scores = scored(tmp_path, *rows, {"key": "1:en", "turn": 3, "response": "c"}, skip_bad=True)
    assert len(found.left_out) == 1
    assert scores["turn_3/English"].n == 1


def test_a_file_that_answers_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row answers any of the 3 chats"):
        scored(tmp_path, {"key": "1:en", "responses": [None]})


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("turn_1_prompt", "", "needs turn_1_prompt, and turns after it without a gap"),
        ("turn_1_prompt", "hello", "column 'turn_1_prompt' is not JSON: 'hello'"),
        ("turn_1_prompt", '{"role": "user"}', "column 'turn_1_prompt' must be a chat message"),
        ("turn_2_kwargs", "[]", "column 'kwargs' must be a list with one object for each of the 2"),
        ("turn_2_kwargs", '["{", "{}"]', "column 'turn_2_kwargs' holds an entry that is not JSON"),
        ("turn_2_instruction_id_list", "", "column 'turn_2_instruction_id_list' is not JSON"),
        ("key", "2:en", "chat '2:en' was read before"),
    ],
)
def test_bad_data_is_told_with_its_line(tmp_path: Path, column: str, value: str, message: str) -> None:
    rows = [CHATS[1], {**CHATS[0], column: value}]
    with pytest.raises(DataError, match=f"line 3: .*{message}"):
        read_chats(write_csv(tmp_path, rows))


def test_data_without_rows_or_without_a_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no chats"):
        read_chats(write_csv(tmp_path, []))
    (tmp_path / "empty").mkdir()
    request = FileRequest(answered(tmp_path / "a.jsonl"), data_dir=tmp_path / "empty")
    with pytest.raises(DataError, match=r"holds no multi_if/multi_if\.jsonl; --data-dir is the folder above it"):
        BENCHMARK.score_file(request)


def test_rows_of_the_hub_read_like_the_csv(tmp_path: Path) -> None:
    """`datasets` hands empty cells over as nulls."""
    of_csv = read_chats(write_csv(tmp_path, CHATS))
    rows = [{name: value or None for name, value in row.items()} for row in CHATS]
    path = tmp_path / "chats.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    assert read_chats(path).prompts.digest == of_csv.prompts.digest
    assert isinstance(of_csv, Chats)


def test_a_limit_takes_whole_chats_of_all_languages(tmp_path: Path) -> None:
    loaded = BENCHMARK.load(write_csv(tmp_path, CHATS), {})
    chosen = BENCHMARK.chosen(loaded.content, 2)
    assert [prompt.source for prompt in BENCHMARK.prompts(chosen)] == [
        *(f"multi_if/1:en/{turn}" for turn in (1, 2, 3)),
        *(f"multi_if/2:en/{turn}" for turn in (1, 2, 3)),
    ]


def test_parts_are_the_languages_asked_for(tmp_path: Path) -> None:
    (whole,) = BENCHMARK.parts(Options())
    (some,) = BENCHMARK.parts(Options(languages=("fr", "en")))
    assert (whole.place, whole.data) == ("multi_if", {})
    assert (some.place, some.data) == ("multi_if-en+fr", {"languages": ["en", "fr"]})
    path = write_csv(tmp_path, CHATS)
    assert BENCHMARK.load(path, {"languages": ["fr"]}).content.names == ("3:fr",)
    with pytest.raises(DataError, match="no chat in Hindi"):
        BENCHMARK.load(path, {"languages": ["hi"]})
