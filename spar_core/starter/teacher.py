"""The rule-based teacher: supervised examples for both roles, made from plans whose truth is known.

The teacher is deliberately imperfect, so that self-play has something to repair. Its imperfections are these
constants, and nothing else: the actor's answers omit constraints, a refinement may mend only a part, and a
verification may overlook a broken constraint.
"""

import json
import random
from typing import Final

from spar_core.hashing import content_id, derive_seed
from spar_core.records import Constraint, Message, ModelRole, Prompt, RefinerExample
from spar_core.starter.answers import Plan, corrupt, mend, omit, random_style, render, right_plan
from spar_core.starter.prompt_texts import judge_request, refine_request
from spar_core.starter.words import NUMBER_WORDS, all_words
from spar_core.starter.world import (
    BULLETS,
    END,
    FIRST,
    FORBIDDEN,
    ITEMS,
    KEYWORD,
    LOWER,
    NO_COMMA,
    PLACEHOLDER,
    POSTSCRIPT,
    QUOTES,
    TITLE,
    TWICE,
    UPPER,
    failed_constraints,
    generate_prompts,
    is_met,
    named_items,
)

# Chance that an actor answer omits a constraint, by kind; multiplied by the constraint's place in the prompt.
OMISSION: Final[dict[str, float]] = {
    ITEMS: 0.05,
    UPPER: 0.15,
    LOWER: 0.15,
    KEYWORD: 0.20,
    FORBIDDEN: 0.25,
    END: 0.20,
    FIRST: 0.20,
    NO_COMMA: 0.25,
    TITLE: 0.20,
    POSTSCRIPT: 0.20,
    BULLETS: 0.20,
}
# Kinds the actor has hardly learned to obey, wherever they stand: five samples seldom hold a right answer.
BLIND_SPOTS: Final[dict[str, float]] = {QUOTES: 0.83, TWICE: 0.83, PLACEHOLDER: 0.83}
POSITION_FACTOR: Final = (1.0, 0.4, 0.8, 1.3, 1.8, 2.2)  # index 0 is the items constraint, always first
MAX_OMISSION: Final = 0.85
PARTIAL_REPAIR: Final = 0.6  # a refinement of several broken constraints mends each after the first but for this chance
OVERLOOK: Final = 0.10  # a verification calls a broken constraint met
FALSE_ALARM: Final = 0.015  # a verification calls a met constraint missed
CORRUPTED_SHARE: Final = 0.5  # of the answers the refiner learns from, the rest are the actor's own kind
REPLAY_SHARE: Final = 0.125  # copy exercises to mix into every later training stage

_LABEL: Final[dict[str, str]] = {
    UPPER: "Capital letters:",
    LOWER: "Small letters:",
    NO_COMMA: "No commas:",
    TITLE: "Title:",
    QUOTES: "Quotes:",
    POSTSCRIPT: "Postscript:",
    BULLETS: "Bullets:",
    PLACEHOLDER: "Placeholder:",
}
_REPEAT: Final = ("Repeat:", "Repeat in capital letters:", "Repeat in small letters:")


def warm_start_examples(role: ModelRole, count: int, seed: int) -> list[RefinerExample]:
    """Supervised examples on training prompts; the same arguments give the same list.

    Actor: answers with disclosed omissions. Refiner: judgements and refinements, alternating.
    An eighth of either are copy exercises of kind `replay`.
    """
    rng = random.Random(derive_seed(seed, "starter.warm_start", role))
    prompts = generate_prompts(count, derive_seed(seed, "starter.warm_start.prompts", role), "train")
    examples = []
    for index, prompt in enumerate(prompts):
        if rng.random() < REPLAY_SHARE:
            examples.append(replay_example(rng))
        elif role == "actor":
            examples.append(answer_example(prompt, rng))
        elif index % 2:
            examples.append(refinement_example(prompt, rng))
        else:
            examples.append(judgement_example(prompt, rng))
    return examples


def answer_example(prompt: Prompt, rng: random.Random) -> RefinerExample:
    """The actor's supervised answer, with omissions."""
    return _example("answer", prompt.text, render(actor_plan(prompt, rng)))


def judgement_example(prompt: Prompt, rng: random.Random) -> RefinerExample:
    """A step-by-step verification of a right or wrong answer, about half of each."""
    plan = right_plan(prompt, random_style(rng)) if rng.random() < 0.4 else _draft_plan(prompt, rng)
    text = render(plan)
    return _example("judgement", judge_request(prompt.text, text), judgement(prompt, text, rng))


