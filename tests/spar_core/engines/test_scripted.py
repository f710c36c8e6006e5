import asyncio
from collections.abc import Sequence

import pytest

from spar_core.engines.base import Completion, Engine, Generation, GenerationRequest, Sampling
from spar_core.engines.scripted import (
    Rule,
    ScriptedEngine,
    failing,
    newest_first,
    oldest_first,
    rules,
    shuffled,
)
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from spar_core.records import Message


def request(text: str, seed: int = 0, n: int = 1) -> GenerationRequest:
    return GenerationRequest((Message("user", text),), Sampling(), seed, n)


def echo(asked: GenerationRequest, index: int) -> str:
    return f"{asked.messages[-1].content}#{asked.seed}.{index}"


def texts(generation: Generation) -> list[str]:
    return [completion.text for completion in generation.completions]


def test_answers_every_sample_by_its_index() -> None:
    engine = ScriptedEngine(echo)
    generation = asyncio.run(engine.generate(request("hello", seed=4, n=3)))
    assert texts(generation) == ["hello#4.0", "hello#4.1", "hello#4.2"]
    assert isinstance(engine, Engine)
    assert (engine.calls, engine.completions) == (1, 3)
    assert engine.requests == [request("hello", seed=4, n=3)]


def test_thoughts_of_a_script_are_told_apart_as_a_models() -> None:
    engine = ScriptedEngine(lambda asked, index: ["<think>hm</think>\n\nyes", "<think>hm", "yes"][index])
    found = asyncio.run(engine.generate(request("a", n=3))).completions
    assert [(entry.thought, entry.text) for entry in found] == [("hm", "yes"), ("hm", ""), ("", "yes")]


def test_rules_answer_by_first_match_and_reject_the_rest() -> None:
    cut = Completion("cut", "length", 9)
    engine = ScriptedEngine(rules(Rule("^judge", ("YES", "NO")), Rule("judge|refine", (cut,))))
    assert texts(asyncio.run(engine.generate(request("judge it", n=3)))) == ["YES", "NO", "YES"]
    assert asyncio.run(engine.generate(request("refine it"))).completions == (cut,)
    with pytest.raises(RequestRejectedError) as caught:
        asyncio.run(engine.generate(request("something else")))
    assert caught.value.reason == "no_rule"


@pytest.mark.parametrize(
    ("order", "expected"), [(oldest_first, ["a", "b", "c", "d"]), (newest_first, ["d", "c", "b", "a"])]
)
def test_order_decides_which_request_completes_next(order, expected) -> None:
    assert finishing_order(ScriptedEngine(echo, order=order)) == expected


def test_only_requests_in_flight_can_be_chosen() -> None:
    # Two in flight: of (a, b) the newer b, then of (a, c) c, then of (a, d) d, then a.
    assert finishing_order(ScriptedEngine(echo, order=newest_first, max_in_flight=2)) == ["b", "c", "d", "a"]


def test_all_requests_of_one_turn_wait_before_the_first_is_released() -> None:
    seen: list[int] = []

    def spying(waiting: Sequence[GenerationRequest]) -> int:
        seen.append(len(waiting))
        return 0

    finishing_order(ScriptedEngine(echo, order=spying))
    assert seen == [4, 3, 2, 1]


def test_shuffled_order_differs_by_seed_and_repeats() -> None:
    orders = {seed: finishing_order(ScriptedEngine(echo, order=shuffled(seed)), "abcdefgh") for seed in range(5)}
    assert len({tuple(order) for order in orders.values()}) > 1
    assert orders[3] == finishing_order(ScriptedEngine(echo, order=shuffled(3)), "abcdefgh")


def finishing_order(engine: ScriptedEngine, names: str = "abcd") -> list[str]:
    done: list[str] = []

    async def ask(name: str) -> None:
        await engine.generate(request(name))
        done.append(name)

    async def all_at_once() -> None:
        await asyncio.gather(*(ask(name) for name in names))

    asyncio.run(all_at_once())
    return done


def test_a_follow_up_joins_the_choice_before_older_requests_are_released() -> None:
    done: list[str] = []
    engine = ScriptedEngine(echo, order=newest_first)

    async def chain(name: str) -> None:
        for step in "12":
            await engine.generate(request(name + step))
            done.append(name + step)

    async def both() -> None:
        await asyncio.gather(chain("a"), chain("b"))

    asyncio.run(both())
    assert done == ["b1", "b2", "a1", "a2"]


def test_injected_failures_depend_on_the_request_alone() -> None:
    def outcome(engine: ScriptedEngine) -> list[bool]:
        results = asyncio.run(gather_all(engine, [request(str(number)) for number in range(200)]))
        return [isinstance(result, EngineUnavailableError) for result in results]

    broken = failing(echo, rate=0.25, error=lambda: EngineUnavailableError("timed out"))
    first = outcome(ScriptedEngine(broken))
    assert first == outcome(ScriptedEngine(broken, order=shuffled(1)))
    assert 30 <= sum(first) <= 70  # 200 draws at 1/4: mean 50, 3.3 standard deviations either side


async def gather_all(engine: ScriptedEngine, asked: list[GenerationRequest]) -> list[Generation | BaseException]:
    return await asyncio.gather(*(engine.generate(one) for one in asked), return_exceptions=True)


def test_goes_down_after_the_given_number_of_requests() -> None:
    engine = ScriptedEngine(echo, fail_after=2)
    results = asyncio.run(gather_all(engine, [request(name) for name in "abcd"]))
    assert [isinstance(result, EngineUnavailableError) for result in results] == [False, False, True, True]
    assert engine.calls == 2


def test_latency_may_depend_on_the_request() -> None:
    slow_first = ScriptedEngine(echo, latency_s=lambda asked: 0.03 if asked.messages[0].content == "a" else 0.0)
    assert finishing_order(slow_first, "ab") == ["b", "a"]


def test_a_script_must_answer_with_text_completion_or_exception() -> None:
    engine = ScriptedEngine(lambda asked, index: 7)  # type: ignore[arg-type, return-value]
    with pytest.raises(EngineError, match="not int"):
        asyncio.run(engine.generate(request("x")))


def test_nothing_is_kept_of_event_loops_that_ended() -> None:
    engine = ScriptedEngine(echo, order=oldest_first)
    for name in "abc":
        asyncio.run(engine.generate(request(name)))
    assert len(engine._benches) == 1
