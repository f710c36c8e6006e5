"""What servers write, word for word as they write it."""

import asyncio
from typing import Any

import pytest
from misbehaving_server import Reply, proper, serving
from openai_requests import always, ask_one, engine_for, request, texts

from spar_core.engines.base import Generation
from spar_core.engines.openai_engine import OpenAIEngine
from spar_core.engines.refusal_wordings import Room, is_too_long, refused_field, room
from spar_core.errors import EngineError, RequestRejectedError

VLLM_OLD = (
    "This model's maximum context length is 8192 tokens. However, you requested 9216 tokens (6144 in the messages, "
    "3072 in the completion). Please reduce the length of the messages or completion."
)
VLLM_0_9 = (
    "'max_tokens' or 'max_completion_tokens' is too large: 3072. This model's maximum context length is 8192 tokens "
    "and your request has 6144 input tokens (3072 > 8192 - 6144)."
)
VLLM_NEW = (
    "This model's maximum context length is 8192 tokens. However, you requested 3072 output tokens and your prompt "
    "contains 6144 input tokens, for a total of 9216 tokens. Please reduce the length of the input prompt or the "
    "number of requested output tokens. (parameter=input_tokens, value=6144)"
)
VLLM_AT_LEAST = (
    "This model's maximum context length is 8192 tokens. However, you requested 3072 output tokens and your prompt "
    "contains at least 5121 input tokens, for a total of at least 8193 tokens. Please reduce the length of the input "
    "prompt or the number of requested output tokens."
)
VLLM_PASSED = (
    "You passed 5121 input tokens and requested 3072 output tokens. However, the model's context length is only 8192 "
    "tokens, resulting in a maximum input length of 5120 tokens. Please reduce the length of the input prompt. "
    "(parameter=input_tokens, value=5121)"
)
VLLM_CHARACTERS = (
    "This model's maximum context length is 8192 tokens. However, you requested 64 output tokens and your prompt "
    "contains 100000 characters (more than 81280 characters, which is the upper bound for 8128 input tokens)."
)
VLLM_NO_OUTPUT = (
    "This model's maximum context length is 8192 tokens. However, your prompt contains at least 8193 input tokens, "
    "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
)
OPENAI_MESSAGES = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. Please reduce "
    "the length of the messages."
)
SGLANG = (
    "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of 9216 "
    "tokens: 6144 tokens from the input messages and 3072 tokens for the completion. Please reduce the number of "
    "tokens in the input messages or the completion to fit within the limit."
)
SGLANG_OUTPUT = "max_completion_tokens is too large: 9216.This model supports at most 4096 completion tokens."
OPENROUTER = (
    "This endpoint's maximum context length is 8192 tokens. However, you requested about 9216 tokens (6144 of text "
    "input, 3072 in the output). Please reduce the length of either one."
)
LLAMA_CPP = "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it"
TGI_FULL = (
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 64. Given: 64 `inputs` tokens and 33 "
    "`max_new_tokens`"
)
TGI = (
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. Given: 6144 `inputs` tokens and 3072 "
    "`max_new_tokens`"
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (VLLM_OLD, Room(2048, 8192)),
        (VLLM_OLD.replace("in the messages", "in your prompt"), Room(2048, 8192)),
        (VLLM_0_9, Room(2048, 8192)),
        (VLLM_NEW, Room(2048, 8192)),
        # The prompt was counted up to 5121 tokens only: half of what was asked for is tried next.
        (VLLM_AT_LEAST, Room(1536, 8192)),
        (VLLM_PASSED, Room(1536, 8192)),
        ("max_tokens=9000 cannot be greater than max_model_len=max_total_tokens=8192.", Room(8192, 8192)),
        ("max_tokens=33 cannot be greater than max_model_len=20. Please request fewer.", Room(20, 20)),
        (SGLANG, Room(2048, 8192)),
        (TGI, Room(2048, 8192)),
        # It leaves no room for the last token: exactly what would fit was refused.
        (SGLANG.replace("9216", "8192").replace("3072", "2048"), Room(2047, 8192)),
        (SGLANG_OUTPUT, Room(4096, 4096)),
        ("Input validation error: `max_new_tokens` must be <= 512. Given: 3072", Room(512, 512)),
        (OPENROUTER, Room(2048, 8192)),
        (f"litellm.BadRequestError: OpenAIException - {SGLANG}", Room(2048, 8192)),
        ("input length and `max_tokens` exceed context limit: 6144 + 3072 > 8192, decrease", Room(2048, 8192)),
        (
            "max_tokens is too large: 9216. This model supports at most 4096 completion tokens, whereas you provided "
            "9216.",
            Room(4096, 4096),
        ),
        ("You passed 20 input tokens and requested 17 output tokens. However, the model's context length is only 36 "
         "tokens, resulting in a maximum input length of 19 tokens.", Room(0, 36)),
    ],
)  # fmt: skip
def test_what_fits_is_read_from_the_refusal(message: str, expected: Room) -> None:
    assert room(message) == expected


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "too big", "param": "input_tokens", "code": 400}},
        {"error": {"message": "x", "code": "context_length_exceeded"}},
        {"object": "error", "message": "This model's maximum context length is 64"},
        {"error": "Input validation error: `inputs` must have less than 4096 tokens. Given: 9000"},
        {"error": {"message": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."}},
        {"object": "error", "message": "Input length (9000 tokens) exceeds the maximum allowed length (8191 tokens)."},
        {"error": {"message": "Input length 9000 exceeds the maximum allowed input length of 8192 tokens."}},
        {"error": {"message": "Request prompt exceeds the KV memory budget: input_len=9000"}},
        {"error": {"message": "The decoder prompt (length 9000) is longer than the maximum model length of 8192."}},
        {"error": TGI_FULL, "error_type": "validation"},
        {"error": {"message": "Input tokens exceed the configured limit of 8192 tokens. Your messages resulted in 9000 "
                   "tokens. Please reduce the length of the messages."}},
        {"error": {"message": "Your input exceeds the context window of this model. Please adjust your input."}},
        {"error": {"message": "This model's maximum prompt length is 8192 but the request contains 9000 tokens."}},
        {"error": {"message": "The input token count (9000) exceeds the maximum number of tokens allowed (8192)."}},
        {"error": {"message": "prompt token count of 9000 exceeds the limit of 8192"}},
        {"error": {"message": "Range of input length should be [1, 8192]"}},
        {"error": {"message": LLAMA_CPP}},
        {"error": {"message": "the request exceeds the available context size, try increasing it"}},
        {"error": {"message": "prompt is too long: 200001 tokens > 200000 maximum"}},
        {"error": {"message": OPENAI_MESSAGES, "param": "messages"}},
        {"error": {"message": VLLM_NO_OUTPUT, "param": "input_tokens"}},
        {"error": {"message": VLLM_NO_OUTPUT}},
        {"error": {"message": VLLM_CHARACTERS}},
        {"error": {"message": VLLM_OLD.replace("6144", "8192")}},
    ],
)  # fmt: skip
def test_a_prompt_that_fills_the_context_is_too_long_for_good(body: Any) -> None:
    with serving(always(Reply(400, body))) as server, pytest.raises(RequestRejectedError) as caught:
        ask_one(engine_for(server.url))
    assert (caught.value.reason, caught.value.permanent) == ("prompt_too_long", True)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "message"), [(400, VLLM_OLD), (400, SGLANG), (422, TGI)])
