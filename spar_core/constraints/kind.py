"""What a kind of checkable instruction is: a rule, its arguments, its wordings and how to draw arguments."""

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from spar_core.constraints.arguments import Argument, bind
from spar_core.constraints.text_view import TextView, view
from spar_core.constraints.vocabulary import BANKS, Bank

Arguments = Mapping[str, Any]
Rule = Callable[[TextView, Arguments], bool]
Wording = Callable[[Arguments, Random], str]

_PHRASES = {
    "at least": ("at least", "no fewer than", "a minimum of"),
    "less than": ("fewer than", "less than"),
    "at most": ("at most", "no more than"),
}


@dataclass(frozen=True, slots=True)
class SamplingContext:
    """What arguments are drawn from.

    `instruction` is the text that the constraint will be added to (repeat_prompt asks for it),
    `bank` the words and phrases to choose from, `avoid` words that other constraints already use.
    """

    instruction: str = ""
    bank: Bank = BANKS["train"]
    avoid: frozenset[str] = frozenset()

    def draw_words(self, rng: Random, count: int) -> list[str]:
        """`count` different words that no other constraint uses (fewer if there are not so many)."""
        free = [word for word in self.bank.keywords if word not in self.avoid]
        return rng.sample(free, min(count, len(free)))


Sampler = Callable[[Random, SamplingContext], dict[str, Any]]


def _no_arguments(_rng: Random, _context: SamplingContext) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of checkable instruction.

    `conflicts` names kinds that a prompt should not combine with this one; the relation is taken as
    symmetric. `sampler` is None for kinds that only score (a benchmark's one-off instructions).
    """

    id: str
    rule: Rule
    wording: Wording
    arguments: tuple[Argument, ...] = ()
    sampler: Sampler | None = field(default=_no_arguments)
    conflicts: frozenset[str] = frozenset()

    def check(self, response: str, **kwargs: Any) -> bool:
        """The strict verdict on a response; a blank one fails.

        Raises:
            DataError: wrong arguments, or data the rule needs is missing.
            CheckTimeoutError: no verdict in the time allowed.
        """
        return self.verdict(view(response), self.bind(kwargs))

    def verdict(self, response: TextView, bound: Arguments) -> bool:
        """The strict verdict for arguments that `bind` returned."""
        return bool(response.stripped) and self.rule(response, bound)

    def bind(self, kwargs: Arguments) -> dict[str, Any]:
        """Checked and normalised arguments.

        Raises:
            DataError: naming kind, argument and allowed values.
        """
        return bind(self.id, self.arguments, kwargs)

    def describe(self, kwargs: Arguments, rng: Random) -> str:
        """The instruction as a sentence, in one of several wordings.

        Raises:
            DataError: wrong arguments.
        """
        return self.wording(self.bind(kwargs), rng)

    def sample(self, rng: Random, context: SamplingContext | None = None) -> dict[str, Any]:
        """Draw arguments (JSON-like). Only for kinds with a sampler: see `registry.samplable`."""
        if self.sampler is None:
            raise ValueError(f"{self.id} cannot draw its arguments")
        return self.sampler(rng, context or SamplingContext())


def worded(*templates: str, relation: str = "", amount: str = "") -> Wording:
    """A wording drawn from templates with `{argument}` places.

    `{quantity}` is the relation and its number in varied words ("at least 3", "no fewer than 3").
    A list argument becomes "a", "b" and "c".
    """

    def describe(bound: Arguments, rng: Random) -> str:
        values = {name: _phrase(value) for name, value in bound.items()}
        if amount:
            choices = _PHRASES[bound.get(relation, "at least")]
            values["quantity"] = f"{rng.choice(choices)} {bound[amount]}"
        return string.Formatter().vformat(rng.choice(templates), (), values)

    return describe


def compare(relation: str, count: int, asked: int) -> bool:
    """`count` against `asked`: "at least", "less than", or "at most" (which M-IFEval's Spanish rules alone have)."""
    if relation == "at most":
        return count <= asked
    return count >= asked if relation == "at least" else count < asked


def _phrase(value: Any) -> str:
    if not isinstance(value, (list, tuple)):
        return str(value)
    quoted = [f'"{item}"' for item in value]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " and " + quoted[-1]
