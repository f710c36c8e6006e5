"""`judging.anchor: rules_then_votes | rules_only`: where a rule decides, no vote is asked."""

import asyncio

import pytest
from pydantic import ValidationError

from spar_core.config.method import JudgingConfig, MethodConfig, RefinementConfig, SearchConfig
from spar_core.data.contest import contested
from spar_core.engines.base import GenerationRequest
from spar_core.engines.scripted import Answer, ScriptedEngine
from spar_core.evaluation.truth import anchor_of
from spar_core.prompts import PromptLibrary
from spar_core.records import Constraint, Prompt, Verdict
from spar_core.roles import JudgementOutcome, Refiner, parse_verdict
from spar_core.search import Root, SearchResult, run_trees

LIBRARY = PromptLibrary.load("starter")
TASK = "Describe a garden in spring without commas."
NO_COMMA = Constraint.create("punctuation:no_comma")
PROMPT = Prompt.create(TASK, (NO_COMMA,))
ODD = Prompt.create(TASK, (NO_COMMA, Constraint.create("odd:kind")))
GOOD, BAD = "The garden blooms early.", "The garden, in spring, blooms."


def judge(anchor: str, prompt: Prompt, text: str, ended: str = "stop") -> tuple[JudgementOutcome, int]:
    engine = ScriptedEngine(lambda request, index: "so so\nFinal verdict: NO")
    config = JudgingConfig.model_validate({"anchor": anchor})
    refiner = Refiner(engine, LIBRARY, config, RefinementConfig(), anchor_of(config, [prompt]))
    outcome = asyncio.run(refiner.judge("s", prompt.text, text, 1, finish_reason=ended))  # type: ignore[arg-type]
    return outcome, len(engine.requests)


@pytest.mark.parametrize("anchor", ["rules_then_votes", "rules_only"])
def test_a_broken_rule_is_no_in_the_checkers_words_and_asks_no_vote(anchor: str) -> None:
    outcome, asked = judge(anchor, PROMPT, BAD)
    found = outcome.judgement
    assert found is not None
    assert (asked, outcome.votes, found.verdict, found.value) == (0, (), Verdict.NO, 0.0)
    assert (found.anchored, found.yes_votes, found.no_votes) == ("rule", 0, 0)
    assert "2 commas" in found.critique
    assert parse_verdict(found.critique, "stop") is Verdict.NO
    assert contested(found)  # the refiner may learn it


def test_where_no_rule_is_broken_votes_decide() -> None:
    for prompt in (PROMPT, ODD, Prompt.create("free")):
        outcome, asked = judge("rules_then_votes", prompt, GOOD)
        assert outcome.judgement is not None
        assert (asked, outcome.judgement.verdict, outcome.judgement.anchored) == (1, Verdict.NO, "no")


@pytest.mark.parametrize("anchor", ["verifier", "rules_then_votes"])
def test_a_checker_of_few_labels_knows_a_share_of_the_prompts(anchor: str) -> None:
    prompts = [Prompt.create(f"{TASK} {number}", (NO_COMMA,)) for number in range(400)]
    known = dict[float, set[str]]()
    for share in (0.1, 0.5, 1.0):
        verify = anchor_of(JudgingConfig.model_validate({"anchor": anchor, "anchor_share": share}), prompts)
        assert verify is not None
        known[share] = {prompt.text for prompt in prompts if verify(prompt.text, BAD) is not None}
    assert [len(texts) / 400 for texts in known.values()] == pytest.approx([0.1, 0.5, 1.0], abs=0.06)
    assert known[0.1] < known[0.5] < known[1.0]  # more labels are the same ones and others


def test_a_rewrite_that_meets_the_rules_by_saying_things_twice_can_be_refused() -> None:
    said = "The garden blooms early in the year and the bees come back to the old trees by the wall. " * 2
    found = {}
    for most in (0.75, 0.3):
        config = JudgingConfig(anchor="rules_only", most_repeated=most)
        verify = anchor_of(config, [PROMPT])
        assert verify is not None
        checked = verify(PROMPT.text, said)
        assert checked is not None
        found[most] = checked.failed
    assert found == {0.75: (), 0.3: ("The answer must not say the same again and again.",)}


@pytest.mark.parametrize("anchor", ["none", "rules_only"])
def test_a_share_needs_votes_for_the_rest_and_a_checker(anchor: str) -> None:
    with pytest.raises(ValidationError, match=r"anchor_share.*set judging\.anchor to verifier or rules_then_votes"):
        JudgingConfig.model_validate({"anchor": anchor, "anchor_share": 0.5})


def test_rules_alone_say_yes_only_where_they_know_every_constraint() -> None:
    outcome, asked = judge("rules_only", PROMPT, GOOD)
    assert outcome.judgement is not None
    assert (asked, outcome.judgement.verdict, outcome.judgement.anchored) == (0, Verdict.YES, "rule")
    assert parse_verdict(outcome.judgement.critique, "stop") is Verdict.YES
    for prompt in (ODD, Prompt.create("free")):
        outcome, asked = judge("rules_only", prompt, GOOD)
        assert (asked, outcome.judgement, outcome.failure) == (0, None, "no_rule")


@pytest.mark.parametrize(
    ("text", "ended", "words"),
    [("", "stop", "content"), (GOOD, "length", "cut"), (TASK, "stop", "repeat the request")],
)
def test_rules_alone_refuse_what_does_nothing(text: str, ended: str, words: str) -> None:
    outcome, _ = judge("rules_only", PROMPT, text, ended)
    assert outcome.judgement is not None
    assert outcome.judgement.verdict is Verdict.NO
    assert words in outcome.judgement.critique


def test_rules_alone_are_refused_with_cut_rewrites() -> None:
    with pytest.raises(ValidationError, match="accept_truncated=false"):
        MethodConfig.model_validate({"judging": {"anchor": "rules_only"}, "search": {"accept_truncated": True}})


def test_a_tree_hands_the_rules_critique_on_and_asks_votes_only_for_what_meets_them() -> None:
    asked: list[str] = []

    def answer(request: GenerationRequest, index: int) -> Answer:
        text = request.messages[-1].content
        asked.append(text)
        if text.startswith("Mend"):
            return f"<revised_answer>{(BAD + ' It glows.', GOOD)[index]}</revised_answer>"
        return "Final verdict: YES"

    engine = ScriptedEngine(answer)

    async def search() -> SearchResult:
        config = JudgingConfig(anchor="rules_then_votes")
        refiner = Refiner(engine, LIBRARY, config, RefinementConfig(), anchor_of(config, [PROMPT]))
        root = Root("p", TASK, "r", BAD, "it has 2 commas", 0.0, anchored="rule")
        return await anext(run_trees([root], refiner, SearchConfig(branch=2), 0))

    result = asyncio.run(search())
    _, bad, good = result.nodes
    assert result.accepted == good
    assert (bad.anchored, bad.value, bad.yes_votes, bad.no_votes) == ("rule", 0.0, 0, 0)
    assert "2 commas" in bad.critique
    assert (good.anchored, good.yes_votes) == ("no", 5)
    judged = [text for text in asked if not text.startswith("Mend")]
    assert judged
    assert all(BAD not in text for text in judged)
