import asyncio

import pytest

from spar_core.engines.base import Completion
from spar_core.engines.scripted import ScriptedEngine, newest_first
from spar_core.errors import DataError, RequestRejectedError
from spar_core.prompts import PromptLibrary
from spar_core.synthesis.taxonomy import GROUPS, draw_groups, evolve, parse_evolution

LIBRARY = PromptLibrary.load()
SEEDS = ("Name a bird.", "Add 2 and 3.", "Too long.", "Describe a river.")


def _answer(request, _index):
    text = request.messages[-1].content
    if "Add 2 and 3." in text:
        return "None."
    if "Too long." in text:
        return RequestRejectedError("prompt too long", reason="prompt_too_long")
    return f"Sure.\n<new_instruction>\nNew one, seed {request.seed}.\n</new_instruction>"


def _run(engine, indices=range(8), **options):
    async def collect():
        return [evolved async for evolved in evolve(SEEDS, indices, engine, LIBRARY, 5, **options)]

    return asyncio.run(collect())


def test_every_use_of_a_seed_ends_in_a_prompt_or_a_drop():
    results = _run(ScriptedEngine(_answer))
    assert [result.use for result in results] == list(range(8))
    assert [result.drop and result.drop.reason for result in results] == [
        None,
        "none_answer",
        "prompt_too_long",
        None,
    ] * 2
    prompts = [result.prompt for result in results if result.prompt]
    assert len({prompt.prompt_id for prompt in prompts}) == 4  # two uses of one seed have their own draws
    assert len({result.drop.record_id for result in results if result.drop}) == 4
    assert all(prompt.source == "taxonomy" and prompt.constraints == () for prompt in prompts)
    assert {prompt.seed_prompt for prompt in prompts} <= {seed.strip() for seed in SEEDS}


def test_results_do_not_depend_on_order_or_sharding():
    whole = _run(ScriptedEngine(_answer))
    reordered = _run(ScriptedEngine(_answer, order=newest_first), max_requests_in_flight=3)
    assert whole == reordered
    assert whole[4:] == _run(ScriptedEngine(_answer), range(4, 8))


def test_request_carries_seed_groups_and_temperature():
    engine = ScriptedEngine(_answer)
    (result,) = _run(engine, [0])
    (request,) = engine.requests
    text = request.messages[-1].content
    assert "Name a bird." in text
    assert all(GROUPS[group] in text for group in result.groups)
    assert (request.sampling.temperature, request.n) == (0.7, 1)


def test_groups_are_the_papers_14_one_main_and_one_to_three_others():
    assert len(GROUPS) == 14
    drawn = [draw_groups(0, index) for index in range(300)]
    assert {len(groups) for groups in drawn} == {2, 3, 4}
    assert all(len(set(groups)) == len(groups) for groups in drawn)
    assert {groups[0] for groups in drawn} == set(GROUPS)


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("<new_instruction>a</new_instruction>", "stop", ("a", "")),
        ("<new_instruction>x</new_instruction> or <new_instruction> b </new_instruction>", "stop", ("b", "")),
        ("None", "stop", (None, "none_answer")),
        ("<new_instruction>\nNONE.\n</new_instruction>", "stop", (None, "none_answer")),
        ("None of the types suit it", "stop", (None, "unparseable")),
        ("<new_instruction>a", "stop", (None, "truncated")),
        ("I think", "length", (None, "truncated")),
        ("<new_instruction> </new_instruction>", "stop", (None, "unparseable")),
        ("<new_instruction>seed</new_instruction>", "stop", (None, "unchanged")),
    ],
)
def test_reading_the_answer(text, finish, expected):
    assert parse_evolution(Completion(text, finish, 1), "seed") == expected


def test_no_seeds_is_an_error():
    async def first():
        return [item async for item in evolve((), [0], ScriptedEngine(_answer), LIBRARY, 0)]

    with pytest.raises(DataError, match="seed instruction"):
        asyncio.run(first())
