import pytest
from trainable_models import FORMATS, LLAMA3_TEMPLATE, MISTRAL_TEMPLATE, tiny_tokenizer

from spar_core.engines.chat_format import ChatFormat
from spar_core.errors import TrainingError
from spar_core.records import Message
from spar_core.training.chat_tokens import ChatTokenizer

USER = (Message("user", "hi?"),)
SYSTEM = (Message("system", "be calm"), *USER)
PROMPTS = {
    "llama": "<|bot|><|start_header_id|>user<|end_header_id|>\n\nhi?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "<s>[INST] hi? [/INST]",
    "glm": "[gMASK]<sop><|user|>\nhi?<|assistant|>",
}
ANSWERS = {"llama": "yes<|eot_id|>", "mistral": " yes</s>", "glm": "\nyes<|user|>"}


def chat_of(kind: str, template: str | None = None) -> ChatTokenizer:
    tokenizer = tiny_tokenizer(kind, template)
    return ChatTokenizer(tokenizer, frozenset(tokenizer.convert_tokens_to_ids(FORMATS[kind]["stop"])))


@pytest.mark.parametrize("kind", ["llama", "mistral", "glm"])
def test_prompt_is_what_an_engine_sends_and_answer_ends_its_turn(kind: str) -> None:
    tokenizer = tiny_tokenizer(kind)
    encoded = chat_of(kind).encode(USER, ["yes", "no"])
    assert tokenizer.decode(encoded.prompt) == PROMPTS[kind]
    assert encoded.prompt == list(ChatFormat(tokenizer, "m").tokens(USER))
    assert tokenizer.decode(encoded.answers[0]) == ANSWERS[kind]
    assert tokenizer.decode(encoded.answers[1]) == ANSWERS[kind].replace("yes", "no")


def test_system_turn_joins_the_user_turn_where_the_template_has_none() -> None:
    encoded = chat_of("mistral").encode(SYSTEM, ["yes"])
    assert tiny_tokenizer("mistral").decode(encoded.prompt) == "<s>[INST] be calm\n\nhi? [/INST]"
    kept = chat_of("glm").prompt_text(SYSTEM)
    assert kept == "[gMASK]<sop><|system|>\nbe calm<|user|>\nhi?<|assistant|>"


def test_template_that_drops_the_system_turn_in_silence_counts_as_having_none() -> None:
    silent = LLAMA3_TEMPLATE.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
    assert "be calm\n\nhi?" in chat_of("llama", silent).prompt_text(SYSTEM)


def test_text_after_the_end_of_turn_is_not_trained_on() -> None:
    chatml = LLAMA3_TEMPLATE.replace("<|eot_id|>", "<|eot_id|>\n")
    encoded = chat_of("llama", chatml).encode(USER, ["yes"])
    assert tiny_tokenizer("llama").decode(encoded.answers[0]) == "yes<|eot_id|>"


def test_template_that_rewrites_a_finished_answer_gets_the_bare_answer_and_an_end() -> None:
    rewriting = LLAMA3_TEMPLATE.replace("assistant<|end_header_id|>\n\n{%", "assistant<|end_header_id|>\n\n ? {%")
    encoded = chat_of("llama", rewriting).encode(USER, ["yes"])
    assert tiny_tokenizer("llama").decode(encoded.prompt).endswith("\n\n ? ")
    assert tiny_tokenizer("llama").decode(encoded.answers[0]) == "yes<|eot_id|>"


def test_missing_template_and_refused_turns_say_what_to_do() -> None:
    bare = tiny_tokenizer("llama")
    bare.chat_template = None
    with pytest.raises(TrainingError, match=r"chat_template\.jinja"):
        ChatTokenizer(bare)
    with pytest.raises(TrainingError, match="roles must alternate"):
        chat_of("mistral", MISTRAL_TEMPLATE).encode((*USER, *USER), ["a"])
