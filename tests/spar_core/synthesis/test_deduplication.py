import pytest

from spar_core.errors import ConfigError
from spar_core.records import Drop, Prompt
from spar_core.synthesis import deduplicate

BASE = "Write a short letter to a neighbor inviting them to a garden party in June"


def test_equal_after_normalisation():
    first, second, third = (
        Prompt.create("Name  a bird."),
        Prompt.create(" name a\nBIRD. "),
        Prompt.create("Name a bird"),
    )
    result = deduplicate([first, second, third])
    assert result.kept == (first, third)
    assert result.drops == (Drop("deduplicate", second.prompt_id, "exact_duplicate", first.prompt_id),)


def test_near_twins_name_the_kept_one():
    """10 letters: 6 pieces of 5. One letter appended: 7 pieces, 6 shared: Jaccard 6/7 = 0.857."""
    first, second = Prompt.create("abcdefghij"), Prompt.create("abcdefghijk")
    assert deduplicate([first, second], near=0.86).drops == ()
    result = deduplicate([first, second], near=0.85)
    assert result.kept == (first,)
    assert result.drops == (Drop("deduplicate", second.prompt_id, "near_duplicate", first.prompt_id),)


def test_first_wins_and_a_chain_is_measured_against_kept_ones_only():
    texts = [BASE, BASE + ".", BASE + "!!", "Describe the layers of a rainforest from top to bottom"]
    prompts = [Prompt.create(text) for text in texts]
    result = deduplicate(prompts, near=0.9)
    assert result.kept == (prompts[0], prompts[3])
    assert {drop.detail for drop in result.drops} == {prompts[0].prompt_id}
    assert deduplicate(prompts, near=0.9) == result


def test_scripts_without_blanks_and_tiny_texts():
    prompts = [
        Prompt.create(text)
        for text in ("请写一封邀请邻居参加花园聚会的信", "请写一封邀请邻居参加花园聚会的信。", "hm", "hm?")
    ]
    assert [drop.record_id for drop in deduplicate(prompts, near=0.8).drops] == [prompts[1].prompt_id]


def test_every_prompt_is_kept_or_dropped():
    prompts = [Prompt.create(f"{BASE}, number {i % 40} of {i % 7}") for i in range(200)]
    result = deduplicate(prompts, near=0.95)
    assert len(result.kept) + len(result.drops) == 200
    assert 0 < len(result.kept) < 200


def test_what_was_used_before_wins_and_is_not_kept_again():
    """10 letters: 6 pieces of 5; a letter more: 7, of which 6 are shared (0.857)."""
    earlier = [Prompt.create("abcdefghij"), Prompt.create("Name a bird."), Prompt.create("name a bird.")]
    again, near, new = Prompt.create("NAME a  bird."), Prompt.create("abcdefghijk"), Prompt.create("Describe a river.")
    result = deduplicate([again, near, new, new], near=0.85, earlier=earlier)
    assert result.kept == (new,)
    assert result.drops == (
        Drop("deduplicate", again.prompt_id, "exact_duplicate", earlier[1].prompt_id),
        Drop("deduplicate", near.prompt_id, "near_duplicate", earlier[0].prompt_id),
        Drop("deduplicate", new.prompt_id, "exact_duplicate", new.prompt_id),
    )
    assert deduplicate([again, near], earlier=earlier).kept == (near,)


@pytest.mark.parametrize("near", [0.0, 1.5])
def test_impossible_similarity_is_refused(near):
    with pytest.raises(ConfigError, match="above 0"):
        deduplicate([], near=near)
