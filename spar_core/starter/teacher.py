"""The rule-based teacher: supervised examples for both roles, made from plans whose truth is known.

The teacher is deliberately imperfect, so that self-play has something to repair and a judge to improve. Its
imperfections are these constants, and nothing else: the actor's answers omit or botch constraints; a verification
overlooks what is broken, most often an omission of those kinds that the actor omits most (shared blind spots), and
now and then sees a fault that is not there; a rewrite attends to one fault at a time, may botch it, finds botched
repairs hard to mend, and may damage something else.
"""

import random
from dataclasses import replace
from typing import Final, Literal

from spar_core.hashing import content_id, derive_seed
from spar_core.prompts.library import PromptLibrary
from spar_core.records import Message, ModelRole, Prompt, RefinerExample
from spar_core.roles.requests import (
    answer_messages,
    judge_messages,
    meta_judge_messages,
    refine_messages,
    rubric_messages,
)
from spar_core.roles.rewrite import format_rewrite
from spar_core.starter import verification, world
from spar_core.starter.answers import Plan, mend, random_style, render, right_plan
from spar_core.starter.faults import corrupt, is_omitted, omit
from spar_core.starter.prompt_texts import library
from spar_core.starter.verification import Verification, comparison, true_verification
from spar_core.starter.words import NOTHING, all_words
from spar_core.starter.world import failed_constraints, generate_prompts

# Chance that an actor answer breaks a constraint, by kind; multiplied by the constraint's place in the prompt.
OMISSION: Final[dict[str, float]] = {
    world.ITEMS: 0.05,
    world.UPPER: 0.10,
    world.LOWER: 0.10,
    world.KEYWORD: 0.12,
    world.FORBIDDEN: 0.15,
    world.END: 0.12,
    world.FIRST: 0.12,
    world.NO_COMMA: 0.15,
    world.TITLE: 0.12,
    world.POSTSCRIPT: 0.12,
    world.BULLETS: 0.12,
    world.SECTIONS: 0.12,
}
# Kinds the actor has hardly learned to obey, wherever they stand: five samples seldom hold a right answer.
BLIND_SPOTS: Final[dict[str, float]] = {
    world.QUOTES: 0.83,
    world.TWICE: 0.83,
    world.PLACEHOLDER: 0.83,
    world.HIGHLIGHT: 0.83,
    world.PARAGRAPHS: 0.83,
    world.TWO_ANSWERS: 0.83,
}
POSITION_FACTOR: Final = (1.0, 0.4, 0.8, 1.3, 1.8, 2.2)  # index 0 is the items constraint, always first
MAX_OMISSION: Final = 0.85
NEAR_MISS: Final = 0.2  # of the constraints an actor answer breaks, those it attempts (blind spots: never)

OVERLOOK_OMISSION: Final = 0.05  # a verification calls a broken constraint met: omitted
OVERLOOK_NEAR_MISS: Final = 0.15  # attempted, but broken
OVERLOOK_BLIND_SPOT: Final = 0.45  # omitted, of a kind in `BLIND_SPOTS`
FALSE_ALARM: Final = 0.14  # a verification calls a met constraint missed

REPAIR: Final = 0.72  # a rewrite mends the fault it attends to, if it is an omission
REPAIR_NEAR_MISS: Final = 0.10  # the same, if it is a near miss
BOTCHED: Final = 0.9  # of the repairs that fail, those that leave a near miss; the others leave all as it was
ALSO: Final = 0.3  # a rewrite attends to a further fault that the critique names
DAMAGE: Final = 0.2  # a rewrite breaks one constraint that was met (a near miss)

CORRUPTED_SHARE: Final = 0.5  # of the answers the refiner learns from, the rest are the actor's own kind
REPLAY_SHARE: Final = 0.125  # exercises to mix into every later training stage
COMPARED_SHARE: Final = 0.10  # of the refiner's warm start: additive scorings and comparisons, half each

_REPEAT: Final = ("Repeat:", "Repeat in capital letters:", "Repeat in small letters:")
_MATCH, _FIND = "Match:", "Find:"


def warm_start_examples(
    role: ModelRole, count: int, seed: int, texts: PromptLibrary | None = None
) -> list[RefinerExample]:
    """Supervised examples on training prompts; the same arguments give the same list.

    The refiner is asked in the texts and turns of `texts` (null: the starter's own) and answers in their form.

    Actor: answers with disclosed faults. Refiner: judgements and refinements, half each but for a tenth of scorings
    and comparisons. An eighth of either are exercises of kind `replay`.
    """
    rng = random.Random(derive_seed(seed, "starter.warm_start", role))
    prompts = generate_prompts(count, derive_seed(seed, "starter.warm_start.prompts", role), "train")
    examples = []
    for index, prompt in enumerate(prompts):
        if rng.random() < REPLAY_SHARE:
            examples.append(replay_example(rng))
        elif role == "actor":
            examples.append(answer_example(prompt, rng))
        elif rng.random() < COMPARED_SHARE:
            examples.append((scoring_example if index % 2 else comparison_example)(prompt, rng, texts=texts))
        else:
            examples.append((refinement_example if index % 2 else judgement_example)(prompt, rng, texts=texts))
    return examples


