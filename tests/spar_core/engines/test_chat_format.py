from pathlib import Path

import pytest
from tiny_models import ASSISTANT, NO_SYSTEM_TEMPLATE, SYSTEM, TEMPLATE, USER, write_tokenizer
from transformers import PreTrainedTokenizerFast

from spar_core.engines.chat_format import ChatFormat, merge_system
from spar_core.engines.configuration import OpenAIEngineConfig, ThinkingSettings
from spar_core.errors import EngineError, RequestRejectedError
from spar_core.records import Message

SYSTEM_AND_USER = (Message("system", "w10"), Message("user", "w20"))
FORGETS_SYSTEM = TEMPLATE.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
ALTERNATING = TEMPLATE.replace(
    "{% for m in messages %}",
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}",
)


def chat_format(folder: Path, template: str | None, other: str | None = None) -> ChatFormat:
    write_tokenizer(folder, template)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    return ChatFormat(tokenizer, "model folder m", ThinkingSettings(chat_template=other))


def test_chat_ends_where_the_answer_begins(tmp_path: Path) -> None:
    chat = chat_format(tmp_path, TEMPLATE)
    messages = (*SYSTEM_AND_USER, Message("assistant", "w30"), Message("user", "w40"))
    assert chat.has_system_role
    assert chat.tokens(messages) == (SYSTEM, 10, USER, 20, ASSISTANT, 30, USER, 40, ASSISTANT)
    assert chat.text(SYSTEM_AND_USER) == "<system> w10 <user> w20 <assistant> "
    assert chat.tokens(messages) is chat.tokens(tuple(messages))


@pytest.mark.parametrize("template", [NO_SYSTEM_TEMPLATE, FORGETS_SYSTEM, ALTERNATING])
def test_system_text_is_merged_where_the_template_refuses_or_forgets_it(tmp_path: Path, template: str) -> None:
    chat = chat_format(tmp_path, template)
    assert not chat.has_system_role
    assert chat.tokens(SYSTEM_AND_USER) == (USER, 10, 20, ASSISTANT)


def test_merging_keeps_the_other_turns() -> None:
    turns = (Message("system", "s"), Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert merge_system(turns) == (Message("user", "s\n\na"), *turns[2:])
    assert merge_system(turns[1:]) == turns[1:]
    assert merge_system((Message("system", "s"),)) == (Message("user", "s"),)


def test_missing_template_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"model folder m has no chat template.*chat_template\.jinja"):
        chat_format(tmp_path, None)


def test_messages_the_template_refuses_are_a_rejected_request(tmp_path: Path) -> None:
    chat = chat_format(tmp_path, ALTERNATING)
    with pytest.raises(RequestRejectedError, match="roles must alternate") as caught:
        chat.tokens((Message("user", "a"), Message("user", "b")))
    assert caught.value.reason == "chat_template"


def test_decoding_removes_special_tokens(tmp_path: Path) -> None:
    assert chat_format(tmp_path, TEMPLATE).decode([50, ASSISTANT, 51]) == "w50 w51"


def test_another_template_takes_the_place_of_the_models_own(tmp_path: Path) -> None:
    chat = chat_format(tmp_path, TEMPLATE, NO_SYSTEM_TEMPLATE)
    assert chat.tokens(SYSTEM_AND_USER) == (USER, 10, 20, ASSISTANT)
    assert (chat.template, chat.own_template) == (NO_SYSTEM_TEMPLATE, TEMPLATE)


def test_a_model_without_a_template_is_given_one(tmp_path: Path) -> None:
    assert chat_format(tmp_path, None, TEMPLATE).tokens(SYSTEM_AND_USER) == (SYSTEM, 10, USER, 20, ASSISTANT)


def test_a_template_by_name(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, TEMPLATE)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    tokenizer.chat_template = {"default": TEMPLATE, "other": NO_SYSTEM_TEMPLATE}
    assert ChatFormat(tokenizer, "m").template == TEMPLATE
    assert ChatFormat(tokenizer, "m", ThinkingSettings(chat_template="other")).template == NO_SYSTEM_TEMPLATE
    with pytest.raises(EngineError, match=r"no chat template 'tools'; it has default, other\."):
        ChatFormat(tokenizer, "m", ThinkingSettings(chat_template="tools"))
    tokenizer.chat_template = {"other": NO_SYSTEM_TEMPLATE}
    with pytest.raises(EngineError, match=r"several chat templates \(other\) and none called default"):
        ChatFormat(tokenizer, "m")


def test_a_server_of_others_takes_no_template() -> None:
    with pytest.raises(ValueError, match="a server lays out chats itself"):
        OpenAIEngineConfig(base_urls=("http://a/v1",), model="m", chat_template="{{ x }}")
