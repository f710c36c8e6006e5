"""Thoughts pass through the roles beside the answers: kept, never read; an answer lost to one is one lost sample."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from spar_core.config.method import JudgingConfig, RefinementConfig, ResponsesConfig
from spar_core.config.pairs import PairsConfig
from spar_core.data import random_pairs
from spar_core.engines.base import Completion, GenerationRequest
from spar_core.engines.scripted import ScriptedEngine
from spar_core.prompts import PromptLibrary
from spar_core.records import Prompt, Response, Verdict
from spar_core.roles import Actor, Refiner, Subject, judge_all
from spar_core.roles.batches import Judged
from spar_core.roles.scorer import Scorer

LIBRARY = PromptLibrary.load()
PROMPT = Prompt.create("Name birds.")
CUT = Completion("", "length", 9, "Which birds are")
LIES = "Final verdict: YES"


def engine_of(*completions: Completion) -> ScriptedEngine:
    def answer(_request: GenerationRequest, index: int) -> Completion:
        return completions[index % len(completions)]

    return ScriptedEngine(answer)


def response(text: str, finish_reason: str = "stop", thought: str = "") -> Response:
    return Response(f"r-{text}", PROMPT.prompt_id, 0, text, finish_reason, 1, 1, "m", 0, thought)  # type: ignore[arg-type]


def refiner_over(engine: ScriptedEngine) -> Refiner:
    return Refiner(engine, LIBRARY, JudgingConfig(votes=3, quorum=1), RefinementConfig())


def test_the_actors_samples_keep_their_thoughts_and_a_cut_one_costs_no_other() -> None:
    engine = engine_of(Completion("Owl.", "stop", 5, "birds..."), CUT)
    outcome = asyncio.run(Actor(engine, ResponsesConfig(per_prompt=2)).answer(PROMPT, 1))
    assert [(entry.text, entry.thought, entry.lost) for entry in outcome.responses] == [
        ("Owl.", "birds...", None),
        ("", "Which birds are", "cut_thought"),
    ]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (response("Owl."), None),
        (response("Owl", "length", "hm"), None),
        (response("", "length", "hm"), "cut_thought"),
        (response(" \n", "length"), "cut_thought"),
        (response("", "stop", "hm"), "no_answer"),
        (response("", "stop"), None),  # an empty answer is an answer
    ],
)
def test_an_answer_is_lost_where_only_a_thought_came(found: Response, reason: str | None) -> None:
    assert found.lost == reason


def test_verdicts_are_not_searched_for_in_thoughts() -> None:
    engine = engine_of(
        Completion("It lacks birds.\nFinal verdict: NO", "stop", 9, LIES), Completion("", "length", 9, LIES)
    )
    outcome = asyncio.run(refiner_over(engine).judge("r", "Name birds.", "Stones.", 1))
    assert [vote.verdict for vote in outcome.votes] == [Verdict.NO, Verdict.UNPARSEABLE, Verdict.NO]
    assert {vote.thought for vote in outcome.votes} == {LIES}
    assert outcome.judgement is not None
    assert LIES not in outcome.judgement.critique


def test_rewrites_are_not_looked_for_in_thoughts() -> None:
    form = "<revised_answer>\n{}\n</revised_answer>"
    engine = engine_of(
        Completion("Better so.\n\n" + form.format("Owl."), "stop", 9, form.format("draft")),
        Completion("", "length", 9, form.format("draft")),
    )
    usable, cut = asyncio.run(refiner_over(engine).refine("Name birds.", "Stones.", "No birds.", 1, 2))
    assert (usable.response, usable.reflection, usable.thought) == ("Owl.", "Better so.", form.format("draft"))
    assert (cut.response, cut.reflection, cut.failure) == ("", "", "truncated")


def test_a_lost_answer_is_a_drop_and_nobody_is_asked_about_it() -> None:
    engine = engine_of(Completion("Final verdict: NO", "stop", 9))

    async def judged() -> list[Judged]:
        found = (response("Owl."), response("", "length", "hm"), response("", "stop", "hm"))
        results: AsyncIterator[Judged] = judge_all(
            (Subject("Name birds.", one) for one in found), refiner_over(engine), 1
        )
        return [entry async for entry in results]

    fine, cut, silent = asyncio.run(judged())
    assert (fine.drop, fine.judgement is not None, engine.calls) == (None, True, 1)
    assert [(entry.votes, entry.judgement) for entry in (cut, silent)] == [((), None)] * 2
    assert [entry.drop.reason for entry in (cut, silent) if entry.drop] == ["cut_thought", "no_answer"]


def test_a_lost_answer_is_not_scored_and_scores_are_not_read_from_thoughts() -> None:
    engine = engine_of(Completion("Score: 2", "stop", 9, "Score: 5"))
    scorer = Scorer(engine, LIBRARY, JudgingConfig(votes=3))
    scored = asyncio.run(scorer.score(Subject("Name birds.", response("Owl.")), 1))
    assert [(vote.score, vote.thought) for vote in scored.votes] == [(0.4, "Score: 5")] * 3
    lost = asyncio.run(scorer.score(Subject("Name birds.", response("", "length", "hm")), 1))
    assert (lost.votes, lost.score, lost.failure, engine.calls) == ((), None, "cut_thought", 1)


def test_a_lost_answer_is_in_no_pair() -> None:
    answers = [response("Owl."), response("", "length", "hm"), response("Wren.")]
    pairs, drops = random_pairs([PROMPT], answers, PairsConfig(method="random_pairs"), run_seed=0)
    assert {pairs[0].chosen, pairs[0].rejected} == {"Owl.", "Wren."}
    pairs, drops = random_pairs([PROMPT], answers[1:], PairsConfig(method="random_pairs"), run_seed=0)
    assert (pairs, [drop.reason for drop in drops]) == ([], ["identical"])