def test_an_answer_is_shortened_to_what_the_context_leaves(status: int, message: str) -> None:
    shown = message.replace("8192", "40").replace("6144", "30").replace("3072", "33").replace("9216", "63")

    def strict(body: dict[str, Any], call: int) -> Reply:
        return Reply(status, {"error": {"message": shown}}) if body["max_tokens"] > 10 else proper(body)

    with serving(strict) as server:
        assert texts(ask_one(engine_for(server.url))) == ["hi/10"]
        assert [body["max_tokens"] for body in server.requests] == [33, 10]


def test_a_prompt_that_was_not_counted_to_its_end_is_tried_with_ever_shorter_answers() -> None:
    def truncating(body: dict[str, Any], call: int) -> Reply:
        asked, context, prompt = body["max_tokens"], 8192, 7000
        if prompt + asked <= context:
            return proper(body)
        said = VLLM_PASSED.replace("5121", str(context - asked + 1)).replace("3072", str(asked))
        return Reply(400, {"error": {"message": said, "param": "input_tokens"}})

    with serving(truncating) as server:
        engine = engine_for(server.url)
        asked = request()
        asked = type(asked)(asked.messages, type(asked.sampling)(0.7, 0.9, 3072), 10, 1)
        assert texts(ask_one(engine, asked)) == ["hi/10"]
        assert [body["max_tokens"] for body in server.requests] == [3072, 1536, 768]


@pytest.mark.parametrize(
    "message",
    [
        "Input text exceeds the maximum number of images",
        "The maximum length of a stop sequence is 16",
        "max_tokens must be at least 1, got 0",
        "Range of temperature should be [0, 2]",
    ],
)
def test_other_limits_are_not_taken_for_the_context(message: str) -> None:
    assert room(message) is None
    assert not is_too_long(message, "", "")


