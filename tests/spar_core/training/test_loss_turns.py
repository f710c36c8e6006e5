"""What of a refiner's rows is learned, on literal tokens: the four-turn refinement, the two-turn judgement."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from trainable_models import CHATML_TEMPLATE, FORMATS, tiny_tokenizer
from training_data import write_parquet
from transformers import PreTrainedTokenizerFast

from spar_core.config.training import SftTrainingConfig
from spar_core.errors import TrainingError
from spar_core.prompts import PromptLibrary
from spar_core.records import Message
from spar_core.roles.requests import judge_messages, refine_messages
from spar_core.training import TrainingSpec
from spar_core.training.chat_tokens import ChatTokenizer
from spar_core.training.examples import TokenRows, tokenise

MakeSpec = Callable[..., TrainingSpec]
TURNS = ("is it ok?", "no. a is missing", "mend it.", "add a.\n[[start]]\na\n[[end]]")
# The whole sequence with what is learned of it between « and ».
SEQUENCES = {
    "llama": "<|bot|><|start_header_id|>user<|end_header_id|>\n\nis it ok?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n«no. a is missing<|eot_id|>»"
    "<|start_header_id|>user<|end_header_id|>\n\nmend it.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n«add a.\n[[start]]\na\n[[end]]<|eot_id|>»",
    "mistral": "<s>[INST] is it ok? [/INST]« no. a is missing</s>»"
    "[INST] mend it. [/INST]« add a.\n[[start]]\na\n[[end]]</s>»",
    "glm": "[gMASK]<sop><|user|>\nis it ok?<|assistant|>«\nno. a is missing<|user|>»"
    "\nmend it.<|assistant|>«\nadd a.\n[[start]]\na\n[[end]]<|user|>»",
    "chatml": "<|im_start|>user\nis it ok?<|im_end|>\n<|im_start|>assistant\n«no. a is missing<|im_end|>»"
    "\n<|im_start|>user\nmend it.<|im_end|>\n<|im_start|>assistant\n«add a.\n[[start]]\na\n[[end]]<|im_end|>»",
}
FAMILIES = sorted(SEQUENCES)


def chat_of(family: str, template: str | None = None) -> ChatTokenizer:
    tokenizer = tiny_tokenizer(family, template)
    return ChatTokenizer(tokenizer, tokenizer.convert_tokens_to_ids(FORMATS[family]["stop"]))


def row(turns: tuple[str, ...], name: str = "e") -> dict[str, object]:
    roles = ("user", "assistant") * (len(turns) // 2)
    return {"example_id": name, "messages": [{"role": r, "content": t} for r, t in zip(roles, turns, strict=True)]}


def labelled(family: str, row: dict[str, list[int]]) -> str:
    """The row's text with what carries loss between « and »; loss is on a token's own id everywhere."""
    tokenizer, text, open_before = tiny_tokenizer(family), "", False
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        assert label in (-100, token)
        if (label != -100) != open_before:
            open_before = not open_before
            text += "«" if open_before else "»"
        text += tokenizer.decode([token])
    return text + ("»" if open_before else "")


@pytest.fixture
def rows_of(make_spec: MakeSpec, tmp_path: Path) -> Callable[..., TokenRows]:
    def made(chat: ChatTokenizer, *rows: dict[str, object], **settings: object) -> TokenRows:
        file = write_parquet(tmp_path / "rows.parquet", list(rows))
        config = SftTrainingConfig(**settings)  # type: ignore[arg-type]
        spec = make_spec("sft", tmp_path).model_copy(update={"data_files": (file,), "config": config})
        return tokenise(spec, chat, config.max_length)

    return made


Rows = Callable[..., TokenRows]


@pytest.mark.parametrize("family", FAMILIES)
def test_of_a_four_turn_refinement_every_answer_is_learned_or_the_last(family: str, rows_of: Rows) -> None:
    (everything,) = rows_of(chat_of(family), row(TURNS), loss_turns="all").rows
    assert labelled(family, everything) == SEQUENCES[family]
    (last,) = rows_of(chat_of(family), row(TURNS), loss_turns="last").rows
    before, _, critique_and_on = SEQUENCES[family].partition("«")
    critique, _, after = critique_and_on.partition("»")
    assert labelled(family, last) == before + critique + after
    assert last["input_ids"] == everything["input_ids"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("loss_turns", ["all", "last"])
def test_a_two_turn_judgement_is_the_beginning_of_the_refinement(family: str, loss_turns: str, rows_of: Rows) -> None:
    (judgement,) = rows_of(chat_of(family), row(TURNS[:2]), loss_turns=loss_turns).rows
    assert labelled(family, judgement) == SEQUENCES[family].partition("»")[0] + "»"
    # and its literal ids are those of the refinement's first turns: one prefix for a server to keep
    (refinement,) = rows_of(chat_of(family), row(TURNS), loss_turns="all").rows
    begin = len(judgement["input_ids"])
    assert refinement["input_ids"][:begin] == judgement["input_ids"]
    assert refinement["labels"][:begin] == judgement["labels"]


def test_the_published_sets_rows_are_these_chats() -> None:
    library = PromptLibrary.load("published")
    judged = judge_messages(library, "P", "R")
    refined = refine_messages(library, "P", "R", "C")
    assert [turn.role for turn in (*refined, Message("assistant", ""))] == ["user", "assistant"] * 2
    assert refined[:2] == (*judged, Message("assistant", "C"))


def test_literal_ids() -> None:
    # <|endoftext|> 0, <|im_start|> 1, <|im_end|> 2, a 3 ... z 28, " " 29, ? 30, . 31, [ 32, ] 33, newline 34
    short = CHATML_TEMPLATE.replace("m['role']", "m['role'][0]").replace("assistant", "a")
    chat = chat_of("chatml", short)
    prompt = (Message("user", "a?"), Message("assistant", "no."), Message("user", "b"))
    question = [1, 23, 34, 3, 30, 2, 34]  # <|im_start|> u newline a ? <|im_end|> newline
    answer = [1, 3, 34, 16, 17, 31, 2, 34]  # <|im_start|> a newline n o . <|im_end|> newline
    again = [1, 23, 34, 4, 2, 34]
    encoded = chat.encode(prompt, ["c"])
    assert encoded.prompt == [*question, *answer, *again, 1, 3, 34]
    assert encoded.answers == [[5, 2]]
    assert chat.answered(prompt) == [(10, 14)]
    assert encoded.prompt[10:14] == [16, 17, 31, 2]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pieces", ["byte-level", "byte-level, offsets without spaces", "words with a space before"])
def test_tokens_that_hold_several_characters(family: str, pieces: str) -> None:
    tokenizer = subword_tokenizer(family, pieces)
    chat = ChatTokenizer(tokenizer, tokenizer.convert_tokens_to_ids(FORMATS[family]["stop"]))
    prompt = tuple(Message(role, text) for role, text in zip(("user", "assistant", "user"), TURNS, strict=False))
    encoded = chat.encode(prompt, [TURNS[3]])
    (span,) = chat.answered(prompt)
    learned = encoded.prompt[slice(*span)]
    assert tokenizer.decode(learned[:-1]).strip() == TURNS[1]
    assert learned[-1] in tokenizer.convert_tokens_to_ids(FORMATS[family]["stop"])
    assert len(learned) < len(TURNS[1])  # pieces, not characters
    # what was learned there as the last turn is what is learned here as an earlier one
    alone = chat.encode(prompt[:1], [TURNS[1]])
    assert learned == alone.answers[0]
    assert tokenizer.decode(encoded.prompt[: span[0]]) == tokenizer.decode(alone.prompt)


def subword_tokenizer(family: str, pieces: str) -> PreTrainedTokenizerFast:
    style = FORMATS[family]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    if pieces.startswith("byte"):
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets="without" in pieces)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    special = [*style["special"], "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([style["template"], *TURNS, " ".join(TURNS), "user assistant\n\n"] * 3, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=style["bos"], eos_token=style["eos"])
    fast.chat_template = style["template"]
    return fast


def test_spaces_around_an_answer_belong_to_it_where_the_template_keeps_them(rows_of: Rows) -> None:
    turns = ("a?", " no.\n\n", "b", "c")
    (kept,) = rows_of(chat_of("chatml"), row(turns), loss_turns="all").rows
    assert "assistant\n« no.\n\n<|im_end|>»" in labelled("chatml", kept)
    (trimmed,) = rows_of(chat_of("llama"), row(turns), loss_turns="all").rows
    assert "«no.<|eot_id|>»" in labelled("llama", trimmed)


def test_a_template_with_another_opening_for_an_answer_to_come_is_followed(rows_of: Rows) -> None:
    # Qwen3 without thoughts: what is asked for begins with an empty thought that standing answers lack
    thinking = CHATML_TEMPLATE.replace("assistant\n{% endif %}", "assistant\n[]\n\n{% endif %}")
    (made,) = rows_of(chat_of("chatml", thinking), row(TURNS), loss_turns="all").rows
    assert "assistant\n«no. a is missing<|im_end|>»" in labelled("chatml", made)
    assert "assistant\n[]\n\n«add a." in labelled("chatml", made)


def test_an_answer_the_template_rewrites_is_a_drop_and_all_of_them_an_error(rows_of: Rows) -> None:
    shouting = CHATML_TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'] | replace('no', 'yes') }}")
    made = rows_of(chat_of("chatml", shouting), row(TURNS, "x"), row(TURNS[:2], "y"), loss_turns="all")
    assert "yes. a is missing" in labelled("chatml", made.rows[0])
    (drop,) = made.dropped
    assert len(made.rows) == 1
    assert (drop.record_id, drop.reason) == ("x", "rewritten_turn")
    assert "loss_turns=last" in drop.detail
    with pytest.raises(TrainingError, match="None of 1 rows can be trained on, 1 of them because the chat template"):
        rows_of(chat_of("chatml", shouting), row(TURNS), loss_turns="all")


def test_a_tokenizer_that_does_not_say_where_its_tokens_stand_is_named() -> None:
    class Slow(PreTrainedTokenizerFast):  # type: ignore[misc]
        def __call__(self, *_: object, **__: object) -> NoReturn:
            raise NotImplementedError  # as those in Python do where offsets are asked for

    slow = tiny_tokenizer("chatml")
    slow.__class__, slow.name_or_path = Slow, "slow"
    with pytest.raises(TrainingError, match=r"tokenizer of slow.*tokenizer\.json.*loss_turns=last"):
        ChatTokenizer(slow).answered((Message("user", "a"), Message("assistant", "b"), Message("user", "c")))
