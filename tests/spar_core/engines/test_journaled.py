"""A journaled engine asks each question once, whatever happens around it."""

import asyncio
import json
import threading
from dataclasses import replace

import pytest

from spar_core.engines.base import Completion, Engine, Generation, GenerationRequest, Sampling
from spar_core.engines.journaled import JournaledEngine, SharedAnswers
from spar_core.errors import EngineUnavailableError, RequestRejectedError
from spar_core.records import Message


class MemoryStore(dict):
    def put(self, key, answer):
        self.setdefault(key, answer)


class CountingEngine:
    """Answers with the request's seed after `gate` opens; raises what `failures` holds, one per call."""

    model_digest = "weights"

    def __init__(self, failures=()):
        self.calls = 0
        self.failures = list(failures)
        self.gate = asyncio.Event()
        self.gate.set()

    async def generate(self, request):
        self.calls += 1
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        text = f"seed {request.seed} \ud83d"  # half a character, as broken JSON can carry
        return Generation((Completion(text, "stop", 3), Completion("b", "length", 9))[: request.n], 7)

    async def close(self):
        self.calls = -1


def request(seed=1, n=2):
    return GenerationRequest((Message("user", "hi"),), Sampling(), seed, n)


def test_it_is_an_engine():
    engine = JournaledEngine(CountingEngine(), MemoryStore())
    assert isinstance(engine, Engine)
    assert engine.model_digest == "weights"


def test_a_rerun_is_answered_from_the_store_identically():
    store = MemoryStore()

    async def both_runs():
        first = JournaledEngine(CountingEngine(), store)
        answers = await asyncio.gather(*(first.generate(request(seed)) for seed in range(5)))
        inner = CountingEngine()
        second = JournaledEngine(inner, store)
        again = await asyncio.gather(*(second.generate(request(seed)) for seed in range(5)))
        assert again == answers
        assert (first.asked, first.replayed) == (5, 0)
        assert (second.asked, second.replayed, inner.calls) == (0, 5, 0)
        await second.generate(request(0, n=1))
        assert inner.calls == 1, "another n is another question"

    asyncio.run(both_runs())


def test_thoughts_are_stored_and_answers_without_one_are_stored_as_they_always_were():
    class Thinking(CountingEngine):
        async def generate(self, asked):
            return Generation((Completion("a", "stop", 3, "hm"), Completion("b", "length", 9)), 7)

    store = MemoryStore()
    first = asyncio.run(JournaledEngine(Thinking(), store).generate(request()))
    assert json.loads(*store.values())["completions"] == [["a", "stop", 3, "hm"], ["b", "length", 9]]
    assert asyncio.run(JournaledEngine(CountingEngine(), store).generate(request())) == first


def test_an_answer_stored_before_there_were_thoughts_is_replayed():
    store = MemoryStore()
    store.put(request().key("weights"), '{"completions": [["a", "stop", 3], ["b", "length", 9]], "prompt_tokens": 7}')
    replayed = asyncio.run(JournaledEngine(CountingEngine(), store).generate(request()))
    assert replayed == Generation((Completion("a", "stop", 3, ""), Completion("b", "length", 9, "")), 7)


def test_a_rejection_is_replayed_with_its_message_and_reason():
    store = MemoryStore()
    for failures, calls in (([RequestRejectedError("too long by 5", "prompt_too_long")], 1), ([], 0)):
        inner = CountingEngine(failures)
        with pytest.raises(RequestRejectedError, match=r"^too long by 5$") as caught:
            asyncio.run(JournaledEngine(inner, store).generate(request()))
        assert caught.value.reason == "prompt_too_long"
        assert inner.calls == calls


def test_a_rejection_that_may_pass_is_never_recorded_and_fails_everyone_who_waits():
    async def run():
        inner = CountingEngine([RequestRejectedError("garbage", "malformed_answer", permanent=False)])
        inner.gate.clear()
        store = MemoryStore()
        engine = JournaledEngine(inner, store)
        tasks = [asyncio.create_task(engine.generate(request())) for _ in range(3)]
        await asyncio.sleep(0)
        inner.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(outcome, "reason", outcome) for outcome in outcomes] == ["malformed_answer"] * 3
        assert (inner.calls, store) == (1, {})
        assert (await engine.generate(request())).prompt_tokens == 7, "a rerun asks again"

    asyncio.run(run())


