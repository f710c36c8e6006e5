"""Servers that fail, refuse, stall or are gone."""

import asyncio
import socketserver
import threading
import time
from typing import Any

import pytest
from misbehaving_server import Reply, answer, choice, proper, serving
from openai_requests import always, ask, ask_one, at_first, engine_for, request, texts

from spar_core.engines.base import Generation
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from spar_core.ports import free_port


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, {"error": {"message": "boom"}}),
        Reply(503, b"<html>"),
        Reply(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.01"}),
        Reply(200, b"{not json"),
        Reply(200, []),
        Reply(200, {"choices": []}),
        Reply(200, {"choices": ["x", "y", "z"]}),
        answer(choice(None), choice("b", 1), choice("c", 2)),
        answer(choice("a"), choice("b", 1)),
        answer(choice("a", 0, "tool_calls"), choice("b", 1), choice("c", 2)),
        answer(choice("a"), choice({"odd": 1}, 1), choice("c", 2)),
    ],
)
def test_a_failure_that_passes_is_retried(reply: Reply) -> None:
    with serving(at_first(reply)) as server:
        assert texts(ask_one(engine_for(server.url), request(n=3))) == ["hi/10", "hi/11", "hi/12"]
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(200, b"garbage"), "malformed_answer"),
        (Reply(200, {"no": "choices"}), "malformed_answer"),
        (answer(choice("a"), choice("b", 1)), "malformed_answer"),
        (answer(*(choice(None, index) for index in range(3))), "empty_choice"),
    ],
)
def test_an_unusable_answer_that_stays_is_a_rejected_request(reply: Reply, reason: str) -> None:
    with serving(always(reply)) as server, pytest.raises(RequestRejectedError, match="3 attempts") as caught:
        ask_one(engine_for(server.url), request(n=3))
    assert (caught.value.reason, caught.value.permanent) == (reason, False)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "reason", "permanent"),
    [
        (Reply(400, {"error": {"message": "too big", "param": "input_tokens", "code": 400}}), "prompt_too_long", True),
        (Reply(413, b"<html>request entity too large</html>"), "prompt_too_long", True),
        (Reply(400, {"error": {"message": "triggered our policy", "code": "content_filter"}}), "content_filter", True),
        (answer(choice("", 0, "content_filter")), "content_filter", True),
        (Reply(400, {"error": {"message": "bad top_p"}}), "http_400", False),
        (Reply(422, b"no json at all"), "http_422", False),
    ],
)
def test_a_refused_request_is_rejected_at_once(reply: Reply, reason: str, permanent: bool) -> None:
    with serving(always(reply)) as server, pytest.raises(RequestRejectedError) as caught:
        ask_one(engine_for(server.url))
    assert (caught.value.reason, caught.value.permanent) == (reason, permanent)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "api_key_env"), (403, "api_key_env"), (404, "model name"), (307, "address")]
)
def test_a_wrong_key_name_or_address_says_what_to_do(status: int, advice: str) -> None:
    with serving(always(Reply(status, {"error": {"message": "no"}}))) as server:
        with pytest.raises(EngineError, match=advice) as caught:
            ask_one(engine_for(server.url))
        assert not isinstance(caught.value, RequestRejectedError | EngineUnavailableError)
        assert len(server.requests) == 1


def test_a_server_that_never_recovers_is_unavailable_with_its_address() -> None:
    with serving(always(Reply(502, {}))) as server, pytest.raises(EngineUnavailableError, match=server.url):
        ask_one(engine_for(server.url))
    assert len(server.requests) == 5  # the first and four retries


def test_a_request_that_alone_crashes_the_server_is_rejected() -> None:
    def crashing(body: dict[str, Any], call: int) -> Reply:
        return Reply(500, {}) if body["messages"][-1]["content"] == "poison" else proper(body)

    with serving(crashing) as server:
        fine, poisoned = ask(engine_for(server.url), request("fine"), request("poison"))
    assert texts(fine) == ["fine/10"]
    assert isinstance(poisoned, RequestRejectedError)
    assert (poisoned.reason, poisoned.permanent) == ("http_500", False)


def test_a_slow_answer_times_out_and_is_asked_again() -> None:
    def slow_at_first(body: dict[str, Any], call: int) -> Reply:
        if call == 0:
            time.sleep(0.5)
        return proper(body)

    with serving(slow_at_first) as server:
        assert texts(ask_one(engine_for(server.url, timeout_s=0.1))) == ["hi/10"]
        assert len(server.requests) == 2


