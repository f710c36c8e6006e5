import random
from collections import Counter, defaultdict
from dataclasses import replace

from spar_core.prompts import PromptLibrary
from spar_core.records import Constraint, Prompt
from spar_core.roles.rewrite import parse_rewrite
from spar_core.roles.verdict import parse_verdict
from spar_core.starter import answers, faults, teacher, words, world

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
        text = answers.render(answers.right_plan(prompt, answers.random_style(rng)))
        assert world.failed_constraints(prompt, text) == ()


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
    for prompt in PROMPTS * 10:
        broken = world.failed_constraints(prompt, answers.render(teacher.actor_plan(prompt, rng)))
        for place, constraint in enumerate(prompt.constraints):
            failed[place].append(constraint.kind in broken)
            expected[place].append(teacher.omission_rate(constraint.kind, place))
    for place, outcomes in failed.items():
        # A wrong count of items also breaks the number of bullets, hence the one-sided slack.
        gap = sum(outcomes) / len(outcomes) - sum(expected[place]) / len(outcomes)
        assert -0.04 < gap < 0.06, (place, gap)


def test_a_verification_overlooks_by_the_sort_of_fault() -> None:
    quotes_left_out = faults.omit(answers.right_plan(THREE_BIRDS), THREE_BIRDS, world.QUOTES, random.Random(0))
    assert teacher.overlook_rate(quotes_left_out, world.QUOTES) == teacher.OVERLOOK_BLIND_SPOT
    assert teacher.overlook_rate(replace(quotes_left_out, quotes=(True, False)), world.QUOTES) == (
        teacher.OVERLOOK_NEAR_MISS
    )
    assert teacher.overlook_rate(replace(quotes_left_out, end=None), world.END) == teacher.OVERLOOK_OMISSION
    rng = random.Random(1)
    passing = sum(teacher.verified(quotes_left_out, THREE_BIRDS, rng).passes for _ in range(4000))
    # Overlooked, and none of the three other constraints falsely called missed.
    expected = teacher.OVERLOOK_BLIND_SPOT * (1 - teacher.FALSE_ALARM) ** 3
    assert abs(passing / 4000 - expected) < 0.03


def test_a_rewrite_mends_one_named_fault_at_the_disclosed_rate_and_no_unnamed_one() -> None:
    rng = random.Random(2)
    plan = answers.right_plan(THREE_BIRDS)
    broken = replace(plan, end=None, quotes=(False, False))
    mended = near = 0
    for _ in range(4000):
        rewritten = teacher.refined_plan(broken, THREE_BIRDS, (world.END,), rng)
        assert rewritten.quotes == (False, False)
        mended += rewritten.end == "good day"
        near += rewritten.end is not None and rewritten.end != "good day"
    assert abs(mended / 4000 - teacher.REPAIR) < 0.03
    assert abs(near / 4000 - (1 - teacher.REPAIR) * teacher.BOTCHED) < 0.03


def test_a_rewrite_damages_something_else_at_the_disclosed_rate() -> None:
    rng = random.Random(3)
    broken = replace(answers.right_plan(THREE_BIRDS), quotes=(False, False))
    rewrites = [teacher.refined_plan(broken, THREE_BIRDS, (world.QUOTES,), rng) for _ in range(4000)]
    kinds = [set(world.failed_constraints(THREE_BIRDS, answers.render(plan))) for plan in rewrites]
    damaged = sum(bool(found - {world.QUOTES}) for found in kinds)
    assert abs(damaged / 4000 - teacher.DAMAGE) < 0.03


def test_judgement_examples_are_balanced() -> None:
    rng = random.Random(4)
    examples = [teacher.judgement_example(prompt, rng) for prompt in PROMPTS]
    verdicts = Counter(parse_verdict(e.messages[1].content, "stop").value for e in examples)
    assert verdicts.keys() == {"YES", "NO"}
    assert 0.35 < verdicts["YES"] / len(examples) < 0.65


def test_refinement_examples_hold_a_wrong_answer_a_critique_that_says_no_and_a_rewrite() -> None:
    rng = random.Random(5)
    whole = 0
    for prompt in PROMPTS[:600]:
        request, answer = (m.content for m in teacher.refinement_example(prompt, rng).messages)
        before, critique = request.split("\nAnswer:\n")[1].split("\nReview:\n")
        assert world.failed_constraints(prompt, before)
        assert critique.endswith("Final verdict: NO")
        parsed = parse_rewrite(answer, "stop")
        assert parsed.failure is None
        whole += not world.failed_constraints(prompt, parsed.response)
    assert 0.1 < whole / 600 < 0.4


