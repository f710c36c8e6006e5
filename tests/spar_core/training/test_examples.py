from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trainable_models import tiny_tokenizer
from training_data import write_parquet

from spar_core.errors import TrainingError
from spar_core.records import Drop
from spar_core.training import TrainingSpec
from spar_core.training.chat_tokens import ChatTokenizer
from spar_core.training.examples import tokenise

MakeSpec = Callable[..., TrainingSpec]
PAIR = {"pair_id": "p", "prompt": "hi?", "chosen": "yes", "rejected": "no"}


@pytest.fixture
def chat() -> ChatTokenizer:
    return ChatTokenizer(tiny_tokenizer("mistral"))


def ids(text: str) -> list[int]:
    return list(tiny_tokenizer("mistral")(text, add_special_tokens=False)["input_ids"])


def with_rows(make_spec: MakeSpec, tmp_path: Path, kind: str, rows: list[dict[str, object]]) -> TrainingSpec:
    return make_spec(kind, tmp_path).model_copy(update={"data_files": (write_parquet(tmp_path / "d.parquet", rows),)})


def test_pair_row_splits_prompt_and_answers(make_spec: MakeSpec, tmp_path: Path, chat: ChatTokenizer) -> None:
    data = tokenise(with_rows(make_spec, tmp_path, "dpo", [PAIR]), chat, 100)
    assert data.rows == [
        {"prompt_ids": ids("<s>[INST] hi? [/INST]"), "chosen_ids": ids(" yes</s>"), "rejected_ids": ids(" no</s>")}
    ]
    assert data.dropped == ()


@pytest.mark.parametrize(
    ("ends", "cut", "chosen", "rejected"),
    [
        ("all", "rejected", " yes</s>", " no</s>"),
        ("whole", "rejected", " yes</s>", " no"),
        ("whole", "none", " yes</s>", " no</s>"),
        ("chosen", "rejected", " yes</s>", " no"),
        ("chosen", "none", " yes</s>", " no"),
        ("chosen", "chosen", " yes", " no"),
        ("none", "none", " yes", " no"),
    ],
)
def test_which_texts_are_learned_with_their_end(
    make_spec: MakeSpec, tmp_path: Path, chat: ChatTokenizer, ends: str, cut: str, chosen: str, rejected: str
) -> None:
    told = {"chosen_cut": cut == "chosen", "rejected_cut": cut == "rejected"}
    spec = with_rows(make_spec, tmp_path, "dpo", [{**PAIR, **told}])
    spec = spec.model_copy(update={"config": spec.config.model_copy(update={"ends": ends})})
    (row,) = tokenise(spec, chat, 100).rows
    assert (row["chosen_ids"], row["rejected_ids"]) == (ids(chosen), ids(rejected))
    assert chat.without_end(ids("</s>")) == ids("</s>")  # else nothing would be left of an empty answer


def test_a_pair_may_have_a_chat_as_its_prompt(make_spec: MakeSpec, tmp_path: Path, chat: ChatTokenizer) -> None:
    turns = [("user", "a"), ("assistant", "b"), ("user", "hi?")]
    row = {**PAIR, "prompt": [{"role": role, "content": text} for role, text in turns]}
    data = tokenise(with_rows(make_spec, tmp_path, "dpo", [row]), chat, 100)
    prompt = ids("<s>[INST] a [/INST] b</s>[INST] hi? [/INST]")
    assert data.rows == [{"prompt_ids": prompt, "chosen_ids": ids(" yes</s>"), "rejected_ids": ids(" no</s>")}]


def test_only_the_last_answer_is_labelled(make_spec: MakeSpec, tmp_path: Path, chat: ChatTokenizer) -> None:
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    row = {"example_id": "e", "messages": [{"role": role, "content": text} for role, text in turns]}
    data = tokenise(with_rows(make_spec, tmp_path, "sft", [row]), chat, 100)
    prompt, answer = ids("<s>[INST] a [/INST] b</s>[INST] c [/INST]"), ids(" d</s>")
    assert data.rows == [{"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}]


def test_long_rows_are_recorded_drops(make_spec: MakeSpec, tmp_path: Path, chat: ChatTokenizer) -> None:
    # <s> [INST] space h i ? space [/INST] = 8 tokens; " yes</s>" = 5, " yes yes</s>" = 9
    longer = {**PAIR, "pair_id": "q", "rejected": "yes yes"}
    spec = with_rows(make_spec, tmp_path, "dpo", [longer, PAIR])
    data = tokenise(spec, chat, 16)
    assert len(data.rows) == 1
    assert data.dropped == (Drop("training", "q", "too_long", "17 tokens, at most 16"),)
    assert tokenise(spec, chat, 17).dropped == ()
    with pytest.raises(TrainingError, match=r"All 2 rows are longer than 12 tokens; raise max_length"):
        tokenise(spec, chat, 12)


def test_unusable_data_is_named(make_spec: MakeSpec, tmp_path: Path, chat: ChatTokenizer) -> None:
    spec = with_rows(make_spec, tmp_path, "dpo", [PAIR])
    file = spec.data_files[0]
    pq.write_table(pa.Table.from_pylist([PAIR]).slice(0, 0), file)
    with pytest.raises(TrainingError, match="No rows to train on"):
        tokenise(spec, chat, 100)
    write_parquet(file, [{"pair_id": "p", "prompt": "a"}])
    with pytest.raises(TrainingError, match="chosen"):
        tokenise(spec, chat, 100)
    write_parquet(file, [PAIR, {**PAIR, "chosen": None}])
    with pytest.raises(TrainingError, match=r"null values in \['chosen'\]"):
        tokenise(spec, chat, 100)
    file.write_bytes(b"PAR1 but torn")
    with pytest.raises(TrainingError, match=r"Cannot read training data .*d\.parquet"):
        tokenise(spec, chat, 100)
    ends_with_user = {"example_id": "e", "messages": [{"role": "user", "content": "a"}]}
    with pytest.raises(TrainingError, match="Example e must end with an assistant message"):
        tokenise(with_rows(make_spec, tmp_path, "sft", [ends_with_user]), chat, 100)