def test_a_chat_the_template_refuses_even_so_is_rejected() -> None:
    reply = Reply(400, {"error": {"message": "Conversation roles must alternate"}})
    with serving(always(reply)) as server, pytest.raises(RequestRejectedError) as caught:
        ask_one(engine_for(server.url))
    assert (caught.value.reason, caught.value.permanent) == ("chat_template", True)


def test_a_sample_cut_while_the_model_still_thought_is_empty_and_costs_no_other() -> None:
    reply = answer(choice("a"), choice(None, 1, "length"), choice("c", 2))
    with serving(always(reply)) as server:
        generation = ask_one(engine_for(server.url), request(n=3))
        assert len(server.requests) == 1
    assert [(done.text, done.finish_reason) for done in generation.completions] == [
        ("a", "stop"),
        ("", "length"),
        ("c", "stop"),
    ]


def test_a_retry_is_a_round_of_all_servers() -> None:
    with serving(always(Reply(500, {}))) as first, serving(always(Reply(500, {}))) as second:
        with pytest.raises(EngineUnavailableError, match="6 attempts"):
            ask_one(engine_for(first.url, second.url, max_retries=2))
        assert [len(first.requests), len(second.requests)] == [3, 3]


def test_the_share_of_a_server_that_is_down_goes_to_the_others() -> None:
    with serving() as alive:
        nobody = f"http://127.0.0.1:{free_port()}"
        results = ask(engine_for(nobody, alive.url), *(request(seed=seed) for seed in range(20)))
    assert [texts(result) for result in results] == [[f"hi/{seed}"] for seed in range(20)]


def test_a_server_that_goes_down_midway_loses_nothing() -> None:
    with serving() as alive, serving() as dying:
        engine = engine_for(dying.url, alive.url)

        async def run() -> list[Generation]:
            before = await asyncio.gather(*(engine.generate(request(seed=seed)) for seed in range(4)))
            await asyncio.to_thread(dying.stop)
            after = await asyncio.gather(*(engine.generate(request(seed=seed)) for seed in range(4, 12)))
            await engine.close()
            return [*before, *after]

        results = asyncio.run(run())
    assert [texts(result) for result in results] == [[f"hi/{seed}"] for seed in range(12)]


def test_all_servers_down_names_every_address() -> None:
    urls = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    with pytest.raises(EngineUnavailableError) as caught:
        ask_one(engine_for(*urls))
    assert all(url in str(caught.value) for url in urls)


def test_identity_of_what_is_no_server_is_a_clear_error() -> None:
    with serving() as server:
        server.models = "nonsense"
        with pytest.raises(EngineError, match=f"{server.url}.*list of models cannot be read"):
            _ = engine_for(server.url).model_digest
    with pytest.raises(EngineUnavailableError, match="no OpenAI-compatible server answers"):
        _ = engine_for(f"http://127.0.0.1:{free_port()}").model_digest


def test_an_answer_that_cannot_be_read_is_asked_again_whatever_failed_before_it() -> None:
    def behave(body: dict[str, Any], call: int) -> Reply:
        return proper(body) if call == 4 else Reply(200, b"garbage") if call >= 2 else Reply(500, {"error": "boom"})

    with serving(behave) as server:
        assert texts(ask_one(engine_for(server.url))) == ["hi/10"]
        assert len(server.requests) == 5


def test_nothing_more_is_asked_for_a_request_of_which_one_sample_is_refused() -> None:
    def one_at_a_time(body: dict[str, Any], call: int) -> Reply:
        refused = answer(choice("", 0, "content_filter"))
        return {10: proper({**body, "n": 1}), 11: refused}.get(body["seed"], Reply(500, {"error": "boom"}))

    async def run() -> int:
        engine = engine_for(server.url, max_retries=50)
        with pytest.raises(RequestRejectedError, match="content filter"):
            await engine.generate(request(n=4))
        await asyncio.sleep(0.1)
        before = len(server.requests)
        await asyncio.sleep(0.5)  # samples 2 and 3 would be asked for again within this time
        await engine.close()
        return len(server.requests) - before

    with serving(one_at_a_time) as server:
        assert asyncio.run(run()) == 0


def test_the_password_of_a_proxy_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), _RefusingProxy) as proxy:
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:open-sesame@127.0.0.1:{proxy.server_address[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(EngineUnavailableError, match="407") as caught:
            ask_one(engine_for("https://models.invalid/v1", max_retries=0))
        proxy.shutdown()
    causes = (caught.value, caught.value.__cause__)
    assert all("sesame" not in str(error) for error in causes)


class _RefusingProxy(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
