import json
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from spar_core.constraints import IFEVAL_KINDS, conflict
from spar_core.constraints.splits import HELDOUT_KINDS, TRAIN_KINDS
from spar_core.constraints.vocabulary import BANKS, LANGUAGE_NAMES
from spar_core.errors import DataError
from spar_core.records import Prompt
from spar_core.synthesis import deduplicate, seed_prompts, verifiable_prompt, verifiable_prompts

SEEDS = ("Name a bird.", "Describe a river.")
SPLITS = ("train", "dev", "test")
ROOT = Path(__file__).parents[3]
WORDS = {  # argument: the bank it comes from
    "keywords": "keywords", "forbidden_words": "keywords", "keyword": "keywords", "end_phrase": "end_phrases",
    "first_word": "first_words", "section_spliter": "section_splitters", "language": "languages",
}  # fmt: skip


def drawn(split: str, count: int = 2000) -> list[Prompt]:
    return list(verifiable_prompts(seed_prompts(split), range(count), 0, split))


@pytest.fixture(scope="module")
def prompts() -> dict[str, list[Prompt]]:
    return {split: drawn(split) for split in SPLITS}


def test_a_prompt_says_what_it_was_made_from(prompts: dict[str, list[Prompt]]) -> None:
    for split, made in prompts.items():
        assert {prompt.seed_prompt for prompt in made} <= {seed.strip() for seed in seed_prompts(split)}
        assert all(prompt.text.startswith(prompt.seed_prompt) for prompt in made)


def kinds_of(prompt: Prompt) -> list[str]:
    return [constraint.kind for constraint in prompt.constraints]


def words_of(prompt: Prompt) -> set[tuple[str, str]]:
    """Bank and entry of every word and phrase the prompt's constraints ask for."""
    found: set[tuple[str, str]] = set()
    for constraint in prompt.constraints:
        for name, value in json.loads(constraint.kwargs).items():
            entries = value if isinstance(value, list) else [value]
            found |= {(WORDS[name], entry) for entry in entries if name in WORDS}
    return found


@pytest.mark.parametrize("split", SPLITS)
def test_a_prompt_is_a_function_of_seed_split_and_index(split):
    forwards = list(verifiable_prompts(SEEDS, range(20), 7, split))
    assert forwards == [verifiable_prompt(SEEDS, index, 7, split) for index in reversed(range(20))][::-1]
    assert len({prompt.text for prompt in forwards}) == 20
    assert forwards != list(verifiable_prompts(SEEDS, range(20), 8, split))


@pytest.mark.parametrize("split", SPLITS)
def test_constraints_are_two_to_four_without_conflicts(prompts, split):
    for prompt in prompts[split]:
        assert not any(conflict(first, second) for first, second in combinations(kinds_of(prompt), 2))
        assert prompt.split == split
    assert {len(prompt.constraints) for prompt in prompts[split]} == {2, 3, 4}


@pytest.mark.parametrize("split", ["train", "test"])
def test_how_many_constraints_can_be_chosen_and_two_to_four_is_what_it_was(split):
    seeds = seed_prompts(split)
    few = list(verifiable_prompts(seeds, range(200), 7, split, (1, 2)))
    assert {len(prompt.constraints) for prompt in few} == {1, 2}
    assert list(verifiable_prompts(seeds, range(50), 7, split, (2, 4))) == list(
        verifiable_prompts(seeds, range(50), 7, split)
    )


@pytest.mark.parametrize("split", SPLITS)
def test_only_the_kinds_that_are_named_are_drawn_and_the_held_out_half_keeps_its_main_kind(split):
    only = ("startend:end_checker", "keywords:existence", "detectable_format:multiple_sections")
    weights = {"keywords:existence": 0.1}
    seeds = seed_prompts(split)
    for some in (verifiable_prompts(seeds, range(200), 7, split, (1, 2), only=only),
                 verifiable_prompts(seeds, range(200), 7, split, (1, 2), weights, only)):  # fmt: skip
        made = list(some)
        alike = [prompt for prompt in made if prompt.source == "verifiable/iid"]
        assert {kind for prompt in alike for kind in kinds_of(prompt)} == set(only)
        if split != "train":
            others = [prompt for prompt in made if prompt.source == "verifiable/heldout"]
            assert len(others) == len(alike)
            assert {kinds_of(prompt)[0] for prompt in others} == set(HELDOUT_KINDS[split])
            assert {kind for prompt in others for kind in kinds_of(prompt)} <= {*only, *HELDOUT_KINDS[split]}


