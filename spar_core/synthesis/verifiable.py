"""Prompts whose truth a checker knows: a seed instruction plus constraints drawn from the registry.

The taxonomy's mix is kept: one main constraint and one to three others (SPaR, section on data). Prompt
number `index` is a function of (run seed, index) and the seed instructions alone, so shards can be made
anywhere in any order.
"""

from collections.abc import Iterable, Iterator, Sequence
from random import Random

from spar_core.constraints import IFEVAL_KINDS, SamplingContext, conflict, get, render
from spar_core.errors import DataError
from spar_core.hashing import derive_seed
from spar_core.records import Constraint, Prompt

MAX_OTHERS = 3
# A yes/no/maybe answer suits few instructions; ask for it by naming the kind.
KINDS = tuple(kind_id for kind_id in IFEVAL_KINDS if kind_id != "detectable_format:constrained_response")
SOURCE = "verifiable"
_WORD_ARGUMENTS = ("keywords", "forbidden_words", "keyword")


def verifiable_prompts(
    instructions: Sequence[str],
    indices: Iterable[int],
    run_seed: int,
    *,
    kinds: Sequence[str] = KINDS,
    split: str = "train",
) -> Iterator[Prompt]:
    """The prompts of these indices, see `verifiable_prompt`.

    Raises:
        DataError: no instructions, or an unknown kind.
    """
    for index in indices:
        yield verifiable_prompt(instructions, index, run_seed, kinds=kinds, split=split)


def verifiable_prompt(
    instructions: Sequence[str],
    index: int,
    run_seed: int,
    *,
    kinds: Sequence[str] = KINDS,
    split: str = "train",
) -> Prompt:
    """Prompt number `index`: an instruction drawn from `instructions`, constrained by two to four of `kinds`.

    Raises:
        DataError: no instructions, or an unknown kind.
    """
    if not instructions:
        raise DataError("verifiable synthesis needs at least one seed instruction")
    rng = Random(derive_seed(run_seed, f"{SOURCE}/{split}", str(index)))
    instruction = rng.choice(instructions).strip()
    constraints = draw_constraints(rng, instruction, kinds, 1 + rng.randint(1, MAX_OTHERS))
    return Prompt.create(_compose(rng, instruction, constraints), constraints, split, SOURCE)


def draw_constraints(rng: Random, instruction: str, kinds: Sequence[str], count: int) -> tuple[Constraint, ...]:
    """Up to `count` constraints of different kinds that do not conflict and share no keyword.

    Fewer where the remaining kinds all conflict with those drawn.

    Raises:
        DataError: an unknown kind, or one that cannot draw its arguments.
    """
    chosen: list[Constraint] = []
    used: set[str] = set()
    for kind_id in rng.sample(list(kinds), len(kinds)):
        if len(chosen) == count:
            break
        kind = get(kind_id)
        if kind.sampler is None:
            raise DataError(f"{kind_id} is only for scoring; it cannot draw arguments for a prompt")
        if any(conflict(kind_id, earlier.kind) for earlier in chosen):
            continue
        arguments = kind.sample(rng, SamplingContext(instruction=instruction, avoid=frozenset(used)))
        used |= _words(arguments)
        chosen.append(Constraint.create(kind_id, **arguments))
    return tuple(chosen)


def _words(arguments: dict[str, object]) -> set[str]:
    words: set[str] = set()
    for name in _WORD_ARGUMENTS:
        value = arguments.get(name)
        if isinstance(value, str):
            words.add(value)
        elif isinstance(value, list):
            words.update(value)
    return words


def _compose(rng: Random, instruction: str, constraints: Sequence[Constraint]) -> str:
    """Instruction and constraints as running text, on lines of their own, or as a list."""
    sentences = [render(constraint, rng) for constraint in constraints]
    layout = rng.randrange(4)
    if layout == 0:
        return "\n".join([instruction, *sentences])
    if layout == 1:
        return "\n".join([instruction, "", "Requirements:", *(f"- {sentence}" for sentence in sentences)])
    return " ".join([instruction, *sentences])