def test_equal_requests_in_flight_are_asked_once():
    async def run():
        inner = CountingEngine()
        inner.gate.clear()
        engine = JournaledEngine(inner, MemoryStore())
        tasks = [asyncio.create_task(engine.generate(request())) for _ in range(10)]
        await asyncio.sleep(0)
        inner.gate.set()
        assert len(set(await asyncio.gather(*tasks))) == 1
        assert (inner.calls, engine.asked, engine.replayed) == (1, 1, 9)

    asyncio.run(run())


def test_engines_that_share_their_answers_wait_for_one_another():
    async def run():
        asking, waiting, store = CountingEngine(), CountingEngine(), MemoryStore()
        asking.gate.clear()
        shared = SharedAnswers(store)
        first = asyncio.create_task(JournaledEngine(asking, shared).generate(request()))
        await asyncio.sleep(0)
        outer = JournaledEngine(JournaledEngine(waiting, shared), own := MemoryStore())
        second = asyncio.create_task(outer.generate(request()))
        await asyncio.sleep(0)
        asking.gate.set()
        assert await first == await second
        assert (asking.calls, waiting.calls) == (1, 0)
        assert own == store != {}

    asyncio.run(run())


@pytest.mark.parametrize("cancelled", [0, 1])
def test_cancelling_one_of_two_equal_requests_leaves_the_other_alive(cancelled):
    async def run():
        inner = CountingEngine()
        inner.gate.clear()
        engine = JournaledEngine(inner, MemoryStore())
        tasks = [asyncio.create_task(engine.generate(request())) for _ in range(2)]
        await asyncio.sleep(0)
        tasks[cancelled].cancel()
        await asyncio.sleep(0)
        inner.gate.set()
        assert (await tasks[1 - cancelled]).completions[1].text == "b"
        with pytest.raises(asyncio.CancelledError):
            await tasks[cancelled]
        assert engine.asked == 1

    asyncio.run(run())


def test_an_unavailable_engine_is_not_recorded_and_fails_everyone_who_waits():
    async def run():
        inner = CountingEngine([EngineUnavailableError("down")])
        inner.gate.clear()
        store = MemoryStore()
        engine = JournaledEngine(inner, store)
        tasks = [asyncio.create_task(engine.generate(request())) for _ in range(3)]
        await asyncio.sleep(0)
        inner.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [EngineUnavailableError] * 3
        assert (inner.calls, store) == (1, {})
        assert (await engine.generate(request())).prompt_tokens == 7, "the next call asks again"

    asyncio.run(run())


def test_equal_requests_of_several_event_loops_are_asked_once():
    class SlowEngine(CountingEngine):
        async def generate(self, asked):
            self.calls += 1
            started.set()
            while not everyone_asked.is_set():
                await asyncio.sleep(0.001)
            return Generation((Completion("x", "stop", 1),), 1)

    started, everyone_asked = threading.Event(), threading.Event()
    inner = SlowEngine()
    engine = JournaledEngine(inner, MemoryStore())
    answers = []

    def loop():
        answers.append(asyncio.run(engine.generate(request())))

    threads = [threading.Thread(target=loop) for _ in range(4)]
    threads[0].start()
    started.wait()
    for thread in threads[1:]:
        thread.start()
    everyone_asked.set()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1
    assert (inner.calls, engine.asked, engine.replayed) == (1, 1, 3)


def test_closing_closes_the_engine():
    inner = CountingEngine()
    asyncio.run(JournaledEngine(inner, MemoryStore()).close())
    assert inner.calls == -1


def test_later_completions_of_a_seed_are_another_question() -> None:
    asked = request()
    keys = {asked.key("weights"), replace(asked, first=1).key("weights"), replace(asked, first=2).key("weights")}
    assert len(keys) == 3
    with pytest.raises(ValueError, match="numbered from 0"):
        replace(asked, first=-1)
