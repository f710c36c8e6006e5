import asyncio

import pytest
from together import TogetherEngine

from spar_core.config.method import JudgingConfig
from spar_core.engines.base import GenerationRequest
from spar_core.engines.scripted import Answer, ScriptedEngine
from spar_core.errors import RequestRejectedError
from spar_core.prompts import PromptLibrary
from spar_core.records import Response, RubricVote
from spar_core.roles import Subject
from spar_core.roles.scorer import Compared, Contest, Scored, Scorer, comparable

LIBRARY = PromptLibrary.load()
RESPONSE = Response("r", "p", 0, "three birds", "stop", 1, 1, "m", 0)


def score(rounds: list[str], **judging: object) -> tuple[Scored, list[GenerationRequest]]:
    def answer(request: GenerationRequest, index: int) -> Answer:
        digit = rounds[len(engine.requests) - 1][index]
        return "hm" if digit == "-" else f"Score: {digit}"

    engine = ScriptedEngine(answer)
    scorer = Scorer(engine, LIBRARY, JudgingConfig(**judging))  # type: ignore[arg-type]
    return asyncio.run(scorer.score(Subject("Name birds.", RESPONSE), 7)), engine.requests


def test_the_score_is_the_mean_of_the_votes_that_can_be_read() -> None:
    scored, requests = score(["5-3-1"])
    assert scored.score is not None
    assert scored.score.score == pytest.approx((1.0 + 0.6 + 0.2) / 3)
    assert scored.score.variance == pytest.approx((0.4**2 + 0.0 + 0.4**2) / 3)
    assert (scored.score.votes, scored.score.unparseable_votes) == (3, 2)
    assert [vote.score for vote in scored.votes] == [1.0, None, 0.6, None, 0.2]
    (request,) = requests
    assert request.n == 5
    assert request.messages[0].content == LIBRARY.fill("rubric", prompt="Name birds.", response="three birds")


def test_a_missing_quorum_is_asked_again_and_then_a_drop() -> None:
    scored, requests = score(["5----", "3-3--"])
    assert scored.score is not None
    assert (scored.score.votes, len(requests), len({request.seed for request in requests})) == (3, 2, 2)
    scored, requests = score(["-----"] * 3)
    assert (scored.score, scored.failure, scored.detail) == (None, "quorum", "0 of 15 votes hold a score")
    assert score(["4----"], quorum=1, max_reasks=0)[0].score is not None


def vote(index: int, text: str, value: float | None = 0.4) -> RubricVote:
    return RubricVote("r", index, value, text, "stop", 0)


def test_every_two_judgements_are_compared_in_both_orders() -> None:
    votes = (vote(0, "bad"), vote(2, "good"))

    def first_is_good(request: GenerationRequest, index: int) -> Answer:
        text = request.messages[-1].content
        return f"Better judgement: {'A' if text.index('<judgement_b>') > text.index('good') else 'B'}"

    engine = ScriptedEngine(first_is_good)
    scorer = Scorer(engine, LIBRARY, JudgingConfig())
    compared = asyncio.run(scorer.compare(Contest("Name birds.", RESPONSE, votes), 7))
    assert [(v.first_index, v.second_index, v.better) for v in compared.votes] == [(0, 2, "B"), (2, 0, "A")]
    assert compared.failure is None
    assert len({request.seed for request in engine.requests}) == 2


def test_a_refused_comparison_is_told() -> None:
    engine = ScriptedEngine(lambda request, index: RequestRejectedError("no", reason="prompt_too_long"))
    contest = Contest("P", RESPONSE, (vote(0, "a"), vote(1, "b")))
    compared: Compared = asyncio.run(Scorer(engine, LIBRARY, JudgingConfig()).compare(contest, 7))
    assert (compared.votes, compared.failure) == ((), "prompt_too_long")


def test_comparable_judgements_hold_a_score_and_differ() -> None:
    votes = [vote(0, "a"), vote(1, "b", None), vote(2, "a "), vote(3, "c"), vote(4, "d")]
    assert [found.vote_index for found in comparable(votes, 2)] == [0, 3]
    assert [found.vote_index for found in comparable(votes, 9)] == [0, 3, 4]


def test_all_comparisons_of_a_contest_are_asked_at_once() -> None:
    votes = tuple(vote(index, f"judgement {index}") for index in range(5))
    engine = TogetherEngine(20, lambda request: "Better judgement: A")
    compared = asyncio.run(Scorer(engine, LIBRARY, JudgingConfig()).compare(Contest("P", RESPONSE, votes), 7))
    shown = [(made.first_index, made.second_index) for made in compared.votes]
    assert shown == [(first, second) for first in range(5) for second in range(5) if first != second]
    assert {made.better for made in compared.votes} == {"A"}
