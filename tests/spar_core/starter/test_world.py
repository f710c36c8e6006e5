import json
from collections import Counter

import pytest

from spar_core.records import Constraint, Prompt
from spar_core.starter import words, world

BIRDS = Constraint.create(world.ITEMS, topic="birds", count=2)


@pytest.mark.parametrize(
    ("constraint", "right", "wrong"),
    [
        (BIRDS, "Owl then swan", "Owl then owl"),
        (BIRDS, "We like OWL, swan.", "We like owl, swan, crow."),
        (Constraint.create(world.UPPER), "WE LIKE OWL.", "WE LIKE owl."),
        (Constraint.create(world.LOWER), "we like owl.", "We like owl."),
        (Constraint.create(world.KEYWORD, keywords=["cradle"]), "Also CRADLE.", "Also candle."),
        (Constraint.create(world.FORBIDDEN, forbidden_words=["owl"]), "We like crow.", "We like Owl."),
        (Constraint.create(world.END, end_phrase="good day"), '"Owl. Good day"', "Good day. Owl."),
        (
            Constraint.create(world.FIRST, num_paragraphs=1, nth_paragraph=1, first_word="today"),
            '"Today we like owl."',
            "We today like owl.",
        ),
        (Constraint.create(world.NO_COMMA), "owl and crow", "owl, crow"),
        (Constraint.create(world.TITLE), "<<Birds>>\nWe like owl.", "Birds\nWe like owl."),
        (Constraint.create(world.QUOTES), '"We like owl."', '"We like owl.'),
        (Constraint.create(world.POSTSCRIPT, postscript_marker="P.S."), "Owl.\nP.S. Thanks.", "Owl. Thanks."),
        (Constraint.create(world.BULLETS, num_bullets=2), "We like:\n* owl\n* crow.", "We like:\n* owl."),
        (
            Constraint.create(world.TWICE, keyword="kite", frequency=2, relation="at least"),
            "More kite and KITE.",
            "More kite.",
        ),
        (Constraint.create(world.PLACEHOLDER, num_placeholders=1), "See [link].", "See [link."),
        (BIRDS, "We like owl, crow.\n******\nWe like crow, dove.", "We like owl, crow.\n******\nWe like dove."),
        (Constraint.create(world.HIGHLIGHT, num_highlights=1), "We like ** owl **.", "We like ** owl."),
        (Constraint.create(world.PARAGRAPHS, num_paragraphs=2), "Owl.\n***\nNice.", "Owl.\n**\nNice."),
        (
            Constraint.create(world.SECTIONS, section_spliter="Part", num_sections=2),
            "Part 1\nOwl.\nPart 2\nNice.",
            "Part 1\nOwl.\nNice.",
        ),
        (Constraint.create(world.TWO_ANSWERS), "Owl.\n******\nCrow.", "Owl.\n******\nOwl."),
    ],
)
def test_each_kind_is_met_and_broken(constraint: Constraint, right: str, wrong: str) -> None:
    assert world.is_met(constraint, right)
    assert not world.is_met(constraint, wrong)


def test_failed_constraints_keep_the_order_of_the_prompt() -> None:
    prompt = Prompt.create("x", (BIRDS, Constraint.create(world.UPPER), Constraint.create(world.TITLE)))
    assert world.failed_constraints(prompt, "<<Birds>>\nWe like owl.") == (world.ITEMS, world.UPPER)
    assert world.failed_constraints(prompt, "<<BIRDS>>")
    assert not world.failed_constraints(prompt, "<<BIRDS>>\nOWL CROW")


def test_same_arguments_give_the_same_prompts_and_another_seed_others() -> None:
    first = world.generate_prompts(50, 3, "dev")
    assert first == world.generate_prompts(50, 3, "dev")
    assert len({p.prompt_id for p in first}) == 50
    assert {p.text for p in first} != {p.text for p in world.generate_prompts(50, 4, "dev")}