def test_splits_share_no_instruction():
    seeds = {split: seed_prompts(split) for split in SPLITS}
    everything = [text for split in SPLITS for text in seeds[split]]
    assert len(everything) == len(set(everything)) > 700
    counts = " | ".join(str(len(seeds[split])) for split in SPLITS)
    assert f"| shipped seed instructions | {counts} |" in (ROOT / "docs" / "method.md").read_text("utf-8")
    assert all(text == text.strip() and text[-1] in ".?" for text in everything)


def test_no_instruction_is_nearly_another_one():
    """By the measure that self-play's prompts are deduplicated with, within and across splits."""
    everything = [Prompt.create(text) for split in SPLITS for text in seed_prompts(split)]
    assert deduplicate(everything, near=0.5).drops == ()


def test_splits_share_no_kind_and_no_word():
    kinds = [set(TRAIN_KINDS), set(HELDOUT_KINDS["dev"]), set(HELDOUT_KINDS["test"])]
    assert not any(first & second for first, second in combinations(kinds, 2))
    assert set().union(*kinds) == set(IFEVAL_KINDS) - {"detectable_format:constrained_response"}
    for banks in zip(*(BANKS[split] for split in SPLITS), strict=True):
        entries = [{entry.lower() for entry in bank} for bank in banks]
        assert not any(first & second for first, second in combinations(entries, 2))
    # A keyword is met by any word that holds it.
    keywords = {word: split for split in SPLITS for word in BANKS[split].keywords}
    assert [(a, b) for a in keywords for b in keywords if a in b and keywords[a] != keywords[b]] == []
    assert {code for bank in BANKS.values() for code in bank.languages} == LANGUAGE_NAMES.keys() - {"en"}


def test_training_prompts_are_of_training_kinds_and_words(prompts):
    for prompt in prompts["train"]:
        assert prompt.source == "verifiable/iid"
        assert set(kinds_of(prompt)) <= set(TRAIN_KINDS)
        assert all(entry in getattr(BANKS["train"], bank) for bank, entry in words_of(prompt))
    assert {kind for prompt in prompts["train"] for kind in kinds_of(prompt)} == set(TRAIN_KINDS)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_half_of_a_held_out_split_is_like_training_and_half_is_not(prompts, split):
    own = set(HELDOUT_KINDS[split])
    even, odd = prompts[split][::2], prompts[split][1::2]
    for prompt in even:
        assert prompt.source == "verifiable/iid"
        assert set(kinds_of(prompt)) <= set(TRAIN_KINDS)
        assert all(entry in getattr(BANKS["train"], bank) for bank, entry in words_of(prompt))
    for prompt in odd:
        assert prompt.source == "verifiable/heldout"
        assert kinds_of(prompt)[0] in own
        assert set(kinds_of(prompt)[1:]) <= own | set(TRAIN_KINDS)
        assert all(entry in getattr(BANKS[split], bank) for bank, entry in words_of(prompt))
    assert {kinds_of(prompt)[0] for prompt in odd} == own
    assert {bank for prompt in odd for bank, _ in words_of(prompt)} == set(WORDS.values())


def test_no_prompt_of_one_split_is_made_of_an_instruction_of_another(prompts):
    for split in SPLITS:
        others = [text for other in SPLITS if other != split for text in seed_prompts(other)]
        assert not any(text in prompt.text for prompt in prompts[split][:300] for text in others)
    assert all(first.text != second.text for first, second in pairwise(prompts["test"]))


def test_nothing_to_start_from_is_an_error():
    with pytest.raises(DataError, match="seed instruction"):
        verifiable_prompt((), 0, 0)
