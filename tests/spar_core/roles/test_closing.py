import asyncio

import pytest

from spar_core.config.method import JudgingConfig, RefinementConfig
from spar_core.engines.base import Completion, GenerationRequest
from spar_core.engines.scripted import Answer, ScriptedEngine
from spar_core.errors import RequestRejectedError
from spar_core.prompts import PromptLibrary
from spar_core.records import Message, Verdict
from spar_core.roles import JudgementOutcome, Refiner
from spar_core.roles.requests import judge_messages

CHOICES = (" YES", " NO")


def judged(answer: object, prompt_set: str = "plain", **judging: object) -> tuple[JudgementOutcome, ScriptedEngine]:
    engine = ScriptedEngine(answer)  # type: ignore[arg-type]
    config = JudgingConfig(votes=3, quorum=1, verdict="continuation", **judging)  # type: ignore[arg-type]
    refiner = Refiner(engine, PromptLibrary.load(prompt_set), config, RefinementConfig())
    return asyncio.run(refiner.judge("s", "P", "R", 3)), engine


def rambling(request: GenerationRequest, index: int) -> Answer:
    if request.choices:
        return request.choices["two" in request.messages[-1].content]
    return [f"There are {word} commas." for word in ("no", "two", "no")][index]


def test_every_vote_can_be_read_whatever_its_text_says() -> None:
    outcome, engine = judged(rambling)
    assert [vote.verdict for vote in outcome.votes] == [Verdict.YES, Verdict.NO, Verdict.YES]
    assert outcome.votes[1].critique == "There are two commas.\nFinal verdict: NO"
    assert outcome.judgement is not None
    assert outcome.judgement.value == 2 / 3
    asked, *closings = engine.requests
    assert asked.choices == ()
    assert [closing.choices for closing in closings] == [CHOICES] * 3
    assert closings[0].messages == (
        *judge_messages(PromptLibrary.load("plain"), "P", "R"),
        Message("assistant", "There are no commas.\nFinal verdict:"),
    )
    assert len({closing.seed for closing in closings}) == 3


def test_a_verdict_line_of_the_texts_own_is_asked_again_not_doubled() -> None:
    def answer(request: GenerationRequest, index: int) -> Answer:
        return " NO" if request.choices else "All is well.\n\n**Final verdict: YES**\n"

    outcome, _ = judged(answer)
    assert {vote.critique for vote in outcome.votes} == {"All is well.\nFinal verdict: NO"}


def test_a_text_of_nothing_but_a_verdict_leaves_the_line_alone() -> None:
    outcome, _ = judged(lambda request, index: " YES" if request.choices else "Final verdict: NO")
    assert {vote.critique for vote in outcome.votes} == {"Final verdict: YES"}


def test_the_words_are_those_of_the_prompt_set() -> None:
    outcome, engine = judged(lambda request, index: " No" if request.choices else "hm", "published")
    assert engine.requests[1].choices == (" Yes", " No")
    assert outcome.judgement is not None
    assert outcome.judgement.verdict is Verdict.NO


def test_soft_votes_take_the_likelier_word_and_keep_its_probability() -> None:
    def answer(request: GenerationRequest, index: int) -> Answer:
        return Completion(" YES", "stop", 1, shares=(0.4, 0.6)) if request.choices else "hm"

    soft, _ = judged(answer, soft_votes=True)
    assert {(vote.verdict, vote.yes_probability) for vote in soft.votes} == {(Verdict.NO, 0.4)}
    assert soft.judgement is not None
    assert soft.judgement.verdict is Verdict.NO
    assert soft.judgement.value == pytest.approx(0.4)
    drawn, _ = judged(answer)
    assert {(vote.verdict, vote.yes_probability) for vote in drawn.votes} == {(Verdict.YES, 0.4)}
    assert drawn.judgement is not None
    assert drawn.judgement.value == 1.0


def test_what_a_server_writes_that_cannot_be_held_is_read_as_a_text() -> None:
    outcome, _ = judged(lambda request, index: "I would say yes and no" if request.choices else "hm", max_reasks=0)
    assert {vote.verdict for vote in outcome.votes} == {Verdict.UNPARSEABLE}
    assert outcome.failure == "quorum"


def test_a_refused_verdict_is_the_outcomes_failure() -> None:
    def answer(request: GenerationRequest, index: int) -> Answer:
        return RequestRejectedError("no such words", reason="choices") if request.choices else "hm"

    outcome, _ = judged(answer)
    assert (outcome.judgement, outcome.failure, outcome.detail) == (None, "choices", "no such words")


def test_keys_of_judging_are_as_they_were_unless_it_is_used() -> None:
    assert not {"verdict", "soft_votes"} & set(JudgingConfig().model_dump())
    used = JudgingConfig(verdict="continuation", soft_votes=True)
    assert JudgingConfig.model_validate(used.model_dump(mode="json")) == used


def test_a_thought_that_was_cut_gets_no_verdict() -> None:
    outcome, engine = judged(lambda request, index: Completion("", "length", 9, "Let me count"), max_reasks=0)
    assert {vote.verdict for vote in outcome.votes} == {Verdict.UNPARSEABLE}
    assert len(engine.requests) == 1