def test_how_many_constraints_and_which_kinds_can_be_asked_for() -> None:
    counted = Counter(len(p.constraints) - 1 for p in world.generate_prompts(600, 0, "train", counts=(1, 3)))
    assert set(counted) == {1, 2, 3}
    assert max(counted.values()) < 1.4 * min(counted.values())
    held_out = world.generate_prompts(20, 0, "test", counts=(1, 1))
    assert {len(p.constraints) for p in held_out} == {2}
    often = dict.fromkeys((world.UPPER, world.TITLE), 4.0)
    plain, weighted = (
        Counter(
            c.kind for p in world.generate_prompts(600, 0, "train", counts=(2, 2), weights=given) for c in p.constraints
        )
        for given in (None, often)
    )
    for kind in often:
        assert 2 < weighted[kind] / plain[kind] < 5
    assert weighted[world.POSTSCRIPT] < plain[world.POSTSCRIPT]


def test_splits_share_no_prompt_and_training_holds_nothing_held_out() -> None:
    train, dev, test = (world.generate_prompts(3000, 0, split) for split in ("train", "dev", "test"))
    texts = [{p.text for p in split} for split in (train, dev, test)]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]
    assert not any(world.has_heldout(p) for p in train)
    unseen = {entry for bank in (words.KEYWORDS, words.FIRST_WORDS, words.END_PHRASES) for entry in bank["test"]}
    assert not any(f'"{entry}"' in c.kwargs for p in [*train, *dev] for c in p.constraints for entry in unseen)


def test_half_of_an_evaluation_split_is_held_out_and_the_source_says_which() -> None:
    prompts = world.generate_prompts(400, 0, "test")
    assert Counter(p.source for p in prompts) == {"starter/iid": 200, "starter/heldout": 200}
    assert all(world.has_heldout(p) == (p.source == "starter/heldout") for p in prompts)


def test_no_prompt_holds_a_conflict_and_every_kind_occurs() -> None:
    prompts = world.generate_prompts(2000, 0, "test")
    seen: Counter[str] = Counter()
    for prompt in prompts:
        kinds = [c.kind for c in prompt.constraints]
        seen.update(kinds)
        assert kinds[0] == world.ITEMS
        assert len(set(kinds)) == len(kinds)
        assert not any(frozenset({a, b}) in world.CONFLICTS for a in kinds for b in kinds if a != b)
    assert set(seen) == {world.ITEMS, *world.KINDS}


def test_the_word_to_use_twice_is_never_the_word_to_include() -> None:
    for prompt in world.generate_prompts(3000, 0, "dev"):
        arguments = {c.kind: json.loads(c.kwargs) for c in prompt.constraints}
        if world.TWICE in arguments and world.KEYWORD in arguments:
            assert [arguments[world.TWICE]["keyword"]] != arguments[world.KEYWORD]["keywords"]


def test_a_held_out_word_alone_makes_a_prompt_held_out() -> None:
    seen = Constraint.create(world.KEYWORD, keywords=["cradle"])
    unseen = Constraint.create(world.KEYWORD, keywords=["whistle"])
    pair = (BIRDS, Constraint.create(world.UPPER), Constraint.create(world.END, end_phrase="good day"))
    assert not world.has_heldout(Prompt.create("a", (BIRDS, seen)))
    assert world.has_heldout(Prompt.create("b", (BIRDS, unseen)))
    assert world.has_heldout(Prompt.create("c", pair))


def test_prompts_of_many_words_ask_for_more_words_but_no_held_out_one() -> None:
    few, many = (world.generate_prompts(1500, 3, "train", many_words=wide) for wide in (False, True))

    def asked(prompts: list[Prompt]) -> set[str]:
        kinds = {world.KEYWORD, world.FIRST, world.TWICE}
        found = (json.loads(c.kwargs) for prompt in prompts for c in prompt.constraints if c.kind in kinds)
        return {str(kw.get("keywords") or kw.get("keyword") or kw.get("first_word")) for kw in found}

    assert len(asked(many)) > 1.5 * len(asked(few))
    assert not any(world.has_heldout(prompt) for prompt in many)