def answer_example(prompt: Prompt, rng: random.Random) -> RefinerExample:
    """The actor's supervised answer, with faults."""
    return _example("answer", answer_messages(prompt.text), render(actor_plan(prompt, rng)))


def judgement_example(
    prompt: Prompt, rng: random.Random, mistakes: bool = True, texts: PromptLibrary | None = None
) -> RefinerExample:
    """A step-by-step verification of a right or wrong answer, about half of each."""
    text, said = _judged(prompt, rng, mistakes)
    texts = texts or library()
    return _example("judgement", judge_messages(texts, prompt.text, text), said.judgement(texts.format.verdict))


def refinement_example(
    prompt: Prompt, rng: random.Random, mistakes: bool = True, texts: PromptLibrary | None = None
) -> RefinerExample:
    """A rewrite of a wrong answer, given a verification that says so."""
    plan = _draft_plan(prompt, rng)
    critique = verified(plan, prompt, rng, mistakes)
    while critique.passes or not failed_constraints(prompt, render(plan)):
        plan = _draft_plan(prompt, rng)
        critique = verified(plan, prompt, rng, mistakes)
    rewrite = render(refined_plan(plan, prompt, critique.missed, rng))
    texts = texts or library()
    said = critique.judgement(texts.format.verdict)
    request = refine_messages(texts, prompt.text, render(plan), said)
    return _example("refinement", request, format_rewrite(rewrite, markers=texts.format.markers))


def scoring_example(
    prompt: Prompt, rng: random.Random, mistakes: bool = True, texts: PromptLibrary | None = None
) -> RefinerExample:
    """A verification that ends in points."""
    text, said = _judged(prompt, rng, mistakes)
    return _example("judgement", rubric_messages(texts or library(), prompt.text, text), said.scoring())


def comparison_example(
    prompt: Prompt, rng: random.Random, mistakes: bool = True, texts: PromptLibrary | None = None
) -> RefinerExample:
    """Two scored verifications of one answer, mostly one statement apart, and which of them is truer."""
    plan = _judged_plan(prompt, rng)
    text = render(plan)
    first = verified(plan, prompt, rng, mistakes)
    second = _with_turned(first, rng.randrange(len(first.met)))
    if rng.random() < 0.3:
        other = verified(plan, prompt, rng, mistakes)
        second = other if other.met != first.met else second
    if rng.random() < 0.5:
        first, second = second, first
    request = meta_judge_messages(texts or library(), prompt.text, text, first.scoring(), second.scoring())
    return _example("judgement", request, comparison(first, second, verified(plan, prompt, rng, mistakes)))


def replay_example(rng: random.Random) -> RefinerExample:
    """An exercise over all words of the world, held-out ones included: copy them, compare two, or find one."""
    maker = rng.choices((_copy_exercise, _match_exercise, _find_exercise), weights=(2, 1, 1))[0]
    request, answer = maker(rng)
    return _example("replay", (Message("user", request),), answer)


def _copy_exercise(rng: random.Random) -> tuple[str, str]:
    words = rng.choices(all_words(), k=rng.randint(3, 14))
    task = rng.choices(_REPEAT, weights=(2, 1, 1))[0]
    given = " ".join(_in_some_form(word, rng) for word in words)
    wanted = {_REPEAT[0]: given, _REPEAT[1]: given.upper(), _REPEAT[2]: given.lower()}[task]
    return f"{task} {given}", wanted


def _match_exercise(rng: random.Random) -> tuple[str, str]:
    """Pairs of words, half of them alike but for their form."""
    firsts = rng.choices(all_words(), k=rng.randint(2, 6))
    pairs = [(word, word if rng.random() < 0.5 else rng.choice(all_words())) for word in firsts]
    given = ", ".join(" ".join(_in_some_form(word, rng) for word in pair) for pair in pairs)
    return f"{_MATCH} {given}", " ".join(f"{a} {b}: {'met' if a == b else 'missed'}." for a, b in pairs)


def _find_exercise(rng: random.Random) -> tuple[str, str]:
    """Words to look up in a list, half of them there."""
    listed = rng.choices(all_words(), k=rng.randint(3, 12))
    wanted = [rng.choice(listed) if rng.random() < 0.5 else rng.choice(all_words()) for _ in range(rng.randint(2, 5))]
    given = " ".join(_in_some_form(word, rng) for word in listed)
    found = " ".join(f"{word} {word if word in listed else NOTHING}." for word in wanted)
    return f"{_FIND} {' '.join(wanted)} in {given}", found


