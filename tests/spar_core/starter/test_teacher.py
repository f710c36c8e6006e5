import random
from collections import Counter, defaultdict
from dataclasses import replace

from spar_core.records import Constraint, Prompt
from spar_core.roles.rewrite import parse_rewrite
from spar_core.roles.verdict import parse_verdict
from spar_core.starter import answers, teacher, world

PROMPTS = world.generate_prompts(1500, 0, "train")
THREE_BIRDS = Prompt.create(
    "Name three birds. Leave out the word eagle. Wrap it in quotes. End with the words good day.",
    (
        Constraint.create(world.ITEMS, topic="birds", count=3),
        Constraint.create(world.FORBIDDEN, forbidden_words=["eagle"]),
        Constraint.create(world.QUOTES),
        Constraint.create(world.END, end_phrase="good day"),
    ),
)


def test_canonical_answer_names_items_in_order_without_the_forbidden_one() -> None:
    assert answers.render(answers.right_plan(THREE_BIRDS)) == '"We like robin, owl, swan. Good day"'


def test_right_answers_are_right_in_every_style_and_split() -> None:
    rng = random.Random(0)
    for prompt in [*PROMPTS, *world.generate_prompts(600, 0, "dev"), *world.generate_prompts(600, 0, "test")]:
        assert (
            world.failed_constraints(prompt, answers.render(answers.right_plan(prompt, answers.random_style(rng))))
            == ()
        )


def test_omissions_and_corruptions_break_the_constraint_they_name() -> None:
    rng = random.Random(0)
    for prompt in PROMPTS:
        plan = answers.right_plan(prompt, answers.random_style(rng))
        for constraint in prompt.constraints:
            for spoil in (answers.omit, answers.corrupt):
                text = answers.render(spoil(plan, prompt, constraint.kind, rng))
                assert constraint.kind in world.failed_constraints(prompt, text), (prompt.text, text)


def test_mending_everything_makes_any_answer_right() -> None:
    rng = random.Random(1)
    for prompt in PROMPTS[:500]:
        plan = answers.right_plan(prompt, answers.random_style(rng))
        for constraint in prompt.constraints:
            plan = answers.corrupt(plan, prompt, constraint.kind, rng)
        for constraint in prompt.constraints:
            plan = answers.mend(plan, prompt, constraint.kind)
        assert world.is_right(prompt, answers.render(plan))


def test_mending_leaves_alone_what_was_not_broken() -> None:
    draft = '"They love owl, swan, crow. Good night"'
    style = answers.Style(start=2, subject="they", verb="love")
    plan = answers.right_plan(THREE_BIRDS, style)
    assert answers.render(plan) == '"They love owl, swan, crow. Good day"'
    assert answers.render(answers.mend(replace(plan, end="good night"), THREE_BIRDS, world.END)) == answers.render(plan)
    assert answers.render(replace(plan, end="good night")) == draft


def test_omission_rates_are_the_disclosed_ones() -> None:
    rng = random.Random(2)
    failed: defaultdict[int, list[bool]] = defaultdict(list)
    expected: defaultdict[int, list[float]] = defaultdict(list)
    for prompt in PROMPTS * 4:
        broken = world.failed_constraints(prompt, answers.render(teacher.actor_plan(prompt, rng)))
        for place, constraint in enumerate(prompt.constraints):
            failed[place].append(constraint.kind in broken)
            expected[place].append(teacher.omission_rate(constraint.kind, place))
    for place, outcomes in failed.items():
        # A wrong count of items also breaks the number of bullets, hence the one-sided slack.
        gap = sum(outcomes) / len(outcomes) - sum(expected[place]) / len(outcomes)
        assert -0.04 < gap < 0.06, (place, gap)


def test_faultless_judgement_names_what_is_broken() -> None:
    text = teacher.judgement(THREE_BIRDS, '"We like robin, eagle, owl. Good night"', None)
    assert text == (
        "Items robin eagle owl three: met. Avoid eagle: missed. Quotes: met. Ending good day: missed.\n"
        "Final verdict: NO"
    )


def test_judgement_examples_are_balanced_and_mostly_true() -> None:
    examples = [e for e in teacher.warm_start_examples("refiner", 3000, 0) if e.kind == "judgement"]
    verdicts = Counter(parse_verdict(e.messages[1].content, "stop").value for e in examples)
    assert verdicts.keys() == {"YES", "NO"}
    assert 0.35 < verdicts["YES"] / len(examples) < 0.65


def test_refinements_parse_seldom_break_anything_and_often_mend_everything() -> None:
    rng = random.Random(3)
    whole = spoiled = 0
    for prompt in PROMPTS[:600]:
        example = teacher.refinement_example(prompt, rng)
        request, answer = (m.content for m in example.messages)
        parsed = parse_rewrite(answer, "stop")
        assert parsed.failure is None
        before = request.split("\nAnswer:\n")[1].split("\nReview:\n")[0]
        broken, left = (set(world.failed_constraints(prompt, text)) for text in (before, parsed.response))
        # A second item brings the comma that one item alone did not need.
        spoiled += not left <= broken
        whole += not left
    assert spoiled < 600 * 0.02
    assert 0.5 < whole / 600 < 0.9


def test_warm_start_is_deterministic_and_holds_an_eighth_of_copy_exercises() -> None:
    for role, kinds in (("actor", {"answer", "replay"}), ("refiner", {"judgement", "refinement", "replay"})):
        examples = teacher.warm_start_examples(role, 2000, 5)
        assert examples == teacher.warm_start_examples(role, 2000, 5)
        counts = Counter(e.kind for e in examples)
        assert counts.keys() == kinds
        assert 0.10 < counts["replay"] / 2000 < 0.15


def test_warm_start_never_uses_a_held_out_argument_as_a_constraint() -> None:
    prompts = {p.text for p in world.generate_prompts(3000, 0, "test") if p.source == "starter/heldout"}
    answers_seen = {e.messages[0].content for e in teacher.warm_start_examples("actor", 3000, 0)}
    assert not prompts & answers_seen
