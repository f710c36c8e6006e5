"""Stopping early: from which answer on too little of what a model writes can be used."""

import asyncio

import pytest

from spar_core.config.method import JudgingConfig, RefinementConfig, ResponsesConfig
from spar_core.engines.scripted import ScriptedEngine
from spar_core.errors import FruitlessError
from spar_core.prompts import PromptLibrary
from spar_core.records import Prompt, Verdict, Vote
from spar_core.roles import Actor, Refiner
from spar_core.roles.watch import Watch, chance

GOOD, BAD = "Final verdict: YES", "I like this answer."


def vote(text: str, ended: str = "stop") -> Vote:
    verdict = Verdict.YES if text == GOOD else Verdict.UNPARSEABLE
    return Vote("r", 0, verdict, text, ended, 1)  # type: ignore[arg-type]


def test_nothing_is_said_of_fewer_than_twenty():
    Watch({"votes": 0.0}).voted([vote(BAD)] * 19)
    with pytest.raises(FruitlessError):
        Watch({"votes": 0.0}).voted([vote(BAD)] * 20)


def test_chance_is_allowed_for():
    # Hoeffding at probability 0.001: sqrt(ln 1000 / (2 x 100)) = 0.1858. A share of 0.68 of 100 may be one of 0.5.
    assert chance(100) == pytest.approx(0.18585, abs=1e-5)
    Watch({"votes": 0.5}).voted([vote(BAD)] * 68 + [vote(GOOD)] * 32)
    with pytest.raises(FruitlessError, match="69 of the first 100 votes"):
        Watch({"votes": 0.5}).voted([vote(BAD)] * 69 + [vote(GOOD)] * 31)


def test_the_message_counts_the_causes_and_shows_one():
    votes = [vote(BAD)] * 30 + [vote("cut here", "length")] * 10
    with pytest.raises(FruitlessError) as told:
        Watch({"votes": 0.5}).voted(votes)
    text = str(told.value)
    assert "40 of the first 40 votes cannot be read (30 no verdict line, 10 cut by the token limit)" in text
    assert "'I like this answer.'" in text
    assert "health.max_unreadable_votes" in text
    assert "method.prompt_set" in text


def test_without_a_limit_nothing_stops():
    Watch({}).voted([vote(BAD)] * 1000)


def refiner(text: str, **limits: float) -> Refiner:
    engine = ScriptedEngine(lambda request, index: text, model_digest="m")
    watch = Watch(limits)
    return Refiner(engine, PromptLibrary.load("default"), JudgingConfig(max_reasks=0), RefinementConfig(), watch=watch)


async def _judge(judge: Refiner, times: int) -> None:
    for number in range(times):
        await judge.judge(f"r{number}", "Say hello.", "hello", 0)


def test_a_refiner_whose_votes_cannot_be_read_stops_after_four_answers():
    asyncio.run(_judge(refiner(BAD, votes=0.5), 3))  # 15 votes
    with pytest.raises(FruitlessError, match="20 of the first 20"):
        asyncio.run(_judge(refiner(BAD, votes=0.5), 4))
    asyncio.run(_judge(refiner(GOOD, votes=0.5), 20))


def test_rewrites_without_markers_stop_the_search():
    async def rewrite(writer: Refiner) -> None:
        for seed in range(40):
            await writer.refine("Say hello.", "hi", "Too short.", seed, 3)

    with pytest.raises(FruitlessError, match=r"rewrites cannot be used \(\d+ without the markers of an answer\)"):
        asyncio.run(rewrite(refiner("Hello there.", rewrites=0.8)))
    asyncio.run(rewrite(refiner("<revised_answer>\nHello\n</revised_answer>", rewrites=0.8)))


def test_cut_answers_stop_the_actor():
    async def answer(limits: dict[str, float]) -> None:
        from spar_core.engines.base import Completion

        engine = ScriptedEngine(lambda request, index: Completion("and so on", "length", 3), model_digest="m")
        actor = Actor(engine, ResponsesConfig(per_prompt=5), Watch(limits))
        for number in range(20):
            await actor.answer(Prompt.create(f"Say {number}"), 0)

    with pytest.raises(FruitlessError, match=r"answers are cut.*method\.responses\.max_tokens"):
        asyncio.run(answer({"answers": 0.5}))
    asyncio.run(answer({}))