def _in_some_form(word: str, rng: random.Random) -> str:
    return rng.choice((word, word, word.capitalize(), word.upper()))


def omission_rate(kind: str, place: int) -> float:
    """Chance that an actor answer breaks a constraint of this kind at this place of the prompt (0 = items)."""
    if kind in BLIND_SPOTS:
        return BLIND_SPOTS[kind]
    return min(MAX_OMISSION, OMISSION[kind] * POSITION_FACTOR[place])


def actor_plan(prompt: Prompt, rng: random.Random) -> Plan:
    """A right plan in a random style, with constraints broken at `omission_rate`."""
    plan = right_plan(prompt, random_style(rng))
    for place, constraint in enumerate(prompt.constraints):
        kind = constraint.kind
        if rng.random() < omission_rate(kind, place):
            near = kind not in BLIND_SPOTS and rng.random() < NEAR_MISS
            plan = (corrupt if near else omit)(plan, prompt, kind, rng)
    return plan


def refined_plan(plan: Plan, prompt: Prompt, missed: tuple[str, ...], rng: random.Random) -> Plan:
    """One rewrite: attends to one of the faults named in `missed`, perhaps to more, and may damage the rest."""
    broken = set(failed_constraints(prompt, render(plan)))
    attended = [kind for kind in missed if kind in broken]
    rng.shuffle(attended)
    for place, kind in enumerate(attended):
        if place == 0 or rng.random() < ALSO:
            plan = _repaired(plan, prompt, kind, rng)
    whole = [c.kind for c in prompt.constraints if c.kind not in broken]
    if whole and rng.random() < DAMAGE:
        plan = corrupt(plan, prompt, rng.choice(whole), rng)
    return plan


def verified(plan: Plan, prompt: Prompt, rng: random.Random, mistakes: bool = True) -> Verification:
    """A verification of the plan's answer, with the disclosed mistakes or without any."""
    if not mistakes:
        return true_verification(prompt, render(plan))
    chances = {c.kind: overlook_rate(plan, c.kind) for c in prompt.constraints}
    return verification.verify(prompt, render(plan), chances, FALSE_ALARM, rng)


def overlook_rate(plan: Plan, kind: str) -> float:
    """Chance that a verification calls this kind met if the plan's answer breaks it."""
    if not is_omitted(plan, kind):
        return OVERLOOK_NEAR_MISS
    return OVERLOOK_BLIND_SPOT if kind in BLIND_SPOTS else OVERLOOK_OMISSION


def phrases() -> tuple[str, ...]:
    """The fixed phrases of the teacher's own texts, for the tokenizer."""
    return (*verification.PHRASES, *_REPEAT, _MATCH, _FIND, "<revised_answer>", "</revised_answer>")


def _repaired(plan: Plan, prompt: Prompt, kind: str, rng: random.Random) -> Plan:
    chance = REPAIR if is_omitted(plan, kind) else REPAIR_NEAR_MISS
    if rng.random() < chance:
        return mend(plan, prompt, kind)
    return corrupt(plan, prompt, kind, rng) if rng.random() < BOTCHED else plan


def _judged(prompt: Prompt, rng: random.Random, mistakes: bool) -> tuple[str, Verification]:
    """An answer, right or wrong, and a verification of it."""
    plan = _judged_plan(prompt, rng)
    return render(plan), verified(plan, prompt, rng, mistakes)


def _judged_plan(prompt: Prompt, rng: random.Random) -> Plan:
    return right_plan(prompt, random_style(rng)) if rng.random() < 0.4 else _draft_plan(prompt, rng)


def _draft_plan(prompt: Prompt, rng: random.Random) -> Plan:
    """An answer to be judged or mended: the actor's kind, or one or two constraints corrupted."""
    plan = actor_plan(prompt, rng)
    if rng.random() >= CORRUPTED_SHARE:
        return plan
    if rng.random() < 0.5:
        plan = right_plan(prompt, random_style(rng))
    kinds = [constraint.kind for constraint in prompt.constraints]
    for kind in rng.sample(kinds, min(len(kinds), rng.choice((1, 1, 2)))):
        plan = (corrupt if rng.random() < 0.7 else omit)(plan, prompt, kind, rng)
    return plan


def _with_turned(given: Verification, place: int) -> Verification:
    met = tuple(said != (index == place) for index, said in enumerate(given.met))
    return replace(given, met=met)


def _example(
    kind: Literal["judgement", "refinement", "answer", "replay"], request: tuple[Message, ...], answer: str
) -> RefinerExample:
    messages = (*request, Message("assistant", answer))
    return RefinerExample(content_id("starter.example", kind, messages), kind, "starter/teacher", messages)
