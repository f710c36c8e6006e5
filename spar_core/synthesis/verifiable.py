"""Prompts whose truth a checker knows: a seed instruction plus constraints drawn from the registry.

By default the taxonomy's mix is kept: one main constraint and one to three others (SPaR, section on data). Prompt
number `index` is a function of (run seed, split, index) and the seed instructions alone, so shards can be made
anywhere in any order.

Splits share no instruction (`seed_prompts`). Training draws from `TRAIN_KINDS` and the training bank of words. Half of
`dev` and `test`, the even numbers, is drawn like that (source `verifiable/iid`: new instructions, known
constraints). In the other half (`verifiable/heldout`) the main constraint is of a kind, and every word and phrase of a
bank, that no other split has.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Final

from spar_core.constraints import SamplingContext, conflict, get, render
from spar_core.constraints.splits import HELDOUT_KINDS, TRAIN_KINDS
from spar_core.constraints.vocabulary import BANKS, Bank, Split
from spar_core.errors import DataError
from spar_core.hashing import derive_seed
from spar_core.records import Constraint, Prompt
from spar_core.synthesis.weighted_order import weighted_order

COUNTS: Final = (2, 4)
SOURCE = "verifiable"
_WORD_ARGUMENTS = ("keywords", "forbidden_words", "keyword")


def verifiable_prompts(
    instructions: Sequence[str],
    indices: Iterable[int],
    run_seed: int,
    split: Split = "train",
    counts: tuple[int, int] = COUNTS,
    weights: Mapping[str, float] | None = None,
    only: Sequence[str] | None = None,
) -> Iterator[Prompt]:
    """The prompts of these indices, see `verifiable_prompt`.

    Raises:
        DataError: no instructions.
    """
    for index in indices:
        yield verifiable_prompt(instructions, index, run_seed, split, counts, weights, only)


def verifiable_prompt(
    instructions: Sequence[str],
    index: int,
    run_seed: int,
    split: Split = "train",
    counts: tuple[int, int] = COUNTS,
    weights: Mapping[str, float] | None = None,
    only: Sequence[str] | None = None,
) -> Prompt:
    """Prompt number `index` of a split: an instruction drawn from `instructions`, with constraints.

    `counts`: fewest and most of them, each number equally often. `weights`: how often kinds are drawn, by id (above 0;
    1 where none is given); None: all alike. `only`: the training kinds that are drawn; None: all.

    Raises:
        DataError: no instructions.
    """
    if not instructions:
        raise DataError("verifiable synthesis needs at least one seed instruction")
    rng = Random(derive_seed(run_seed, f"{SOURCE}/{split}", str(index)))
    instruction = rng.choice(instructions).strip()
    heldout = split != "train" and index % 2 == 1
    known = TRAIN_KINDS if only is None else only
    kinds = rng.sample(known, len(known)) if weights is None else weighted_order(rng, known, weights)
    if heldout:
        main, *others = rng.sample(HELDOUT_KINDS[split], len(HELDOUT_KINDS[split]))
        kinds = [main, *rng.sample([*others, *kinds], len(others) + len(kinds))]
    bank = BANKS[split if heldout else "train"]
    constraints = _draw_constraints(rng, instruction, kinds, rng.randint(*counts), bank)
    source = f"{SOURCE}/heldout" if heldout else f"{SOURCE}/iid"
    return Prompt.create(_compose(rng, instruction, constraints), constraints, split, source, instruction)


def _draw_constraints(
    rng: Random, instruction: str, kinds: Sequence[str], count: int, bank: Bank
) -> tuple[Constraint, ...]:
    """The first `count` of `kinds` that do not conflict, with arguments that share no keyword.

    Fewer where the remaining kinds all conflict with those drawn.
    """
    chosen: list[Constraint] = []
    used: set[str] = set()
    for kind_id in kinds:
        if len(chosen) == count:
            break
        if any(conflict(kind_id, earlier.kind) for earlier in chosen):
            continue
        arguments = get(kind_id).sample(rng, SamplingContext(instruction, bank, frozenset(used)))
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
