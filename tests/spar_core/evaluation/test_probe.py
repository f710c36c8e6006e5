import asyncio
import dataclasses
import json

import pytest

from spar_core.config.method import JudgingConfig, MethodConfig, RefinementConfig, ResponsesConfig
from spar_core.engines.base import Completion, GenerationRequest
from spar_core.engines.scripted import Answer, ScriptedEngine
from spar_core.errors import RequestRejectedError
from spar_core.evaluation.probe import Prober, RoleProbe, SetProbe
from spar_core.prompts import PromptLibrary
from spar_core.records import Prompt

PROMPTS = [Prompt.create(f"Request number {number}: name three birds without commas.") for number in range(10)]
METHOD = MethodConfig(
    responses=ResponsesConfig(max_tokens=50),
    judging=JudgingConfig(max_tokens=400),
    refinement=RefinementConfig(max_tokens=100),
)


def probed(script: object, prompt_set: str = "plain", method: MethodConfig = METHOD) -> tuple[RoleProbe, SetProbe]:
    engine = ScriptedEngine(script)  # type: ignore[arg-type]
    prober = Prober(engine, engine, PROMPTS, method, seed=3, most_tokens=100)

    async def run() -> tuple[RoleProbe, SetProbe]:
        return await prober.actor(), (await prober.prompt_sets([PromptLibrary.load(prompt_set)]))[0]

    return asyncio.run(run())


def number(request: GenerationRequest) -> int:
    return int(request.messages[0].content.partition("number ")[2].partition(":")[0] or 0)


def role(request: GenerationRequest) -> str:
    if len(request.messages) == 3:
        return "refiner"
    return "judge" if "Final verdict" in request.messages[-1].content else "actor"


def mixed(request: GenerationRequest, index: int) -> Answer:
    """Of ten answers the last two are cut; votes: 4 readable, 2 not, 3 cut by the probe alone, one refused."""
    which = number(request)
    if role(request) == "actor":
        return Completion("owl", "length" if which >= 8 else "stop", 10 + which)
    if role(request) == "judge":
        if which == 9:
            raise RequestRejectedError("too long", reason="prompt_too_long")
        if which >= 6:
            return Completion("let me see", "length", 100)
        return f"Final verdict: {'NO' if which else 'YES'}" if which < 4 else "I like it."
    return ["owl", "eagle", request.messages[-1].content][min(which, 2)]


def test_the_shares_are_of_what_is_known() -> None:
    actor, (judge, refiner) = probed(mixed)
    assert (actor.requests, actor.readable, actor.cut, actor.limit) == (10, 10, 2, 50)
    assert (actor.length(0.5), actor.length(0.95), actor.fitting_limit) == (14, 19, None)
    # Three were cut by the 100 tokens of the probe, of the 400 they would have had: nothing is known of them.
    assert (judge.readable, judge.open, judge.refused, judge.limit, judge.own_limit) == (4, 3, 1, 100, 400)
    assert judge.share.value == 4 / 7
    assert judge.example == "I like it."
    # One rewrite repeats the answer, one is new, eight echo the request.
    assert (refiner.readable, refiner.unchanged, refiner.open) == (2, 1, 0)
    assert refiner.example.startswith("That answer does not follow")


def test_a_text_cut_by_the_methods_own_limit_is_lost() -> None:
    own = METHOD.model_copy(update={"judging": JudgingConfig(max_tokens=100)})
    _, (judge, _) = probed(mixed, method=own)
    assert (judge.readable, judge.open) == (4, 0)
    assert judge.share.value == 4 / 10


def test_a_rewrite_is_asked_for_with_the_finding_of_a_vote_against() -> None:
    asked: list[str] = []

    def script(request: GenerationRequest, index: int) -> Answer:
        if role(request) == "refiner":
            asked.append(request.messages[-1].content)
        if role(request) == "judge":
            return "There is a comma.\nFinal verdict: " + ("NO" if number(request) else "YES")
        return "owl, eagle"

    probed(script)
    assert sum("There is a comma." in text for text in asked) == 9
    assert sum("It breaks at least one rule" in text for text in asked) == 1


def test_a_held_verdict_is_readable_and_no_text_of_its_own() -> None:
    held = METHOD.model_copy(update={"judging": JudgingConfig(verdict="continuation", max_tokens=400)})
    _, (judge, _) = probed(lambda request, index: " NO" if request.choices else "I like it.", method=held)
    assert (judge.readable, len(judge.tokens)) == (10, 10)


def test_a_limit_that_fits_leaves_room_above_nearly_all_texts() -> None:
    lengths = tuple(range(1, 101))
    probe = RoleProbe("actor", "", 256, 2048, 100, 100, 0, 0, 0, 0, lengths, 2.0)
    # Of 1 to 100 tokens 95 % are 95 or fewer; a quarter more is 118, in steps of 64 it is 128.
    assert probe.fitting_limit == 128
    assert probe.rate == 5050 / 2
    assert dataclasses.replace(probe, cut=6).fitting_limit is None


def test_nothing_is_known_where_every_text_was_cut_by_the_probe() -> None:
    probe = RoleProbe("judge", "default", 256, 2048, 20, 0, 20, 20, 0, 0, (256,) * 20, 1.0)
    assert not probe.share.known
    assert probe.plain()["share"]["value"] is None


def test_a_probe_is_kept_as_json() -> None:
    actor, _ = probed(mixed)
    assert RoleProbe.read(json.loads(json.dumps(dataclasses.asdict(actor)))) == actor


@pytest.mark.parametrize("name", ["default", "plain"])
def test_an_actor_that_says_nothing_leaves_nothing_to_judge(name: str) -> None:
    actor, (judge, refiner) = probed(lambda request, index: "", name)
    assert (actor.readable, judge.requests, refiner.requests) == (0, 0, 0)
    assert not judge.share.known
