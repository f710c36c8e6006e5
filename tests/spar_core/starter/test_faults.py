import random

from spar_core.starter import answers, faults, world

PROMPTS = world.generate_prompts(1500, 0, "train")
# What breaking one kind may break besides: a wrong count of items also changes the number of bullets, and the item
# added by a miscount may be the forbidden one.
FOLLOWING = {world.ITEMS: {world.BULLETS, world.FORBIDDEN}}


def test_omissions_and_near_misses_break_the_constraint_they_name_and_no_other() -> None:
    rng = random.Random(0)
    for prompt in PROMPTS:
        plan = answers.right_plan(prompt, answers.random_style(rng))
        for kind in (constraint.kind for constraint in prompt.constraints):
            for spoil in (faults.omit, faults.corrupt):
                text = answers.render(spoil(plan, prompt, kind, rng))
                broken = set(world.failed_constraints(prompt, text))
                assert kind in broken, (prompt.text, text)
                assert broken - {kind} <= FOLLOWING.get(kind, set()), (prompt.text, text)


def test_a_plan_tells_omissions_from_near_misses() -> None:
    rng = random.Random(0)
    for prompt in PROMPTS[:500]:
        plan = answers.right_plan(prompt, answers.random_style(rng))
        for kind in (constraint.kind for constraint in prompt.constraints):
            assert faults.is_omitted(faults.omit(plan, prompt, kind, rng), kind) == (kind != world.ITEMS)
            near = faults.corrupt(plan, prompt, kind, rng)
            assert faults.is_omitted(near, kind) == (kind == world.FORBIDDEN)


def test_mending_everything_makes_any_answer_right() -> None:
    rng = random.Random(1)
    for prompt in PROMPTS[:500]:
        plan = answers.right_plan(prompt, answers.random_style(rng))
        for constraint in prompt.constraints:
            plan = rng.choice((faults.corrupt, faults.omit))(plan, prompt, constraint.kind, rng)
        for constraint in prompt.constraints:
            plan = answers.mend(plan, prompt, constraint.kind)
        assert not world.failed_constraints(prompt, answers.render(plan))
