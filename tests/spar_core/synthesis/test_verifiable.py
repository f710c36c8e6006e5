from itertools import combinations

import pytest

from spar_core.constraints import conflict, get
from spar_core.errors import DataError
from spar_core.synthesis import seed_prompts, verifiable_prompt, verifiable_prompts

SEEDS = ("Name a bird.", "Describe a river.")


def test_a_prompt_is_a_function_of_seed_and_index():
    forwards = list(verifiable_prompts(SEEDS, range(20), 7))
    backwards = [verifiable_prompt(SEEDS, index, 7) for index in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert len({prompt.text for prompt in forwards}) == 20
    assert forwards != list(verifiable_prompts(SEEDS, range(20), 8))
    assert forwards != list(verifiable_prompts(SEEDS, range(20), 7, split="test"))


def test_constraints_are_two_to_four_without_conflicts_or_shared_keywords():
    sizes = set()
    for prompt in verifiable_prompts(SEEDS, range(300), 0):
        kinds = [constraint.kind for constraint in prompt.constraints]
        sizes.add(len(kinds))
        assert not any(conflict(first, second) for first, second in combinations(kinds, 2))
        for kind, constraint in zip(kinds, prompt.constraints, strict=True):
            assert get(kind).id == kind
            assert constraint.kwargs.startswith("{")
        assert any(seed in prompt.text for seed in SEEDS)
        assert prompt.source == "verifiable"
    assert sizes == {2, 3, 4}


def test_kinds_can_be_chosen():
    (prompt,) = verifiable_prompts(SEEDS, [3], 0, kinds=("punctuation:no_comma", "startend:quotation"))
    assert {c.kind for c in prompt.constraints} == {"punctuation:no_comma", "startend:quotation"}


def test_nothing_to_start_from_is_an_error():
    with pytest.raises(DataError, match="seed instruction"):
        verifiable_prompt((), 0, 0)


def test_shipped_seeds_are_many_and_different():
    seeds = seed_prompts()
    assert len(seeds) == len(set(seeds)) >= 120
    assert all(seed == seed.strip() and seed[-1] in ".?" for seed in seeds)
