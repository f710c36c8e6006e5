"""Thoughts as servers send them: in fields of their own, in parts, in the text, or cut."""

from typing import Any

import pytest
from misbehaving_server import Reply, answer, choice, proper, serving
from openai_requests import always, ask_one, engine_for, request
from pydantic import ValidationError

from spar_core.engines.base import Completion
from spar_core.engines.configuration import OpenAIEngineConfig, VllmEngineConfig
from spar_core.engines.server_identity import probe
from spar_core.errors import EngineError, RequestRejectedError


def said(content: Any, index: int = 0, finish_reason: str = "stop", **fields: Any) -> dict[str, Any]:
    found = choice(content, index, finish_reason)
    found["message"] |= fields
    return found


MISTRAL = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "two "}, {"type": "text", "text": "and two"}]},
    {"type": "text", "text": "Fo"},
    {"type": "text", "text": "ur."},
]


@pytest.mark.parametrize(
    ("found", "thought", "text"),
    [
        (said("\n\nFour.", reasoning_content="two and two\n"), "two and two", "Four."),  # vLLM, SGLang, DeepSeek
        (said("Four.", reasoning="two and two"), "two and two", "Four."),  # vLLM since 0.11, OpenRouter
        (said("Four.", reasoning=None, reasoning_content=None), "", "Four."),
        (said("Four.", reasoning_content=""), "", "Four."),
        (said(MISTRAL), "two and two", "Four."),
        (said([{"type": "thinking", "thinking": "two"}, {"type": "text", "text": "Four."}]), "two", "Four."),
        (said("<think>two and two</think>\n\nFour."), "two and two", "Four."),  # a server without a parser
        (said("two and two\n</think>\n\nFour."), "two and two", "Four."),
        (said("Use <think>.", reasoning="two"), "two", "Use <think>."),  # taken apart by the server already
        (said("Four.", reasoning={"tokens": 3}), "", "Four."),
        # Nothing but a thought.
        (said(None, finish_reason="length", reasoning_content="two and"), "two and", ""),
        (said("", finish_reason="length", reasoning_content="two and"), "two and", ""),
        (said(None, finish_reason="length"), "", ""),
        (said(None, reasoning="two and two"), "two and two", ""),  # it ended without closing its thought
        (said("<think>two and", finish_reason="length"), "two and", ""),
    ],
)
def test_thought_and_answer_are_told_apart(found: dict[str, Any], thought: str, text: str) -> None:
    with serving(always(answer(found))) as server:
        (completion,) = ask_one(engine_for(server.url)).completions
    assert completion == Completion(text, found["finish_reason"], 0, thought)


@pytest.mark.parametrize("content", [[], [{"type": "image_url", "image_url": "x"}], ["text"]])
def test_parts_without_a_text_are_no_answer(content: list[Any]) -> None:
    with serving(always(answer(said(content)))) as server, pytest.raises(RequestRejectedError) as caught:
        ask_one(engine_for(server.url))
    assert caught.value.reason == "empty_choice"


def test_a_cut_thought_is_one_lost_sample_and_its_siblings_live() -> None:
    choices = (said("a"), said(None, 1, "length", reasoning="hm"), said("<think>hm", 2, "length"), said("d", 3))
    with serving(always(answer(*choices, completion_tokens=19))) as server:
        generation = ask_one(engine_for(server.url), request(n=4))
        assert len(server.requests) == 1
    # Sizes 2, 3, 3 and 2 of 10: nineteen tokens are shared out by the length of thought and text.
    assert generation.completions == (
        Completion("a", "stop", 3),
        Completion("", "length", 6, "hm"),
        Completion("", "length", 6, "hm"),
        Completion("d", "stop", 4),
    )


def test_a_server_whose_template_opens_the_thought_has_cut_ones_too() -> None:
    with serving(always(answer(said("two and", finish_reason="length")))) as server:
        assert ask_one(engine_for(server.url, thoughts="opened")).completions[0].thought == "two and"
        assert ask_one(engine_for(server.url)).completions[0].text == "two and"


def test_thoughts_that_belong_to_the_answer_stay_there() -> None:
    with serving(always(answer(said("<think>a</think>b")))) as server:
        assert ask_one(engine_for(server.url, thoughts="none")).completions[0].text == "<think>a</think>b"


def test_a_thought_may_take_more_than_the_answer() -> None:
    with serving() as server:
        ask_one(engine_for(server.url, thought_tokens=1000))
        assert server.requests[0]["max_tokens"] == 33 + 1000


def test_a_limit_that_is_too_large_with_the_thought_is_lowered_as_ever() -> None:
    said_no = "max_tokens=1033 cannot be greater than max_model_len=64."

    def strict(body: dict[str, Any], call: int) -> Reply:
        return Reply(400, {"error": {"message": said_no}}) if body["max_tokens"] > 64 else proper(body)

    with serving(strict) as server:
        ask_one(engine_for(server.url, thought_tokens=1000))
        assert [body["max_tokens"] for body in server.requests] == [1033, 64]


def test_variables_of_the_template_are_sent() -> None:
    with serving() as server:
        ask_one(engine_for(server.url, chat_template_kwargs={"enable_thinking": False}, extra_body={"top_k": 5}))
        sent = server.requests[0]
    assert (sent["chat_template_kwargs"], sent["top_k"]) == ({"enable_thinking": False}, 5)


def test_a_server_without_template_variables_says_where_they_are_set() -> None:
    refusal = Reply(400, {"error": {"message": "unknown field `chat_template_kwargs`"}})
    with serving(always(refusal)) as server, pytest.raises(EngineError, match="out of the settings"):
        ask_one(engine_for(server.url, chat_template_kwargs={"enable_thinking": False}))


def test_a_probe_tells_models_apart_that_only_think_so_far() -> None:
    with serving(always(answer(said(None, finish_reason="length", reasoning="Okay")))) as server:
        config = OpenAIEngineConfig(base_urls=(server.url,), model="m", thought_tokens=4096)
        assert set(probe(config)) == {"Okay"}
        assert {body["max_tokens"] for body in server.requests} == {24}


def test_thinking_enters_keys_only_where_it_is_set() -> None:
    assert (
        not {"thoughts", "thought_tags", "thought_tokens", "chat_template", "chat_template_kwargs"}
        & VllmEngineConfig().identity().keys()
    )


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"thoughts": "none", "thought_tokens": 5}, "thought_tokens limits thoughts, but thoughts is none"),
        ({"thought_tags": [["<a>", "<a>"]]}, "pairs of two different texts"),
        ({"thought_tags": [["", "</a>"]]}, "pairs of two different texts"),
        ({"thought_tags": []}, "at least 1 item"),
        (
            {"chat_template_kwargs": {"a": 1}, "extra_body": {"chat_template_kwargs": {"b": 1}}},
            "set twice, by themselves and in extra_body",
        ),
        ({"chat_template_kwargs": {"messages": []}}, "messages are no variables of a chat template"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        VllmEngineConfig.model_validate(fields)