def refinement_example(prompt: Prompt, rng: random.Random) -> RefinerExample:
    """A rewrite of a wrong answer, given a true verification of it."""
    plan = _draft_plan(prompt, rng)
    while not failed_constraints(prompt, render(plan)):
        plan = _draft_plan(prompt, rng)
    critique = judgement(prompt, render(plan), None)
    rewrite = render(refined_plan(plan, prompt, rng))
    return _example("refinement", refine_request(prompt.text, render(plan), critique), refinement(rewrite))


def replay_example(rng: random.Random) -> RefinerExample:
    """A copy exercise over all words of the world, held-out ones included."""
    words = rng.choices(all_words(), k=rng.randint(3, 14))
    task = rng.choices(_REPEAT, weights=(2, 1, 1))[0]
    given = " ".join(rng.choice((word, word, word.capitalize(), word.upper())) for word in words)
    wanted = {_REPEAT[0]: given, _REPEAT[1]: given.upper(), _REPEAT[2]: given.lower()}[task]
    return _example("replay", f"{task} {given}", wanted)


def omission_rate(kind: str, place: int) -> float:
    """Chance that an actor answer omits a constraint of this kind at this place of the prompt (0 = items)."""
    if kind in BLIND_SPOTS:
        return BLIND_SPOTS[kind]
    return min(MAX_OMISSION, OMISSION[kind] * POSITION_FACTOR[place])


def actor_plan(prompt: Prompt, rng: random.Random) -> Plan:
    """A right plan in a random style, with constraints omitted at `omission_rate`."""
    plan = right_plan(prompt, random_style(rng))
    for place, constraint in enumerate(prompt.constraints):
        if rng.random() < omission_rate(constraint.kind, place):
            plan = omit(plan, prompt, constraint.kind, rng)
    return plan


def refined_plan(plan: Plan, prompt: Prompt, rng: random.Random) -> Plan:
    """The plan with one broken constraint mended for sure, the others perhaps, and the rest untouched."""
    broken = list(failed_constraints(prompt, render(plan)))
    rng.shuffle(broken)
    for place, kind in enumerate(broken):
        if place == 0 or rng.random() >= PARTIAL_REPAIR:
            plan = mend(plan, prompt, kind)
    return plan


def judgement(prompt: Prompt, text: str, rng: random.Random | None) -> str:
    """One statement per constraint in the prompt's order, then the verdict line; `rng` None makes no mistakes."""
    steps, all_met = [], True
    for constraint in prompt.constraints:
        met = is_met(constraint, text)
        if rng is not None and rng.random() < (FALSE_ALARM if met else OVERLOOK):
            met = not met
        all_met = all_met and met
        steps.append(f"{_statement(constraint, text)} {'met' if met else 'missed'}.")
    return f"{' '.join(steps)}\nFinal verdict: {'YES' if all_met else 'NO'}"


def refinement(rewrite: str) -> str:
    """The refiner's output for a rewritten answer."""
    return f"<revised_answer>\n{rewrite}\n</revised_answer>"


def phrases() -> tuple[str, ...]:
    """The fixed phrases of the teacher's own texts, for the tokenizer."""
    return (*_LABEL.values(), *_REPEAT, "Final verdict:", "YES", "NO", "<revised_answer>", "</revised_answer>")


def _draft_plan(prompt: Prompt, rng: random.Random) -> Plan:
    """An answer to be judged or mended: the actor's kind, or one or two constraints corrupted."""
    plan = actor_plan(prompt, rng)
    if rng.random() >= CORRUPTED_SHARE:
        return plan
    if rng.random() < 0.5:
        plan = right_plan(prompt, random_style(rng))
    kinds = [constraint.kind for constraint in prompt.constraints]
    for kind in rng.sample(kinds, min(len(kinds), rng.choice((1, 1, 2)))):
        plan = corrupt(plan, prompt, kind, rng)
    return plan


def _statement(constraint: Constraint, text: str) -> str:
    arguments = json.loads(constraint.kwargs)
    if constraint.kind == ITEMS:
        named = named_items(arguments["topic"], text)
        return f"Items {' '.join((*named, NUMBER_WORDS[min(len(named), len(NUMBER_WORDS) - 1)]))}:"
    if constraint.kind == KEYWORD:
        return f"Word {arguments['keywords'][0]}:"
    if constraint.kind == TWICE:
        return f"Twice {arguments['keyword']}:"
    if constraint.kind == FORBIDDEN:
        return f"Avoid {arguments['forbidden_words'][0]}:"
    if constraint.kind == END:
        return f"Ending {arguments['end_phrase']}:"
    if constraint.kind == FIRST:
        return f"First {arguments['first_word']}:"
    return _LABEL[constraint.kind]


def _example(kind: str, request: str, answer: str) -> RefinerExample:
    messages = (Message("user", request), Message("assistant", answer))
    return RefinerExample(content_id("starter.example", kind, messages), kind, "starter/teacher", messages)  # type: ignore[arg-type]
