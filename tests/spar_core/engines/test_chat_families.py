"""What engines send to models of the usual families, and how they read what comes back."""

from datetime import datetime
from pathlib import Path

import pytest

from spar_core.engines.chat_format import ChatFormat, dated
from spar_core.engines.configuration import ThinkingSettings
from spar_core.errors import RequestRejectedError
from spar_core.records import Message
from tests.chat_templates import LLAMA32, family_tokenizer

USER = (Message("user", "hi?"),)
SYSTEM = (Message("system", "be calm"), *USER)


def chat_of(family: str, **settings: object) -> ChatFormat:
    return ChatFormat(family_tokenizer(family), "the model", ThinkingSettings.model_validate(settings))


@pytest.mark.parametrize(
    ("settings", "end", "opens"),
    [
        ({}, "<|im_start|>assistant\n", False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "<|im_start|>assistant\n", False),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
    ],
)
def test_the_thinking_switch_of_qwen3_reaches_the_template(settings: dict[str, object], end: str, opens: bool) -> None:
    chat = chat_of("qwen3", **settings)
    assert chat.text(SYSTEM) == f"<|im_start|>system\nbe calm<|im_end|>\n<|im_start|>user\nhi?<|im_end|>\n{end}"
    assert (chat.opened is not None) is opens
    assert chat.rules.reading == "auto"


@pytest.mark.parametrize("family", ["qwen3-thinking", "r1"])
def test_a_template_that_opens_the_thought_is_seen(family: str) -> None:
    chat = chat_of(family)
    assert chat.text(USER).endswith("<|im_start|>assistant\n<think>\n")
    assert chat.rules.split("hm\n</think>\n\nyes") == ("hm", "yes")
    assert chat.rules.split("hm") == ("hm", "")
    assert chat_of(family, thoughts="none").rules.split("hm") == ("", "hm")


def test_earlier_thoughts_are_left_to_the_template() -> None:
    turns = (*USER, Message("assistant", "<think>\na\n</think>\n\nb"), Message("user", "c"))
    assert "<|im_start|>assistant\nb<|im_end|>" in chat_of("qwen3").text(turns)


def test_glm4_has_a_system_role_and_no_thoughts() -> None:
    chat = chat_of("glm4")
    assert chat.text(SYSTEM) == "[gMASK]<sop><|system|>\nbe calm<|user|>\nhi?<|assistant|>"
    assert chat.rules.split("\nyes") == ("", "yes")


def test_gemma_gets_the_system_text_in_its_first_turn() -> None:
    expected = "<start_of_turn>user\nbe calm\n\nhi?<end_of_turn>\n<start_of_turn>model\n"
    assert chat_of("gemma2").text(SYSTEM) == expected
    with pytest.raises(RequestRejectedError, match="must alternate"):
        chat_of("gemma2").text((*USER, *USER))


def test_llama_is_told_the_same_day_every_day() -> None:
    today = datetime.now().strftime("%d %b %Y")
    assert today in family_tokenizer("llama32").apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    chat = chat_of("llama32")
    assert "Today: 26 Jul 2024" in chat.text(USER)
    assert "Today: 26 Jul 2024" in chat.finished((*USER, Message("assistant", "yes")))
    assert "be calm<|eot_id|>" in chat.text(SYSTEM)
    told = chat_of("llama32", chat_template_kwargs={"date_string": "1 Apr 2030"})
    assert "Today: 1 Apr 2030" in told.text(USER)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ('{{ strftime_now("%d %b %Y") }}', "{{ '26 Jul 2024' }}"),
        ("{{ strftime_now( '%Y-%m-%d' ) }}", "{{ '2024-07-26' }}"),
        ("{% if strftime_now is defined %}x{% endif %}", "{% if strftime_now is defined %}x{% endif %}"),
        ("{{ strftime_now(format) }}", "{{ strftime_now(format) }}"),
    ],
)
def test_only_the_question_for_the_day_is_answered(asked: str, told: str) -> None:
    assert dated(asked) == told


def test_a_template_without_a_date_is_left_as_it_is() -> None:
    assert dated(LLAMA32) != LLAMA32
    plain = LLAMA32.replace("strftime_now", "other")
    assert dated(plain) == plain


def test_tags_that_are_special_tokens_survive_decoding() -> None:
    chat = chat_of("qwen3")
    ids = family_tokenizer("qwen3").encode("[THINK]hm[/THINK]yes<|im_end|>", add_special_tokens=False)
    assert chat.decode(ids) == "[THINK]hm[/THINK]yes"
    assert chat.hides_tags
    assert chat.rules.split(chat.decode(ids)) == ("hm", "yes")
    assert chat_of("qwen3", thoughts="none").decode(ids) == "hmyes"
    assert not chat_of("qwen3", thought_tags=[["<think>", "</think>"]]).hides_tags


def test_the_tokens_that_bound_a_thought_are_known_where_they_are_single_ones() -> None:
    tokenizer = family_tokenizer("qwen3")
    ids = tokenizer.convert_tokens_to_ids
    assert chat_of("qwen3").boundaries == (ids("<think>"), ids("</think>"))
    assert chat_of("qwen3", thought_tags=[["ab", "cd"]]).boundaries is None
    assert chat_of("qwen3", thought_tags=[["ab", "c"]]).boundaries == (ids("a"), ids("c"))


def test_a_template_variable_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="add_generation_prompt are no variables"):
        ThinkingSettings(chat_template_kwargs={"add_generation_prompt": False})


def test_a_folder_is_read_as_its_tokenizer_was_saved(tmp_path: Path) -> None:
    family_tokenizer("llama32").save_pretrained(tmp_path)
    from transformers import AutoTokenizer

    assert "26 Jul 2024" in ChatFormat(AutoTokenizer.from_pretrained(tmp_path), "m").text(USER)


def test_a_turn_that_goes_on_closes_the_thought_its_template_opened() -> None:
    chat = chat_of("qwen3-thinking")
    turns = (*USER, Message("assistant", "fine\nverdict:"))
    yes, no = (chat.decode(list(tokens)) for tokens in chat.continued(turns, (" yes", " no")))
    begun = chat.text(USER)
    assert begun.rstrip().endswith("<think>")
    assert yes.endswith("</think>\n\nfine\nverdict: yes")
    assert no == yes.removesuffix(" yes") + " no"