def test_the_refiner_is_taught_in_the_turns_and_the_form_of_the_runs_prompt_set() -> None:
    library = PromptLibrary.load("published")
    own = teacher.warm_start_examples("refiner", 60, 5)
    published = teacher.warm_start_examples("refiner", 60, 5, library)
    assert [example.kind for example in published] == [example.kind for example in own]
    refined = next(example.messages for example in published if example.kind == "refinement")
    assert [turn.role for turn in refined] == ["user", "assistant", "user", "assistant"]
    assert parse_verdict(refined[1].content, "stop", library.format.verdict).value == "NO"
    assert refined[1].content.endswith("Final Judgement (if the Output accurately follows the Prompt): No")
    assert refined[2].content == library.text("refine")
    assert parse_rewrite(refined[3].content, "stop", (), library.format.markers).failure is None
    # the same answers, judged and mended alike
    place = next(i for i, example in enumerate(own) if example.kind == "refinement")
    rewrites = (parse_rewrite(own[place].messages[-1].content, "stop").response, refined[3].content.split("\n", 1)[1])
    assert rewrites[1] == f"{rewrites[0]}\n[[end]]"


def test_scorings_and_comparisons_end_in_the_line_that_is_read() -> None:
    rng = random.Random(6)
    letters: Counter[str] = Counter()
    for prompt in PROMPTS[:400]:
        points, of, total = teacher.scoring_example(prompt, rng).messages[1].content.rpartition("Score: ")[2].split()
        assert (of, int(total)) == ("of", len(prompt.constraints))
        assert 0 <= int(points) <= int(total)
        letters[teacher.comparison_example(prompt, rng).messages[1].content.rpartition("Better judgement: ")[2]] += 1
    assert letters.keys() == {"A", "B"}
    assert min(letters.values()) > 150


def test_warm_start_is_deterministic_and_holds_its_disclosed_shares() -> None:
    for role, kinds in (("actor", {"answer", "replay"}), ("refiner", {"judgement", "refinement", "replay"})):
        examples = teacher.warm_start_examples(role, 2000, 5)
        assert examples == teacher.warm_start_examples(role, 2000, 5)
        counts = Counter(e.kind for e in examples)
        assert counts.keys() == kinds
        assert abs(counts["replay"] / 2000 - teacher.REPLAY_SHARE) < 0.03
    asked = Counter(e.messages[0].content.split("\n")[0] for e in examples)
    compared = asked["Count the rules met."] + asked["Compare two judgements."]
    assert abs(compared / 2000 - teacher.COMPARED_SHARE * (1 - teacher.REPLAY_SHARE)) < 0.03


def test_warm_start_never_uses_a_held_out_argument_as_a_constraint() -> None:
    prompts = {p.text for p in world.generate_prompts(3000, 0, "test") if p.source == "starter/heldout"}
    answers_seen = {e.messages[0].content for e in teacher.warm_start_examples("actor", 3000, 0)}
    assert not prompts & answers_seen


def test_exercises_copy_compare_and_find_words_of_any_split() -> None:
    rng = random.Random(7)
    asked: Counter[str] = Counter()
    answers_to: defaultdict[str, set[str]] = defaultdict(set)
    seen = ""
    for _ in range(1500):
        request, answer = (message.content for message in teacher.replay_example(rng).messages)
        task, _, given = request.partition(": ")
        asked[task] += 1
        seen += f" {given.lower()}"
        if task == "Match":
            pairs = [pair.lower().split() for pair in given.split(", ")]
            assert answer == " ".join(f"{a} {b}: {'met' if a == b else 'missed'}." for a, b in pairs)
            answers_to[task].update(answer.replace(".", "").split()[2::3])
        elif task == "Find":
            found = [line.split() for line in answer.removesuffix(".").split(". ")]
            opening = " ".join(word for word, _ in found) + " in "
            assert given.startswith(opening)
            listed = given.removeprefix(opening).lower().split()
            assert all(there == (word if word in listed else "none") for word, there in found)
            answers_to[task].update("none" if there == "none" else "there" for _, there in found)
        else:
            assert answer.lower() == given.lower()
    assert asked.keys() == {"Repeat", "Repeat in capital letters", "Repeat in small letters", "Match", "Find"}
    assert answers_to == {"Match": {"met", "missed"}, "Find": {"none", "there"}}
    assert all(f" {word}" in seen for word in (*words.KEYWORDS["test"], *words.FIRST_WORDS["test"]))