OPENAI_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
OPENAI_TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported."
)
FORBIDDEN = [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 1}]


@pytest.mark.parametrize(
    ("message", "parameter", "field"),
    [
        (OPENAI_TOKENS, "max_tokens", "max_tokens"),
        (OPENAI_TOKENS, "", "max_tokens"),
        (OPENAI_TEMPERATURE, "temperature", "temperature"),
        ("Unrecognized request argument supplied: seed", "", "seed"),
        ("Invalid JSON payload received. Unknown name \"seed\": Cannot find field.", "", "seed"),
        ("Torch XLA does not support per-request seed.", "", "seed"),
        ("'n' : number must be at most 1", "", "n"),
        ("Invalid n value (currently only n = 1 is supported)", "", "n"),
        ("Only one completion choice is allowed", "", "n"),
        ("`temperature` and `top_p` cannot both be specified for this model. Please use only one.", "", "top_p"),
        ("unknown field `chat_template_kwargs`", "", "chat_template_kwargs"),
        # Not about a field's presence: a value out of range, or something of the request's content.
        ("temperature must be between 0 and 1", "temperature", None),
        ("Images are not supported in messages", "messages", None),
        ("bad top_p", "", None),
    ],
)  # fmt: skip
def test_a_field_that_is_not_taken_is_recognised(message: str, parameter: str, field: str | None) -> None:
    assert refused_field(message, parameter, ("chat_template_kwargs",)) == field


def refusing(field: str, body: Any, status: int = 400) -> Any:
    return lambda sent, call: Reply(status, body) if field in sent else lenient(sent)


def lenient(sent: dict[str, Any]) -> Reply:
    return proper({"seed": 0, "n": 1, **sent})


@pytest.mark.parametrize(
    ("field", "body", "status", "sent_then"),
    [
        ("max_tokens", {"error": {"message": OPENAI_TOKENS}}, 400, {"max_completion_tokens": 33}),
        ("temperature", {"error": {"message": OPENAI_TEMPERATURE, "param": "temperature"}}, 400, {"top_p": 0.9}),
        ("seed", {"error": {"message": "Unrecognized request argument supplied: seed"}}, 400, {"n": 1}),
        ("seed", {"detail": FORBIDDEN}, 422, {"n": 1}),
        ("seed", {"object": "error", "message": {"detail": FORBIDDEN}}, 422, {"n": 1}),
        ("seed", [{"error": {"code": 400, "message": "Unknown name \"seed\": Cannot find field."}}], 400, {"n": 1}),
    ],
)  # fmt: skip
def test_a_server_that_does_not_take_a_field_is_adapted_to_once(
    field: str, body: Any, status: int, sent_then: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with serving(refusing(field, body, status)) as server:
        engine = engine_for(server.url)
        answered = [ask_one_and_keep(engine, seed) for seed in range(3)]
        assert [len(answer.completions) for answer in answered] == [1, 1, 1]
        assert [field in sent for sent in server.requests] == [True, False, False, False]
        assert sent_then.items() <= server.requests[-1].items()
    assert len([record for record in caplog.records if "From now on" in record.message]) == 1


def ask_one_and_keep(engine: OpenAIEngine, seed: int, n: int = 1) -> Generation:
    return asyncio.run(engine.generate(request(seed=seed, n=n)))


def test_a_server_that_refuses_n_is_asked_once_per_sample() -> None:
    def single(sent: dict[str, Any], call: int) -> Reply:
        if "n" in sent:
            return Reply(400, {"error": {"message": "'n' : number must be at most 1"}})
        return lenient(sent)

    with serving(single) as server:
        engine = engine_for(server.url)
        assert texts(ask_one_and_keep(engine, 10, n=3)) == ["hi/10", "hi/11", "hi/12"]
        assert texts(ask_one_and_keep(engine, 20, n=2)) == ["hi/20", "hi/21"]
        assert len(server.requests) == 1 + 3 + 2


@pytest.mark.parametrize(
    ("message", "advice"),
    [("Unrecognized request argument supplied: top_k", "Take 'top_k' out of extra_body"),
     ("'max_completion_tokens' is not supported", "does not take the requests of this engine")],
)  # fmt: skip
def test_a_setting_that_cannot_be_adapted_stops(message: str, advice: str) -> None:
    with serving(always(Reply(400, {"error": {"message": message}}))) as server:
        with pytest.raises(EngineError, match=advice) as caught:
            ask_one(engine_for(server.url, extra_body={"top_k": 5}))
        assert not isinstance(caught.value, RequestRejectedError)
