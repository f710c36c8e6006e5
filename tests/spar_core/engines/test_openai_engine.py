import asyncio
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from misbehaving_server import Reply, answer, choice, proper, serving
from openai_requests import always, ask, ask_one, engine_for, request, texts

from spar_core.engines.base import Completion, Engine, Generation, GenerationRequest, Sampling
from spar_core.engines.server_address import api_key_from
from spar_core.errors import ConfigError, EngineError, RequestRejectedError
from spar_core.records import Message


def test_one_call_carries_the_whole_request() -> None:
    with serving() as server:
        engine = engine_for(server.url, api_key="secret", model_digest="weights")
        generation = ask_one(engine, request("hi", seed=10, n=3, system="be kind"))
    assert texts(generation) == ["hi/10", "hi/11", "hi/12"]
    assert generation.prompt_tokens == 7
    assert isinstance(engine, Engine)
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert server.requests == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 33,
            "seed": 10,
            "n": 3,
        }
    ]
    assert engine.stats.requests == 1
    assert engine.stats.busy_seconds > 0


def test_choices_come_in_order_of_index_with_tokens_shared_by_length() -> None:
    reply = answer(choice("four", 1, "length"), choice("", 0), completion_tokens=12)
    with serving(always(reply)) as server:
        generation = ask_one(engine_for(server.url), request(n=2))
    # Sizes 1 and 5 of 6: 12 tokens split into 2 and 10.
    assert generation.completions == (Completion("", "stop", 2), Completion("four", "length", 10))


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_address_may_leave_out_the_version(path: str) -> None:
    with serving() as server:
        assert texts(ask_one(engine_for(server.url + path))) == ["hi/10"]


@pytest.mark.parametrize("together", [True, False])
def test_later_samples_of_a_seed_are_those_that_one_request_for_all_gives(together: bool) -> None:
    def single(body: dict[str, Any], call: int) -> Reply:
        return proper(body if together else {**body, "n": 1})

    with serving(single) as server:
        whole, later = (texts(ask_one(engine_for(server.url), replace(request(n=5), **which))) for which in (
            {}, {"first": 3, "n": 2}
        ))  # fmt: skip
    assert later == whole[3:]


def test_a_server_that_ignores_n_is_asked_once_per_sample_from_then_on() -> None:
    def single(body: dict[str, Any], call: int) -> Reply:
        return proper({**body, "n": 1})

    with serving(single) as server:
        engine = engine_for(server.url)

        async def run() -> list[Generation]:
            first = await engine.generate(request("a", seed=10, n=3))
            second = await engine.generate(request("b", seed=20, n=2))
            await engine.close()
            return [first, second]

        first, second = asyncio.run(run())
    assert texts(first) == ["a/10", "a/11", "a/12"]
    assert texts(second) == ["b/20", "b/21"]
    assert [(body["n"], body["seed"]) for body in server.requests[:1]] == [(3, 10)]
    assert sorted((body["n"], body["seed"]) for body in server.requests[1:]) == [(1, 11), (1, 12), (1, 20), (1, 21)]


@pytest.mark.parametrize(
    ("message", "allowed"),
    [
        ("max_tokens=33 cannot be greater than max_model_len=20. Please request fewer.", 20),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 33. The model's maximum context length is 20 tokens "
            "and your request has 4 input tokens (33 > 20 - 4).",
            16,
        ),
    ],
)
def test_a_limit_the_server_finds_too_large_is_lowered(message: str, allowed: int) -> None:
    def strict(body: dict[str, Any], call: int) -> Reply:
        refusal = Reply(400, {"error": {"message": message, "param": "max_tokens"}})
        return refusal if body["max_tokens"] > allowed else proper(body)

    with serving(strict) as server:
        assert texts(ask_one(engine_for(server.url))) == ["hi/10"]
        assert [body["max_tokens"] for body in server.requests] == [33, allowed]


def test_no_room_for_an_answer_is_a_prompt_too_long() -> None:
    message = "'max_tokens' is too large: 33. Maximum context length is 20 (33 > 20 - 20)."
    reply = Reply(400, {"error": {"message": message}})
    with serving(always(reply)) as server, pytest.raises(RequestRejectedError) as caught:
        ask_one(engine_for(server.url))
    assert caught.value.reason == "prompt_too_long"


def test_a_greedy_request_is_asked_once_for_all_samples() -> None:
    asked = GenerationRequest((Message("user", "hi"),), Sampling(temperature=0.0), 10, 3)
    with serving() as server:
        assert texts(ask_one(engine_for(server.url), asked)) == ["hi/10"] * 3
        assert [body["n"] for body in server.requests] == [1]


def test_the_space_before_the_first_word_is_removed() -> None:
    with serving(always(answer(choice(" a b ")))) as server:
        assert texts(ask_one(engine_for(server.url))) == ["a b "]


def test_a_template_without_system_role_gets_the_text_merged() -> None:
    def no_system(body: dict[str, Any], call: int) -> Reply:
        if body["messages"][0]["role"] == "system":
            return Reply(400, {"error": {"message": "System role not supported"}})
        return proper(body)

    with serving(no_system) as server:
        results = ask(engine_for(server.url), *(request("hi", seed=seed, system="be kind") for seed in range(5)))
    assert [texts(result) for result in results] == [[f"be kind\n\nhi/{seed}"] for seed in range(5)]


def test_requests_are_spread_over_the_servers() -> None:
    def slowly(body: dict[str, Any], call: int) -> Reply:
        time.sleep(0.05)
        return proper(body)

    with serving(slowly) as first, serving(slowly) as second:
        results = ask(engine_for(first.url, second.url), *(request(seed=seed) for seed in range(12)))
    assert [texts(result) for result in results] == [[f"hi/{seed}"] for seed in range(12)]
    assert len(first.requests) == len(second.requests) == 6


def test_concurrency_per_server_is_bounded() -> None:
    def slowly(body: dict[str, Any], call: int) -> Reply:
        time.sleep(0.02)
        return proper(body)

    with serving(slowly) as server:
        ask(engine_for(server.url, max_concurrency=3), *(request(seed=seed) for seed in range(12)))
        assert server.peak == 3


def test_one_engine_serves_several_event_loops() -> None:
    with serving() as server:
        engine = engine_for(server.url)
        results: dict[int, list[str]] = {}

        def caller(seed: int) -> None:
            results[seed] = texts(asyncio.run(engine.generate(request(seed=seed))))

        threads = [threading.Thread(target=caller, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {seed: [f"hi/{seed}"] for seed in range(4)}


def test_a_closed_engine_says_so() -> None:
    engine = engine_for("http://127.0.0.1:1")
    asyncio.run(engine.close())
    with pytest.raises(EngineError, match="closed"):
        asyncio.run(engine.generate(request()))


def test_identity_is_given_or_by_name_and_ignores_address_and_start_time() -> None:
    assert engine_for("http://127.0.0.1:1", model_digest="abc").model_digest == "abc"
    with serving() as first, serving() as second, serving() as other:
        second.models["data"][0]["created"] = 2
        other.models["data"][0]["root"] = "/other-weights"
        digests = [engine_for(server.url).model_digest for server in (first, second, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("url", ["ftp://host", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(EngineError, match="no server address"):
        engine_for(url)


def test_the_key_comes_from_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPAR_TEST_KEY", "k")
    assert api_key_from("SPAR_TEST_KEY") == "k"
    assert api_key_from(None) is None
    monkeypatch.delenv("SPAR_TEST_KEY")
    with pytest.raises(ConfigError, match="SPAR_TEST_KEY"):
        api_key_from("SPAR_TEST_KEY")
