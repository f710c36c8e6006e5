import pytest
from trainable_models import FORMATS, LLAMA3_TEMPLATE, MISTRAL_TEMPLATE, tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from spar_core.engines.chat_format import ChatFormat
from spar_core.engines.configuration import ThinkingSettings
from spar_core.errors import TrainingError
from spar_core.records import Message
from spar_core.training.chat_tokens import ChatTokenizer
from tests.chat_templates import family_tokenizer

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


def family(name: str, **settings: object) -> tuple[ChatTokenizer, PreTrainedTokenizerFast, ThinkingSettings]:
    tokenizer, thinking = family_tokenizer(name), ThinkingSettings.model_validate(settings)
    return ChatTokenizer(tokenizer, thinking=thinking), tokenizer, thinking


@pytest.mark.parametrize(
    ("name", "settings", "generated"),
    [
        ("qwen3", {"chat_template_kwargs": {"enable_thinking": False}}, "yes<|im_end|>"),
        ("glm4", {}, "\nyes<|user|>"),
        ("llama32", {}, "yes<|eot_id|>"),
        ("gemma2", {}, "yes<end_of_turn>"),
    ],
)
def test_what_is_trained_on_is_what_the_model_generated(name: str, settings: dict[str, object], generated: str) -> None:
    chat, tokenizer, thinking = family(name, **settings)
    engine = ChatFormat(tokenizer, "m", thinking)
    ids = tokenizer.encode(generated, add_special_tokens=False)
    answer = engine.rules.split(engine.decode(ids[:-1])).text  # as an engine hands it on: without the end token
    assert answer == "yes"
    encoded = chat.encode(SYSTEM, [answer])
    assert tuple(encoded.prompt) == engine.tokens(SYSTEM)
    assert encoded.answers == [ids]


@pytest.mark.parametrize("name", ["qwen3", "qwen3-thinking", "r1"])
def test_the_empty_thought_of_a_model_that_thinks_is_not_trained_on(name: str) -> None:
    chat, tokenizer, _ = family(name)
    encoded = chat.encode(USER, ["yes", "no"])
    prompt = tokenizer.decode(encoded.prompt)
    assert prompt.startswith(chat.prompt_text(USER))
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert [tokenizer.decode(answer) for answer in encoded.answers] == ["yes<|im_end|>", "no<|im_end|>"]


@pytest.mark.parametrize(
    ("name", "answer", "trained"),
    [
        ("qwen3", "<think>\nhm\n</think>\n\nyes", "<think>\nhm\n</think>\n\nyes<|im_end|>"),
        ("qwen3-thinking", "hm\n</think>\n\nyes", "hm\n</think>\n\nyes<|im_end|>"),
        ("r1", "hm\n</think>\n\nyes", "hm\n</think>\n\nyes<|im_end|>"),
    ],
)
def test_an_answer_that_holds_its_thought_is_trained_on_as_it_was_generated(
    name: str, answer: str, trained: str
) -> None:
    chat, tokenizer, _ = family(name, thoughts="none")
    encoded = chat.encode(USER, [answer])
    assert tokenizer.decode(encoded.prompt) == chat.prompt_text(USER)
    assert tokenizer.decode(encoded.answers[0]) == trained


def test_data_do_not_depend_on_the_day() -> None:
    chat, tokenizer, _ = family("llama32")
    assert "Today: 26 Jul 2024" in tokenizer.decode(chat.encode(USER, ["yes"]).prompt)


def test_a_models_chat_without_thoughts_is_left_as_it_is() -> None:
    for kind in ("llama", "mistral", "glm"):
        chat, tokenizer = chat_of(kind), tiny_tokenizer(kind)
        assert tokenizer.decode(chat.encode(USER, ["yes"]).prompt) == chat.prompt_text(USER)
