"""Rows cut to a number of tokens, by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
from trainable_models import tiny_tokenizer
from training_data import write_parquet

from spar_core.config.training import DpoTrainingConfig, SftTrainingConfig
from spar_core.errors import TrainingError
from spar_core.training import TrainingSpec
from spar_core.training.chat_tokens import ChatTokenizer
from spar_core.training.examples import tokenise
from spar_core.training.overlong import cut_pair, cut_turns, shares


@pytest.mark.parametrize(
    ("question", "answer", "room", "kept"),
    [
        (90, 20, 100, (80, 20)),  # a short answer is spared
        (20, 90, 100, (20, 80)),  # a short question is spared
        (60, 180, 100, (25, 75)),  # both give up in proportion
        (50, 50, 100, (50, 50)),
        (300, 3, 4, (4, 0)),  # 4 * 3 // 303 = 0 of the answer: the question fills the room
        (10, 20, 100, (10, 20)),
    ],
)
def test_shares(question: int, answer: int, room: int, kept: tuple[int, int]) -> None:
    assert shares(question, answer, room) == kept


def test_a_pair_shares_by_its_longer_answer() -> None:
    prompt, chosen, rejected = list(range(60)), list(range(180)), list(range(10))
    assert cut_pair(prompt, chosen, rejected, 100) == (prompt[:25], chosen[:75], rejected)


def test_a_chat_is_cut_turn_by_turn() -> None:
    ids = list(range(100))  # question 0-9, answer 10-29, question 30-39, answer 40-99
    answers = [(10, 30), (40, 100)]
    # the first turn fits; of 30 tokens of room the second question keeps 10, its answer 20
    kept, spans = cut_turns(ids, answers, 60)
    assert kept == ids[:60]
    assert spans == [(10, 30), (40, 60)]
    # 20 of room: the question of 10 is no shorter than half, 20 * 20 // 30 = 13 of the answer, 7 of the question
    kept, spans = cut_turns(ids, answers, 20)
    assert kept == [*range(7), *range(10, 23)]
    assert spans == [(7, 20)]


MakeSpec = Callable[..., TrainingSpec]


def test_training_rows_are_cut_where_the_settings_say_so(make_spec: MakeSpec, tmp_path: Path) -> None:
    chat = ChatTokenizer(tiny_tokenizer("mistral"))
    pair = {"pair_id": "p", "prompt": "hi?", "chosen": "yes yes", "rejected": "yes no"}
    file = write_parquet(tmp_path / "p.parquet", [pair, {**pair, "pair_id": "q", "rejected": "yes"}])
    spec = make_spec("dpo", tmp_path).model_copy(
        update={"data_files": (file,), "config": DpoTrainingConfig(overlong="truncate")}
    )
    # 8 tokens of prompt, answers of 9 ( yes yes</s>), 8 ( yes no</s>), 5 ( yes</s>); room 12: 12 * 9 // 17 = 6 and 6
    data = tokenise(spec, chat, 12)
    assert [{name: len(ids) for name, ids in row.items()} for row in data.rows] == [
        {"prompt_ids": 6, "chosen_ids": 6, "rejected_ids": 6},
        {"prompt_ids": 6, "chosen_ids": 6, "rejected_ids": 5},
    ]
    assert data.dropped == ()
    # room 8: 8 * 9 // 17 = 4 tokens of each answer, " yes" of both: nothing tells them apart
    with pytest.raises(TrainingError, match="All 2 rows are longer than 8 tokens"):
        tokenise(spec, chat, 8)


def test_a_cut_example_keeps_its_labels_in_place(make_spec: MakeSpec, tmp_path: Path) -> None:
    # 6 + 3 tokens of the first turn, 5 + 9 of the second: of 11 left the question keeps 5 and the answer 6
    chat = ChatTokenizer(tiny_tokenizer("mistral"))
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d d d d")]
    row = {"example_id": "e", "messages": [{"role": role, "content": text} for role, text in turns]}
    file = write_parquet(tmp_path / "e.parquet", [row])
    config = SftTrainingConfig(overlong="truncate", loss_turns="all")
    spec = make_spec("sft", tmp_path).model_copy(update={"data_files": (file,), "config": config})
    (made,) = tokenise(spec, chat, 20).rows
    tokenizer = tiny_tokenizer("mistral")
    assert tokenizer.decode(made["input_ids"]) == "<s>[INST] a [/INST] b</s>[INST] c [/INST] d d d"
    assert tokenizer.decode([label for label in made["labels"] if label != -100]) == " b</s> d d d"
