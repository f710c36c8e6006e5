"""Typed arguments of checkable instructions: what each accepts, and the message when it is something else."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spar_core.constraints import language, patterns
from spar_core.errors import DataError

RELATIONS = ("at least", "less than")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a kind. `parse` returns the normalised value or raises ValueError."""

    name: str
    allowed: str
    parse: Callable[[Any], Any]


def number(name: str, minimum: int = 0) -> Argument:
    """A whole number; 3.0 (as some file formats hand it over) counts as 3."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < minimum:
            raise ValueError
        return int(value)

    return Argument(name, f"a whole number of at least {minimum}", parse)


def decimal(name: str) -> Argument:
    """A number of at least 0."""

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise ValueError
        return float(value)

    return Argument(name, "a number of at least 0", parse)


def relation(name: str) -> Argument:
    """How a count compares with its number."""

    def parse(value: Any) -> str:
        if value not in RELATIONS:
            raise ValueError
        return str(value)

    return Argument(name, " or ".join(repr(choice) for choice in RELATIONS), parse)


def text(name: str) -> Argument:
    """Text that is not blank."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError
        return value

    return Argument(name, "text that is not blank", parse)


def pattern(name: str) -> Argument:
    """Text that is a regular expression."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError
        patterns.prepare(value)
        return value

    return Argument(name, "a regular expression that is not blank", parse)


def pattern_list(name: str) -> Argument:
    """One or more regular expressions."""

    def parse(value: Any) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError
        for item in value:
            if not isinstance(item, str) or not item:
                raise ValueError
            patterns.prepare(item)
        return tuple(value)

    return Argument(name, "a list of one or more regular expressions", parse)


def letter(name: str) -> Argument:
    """A single character."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or len(value) != 1 or value.isspace():
            raise ValueError
        return value

    return Argument(name, "a single letter", parse)


def language_code(name: str) -> Argument:
    """A language code of the detector."""

    def parse(value: Any) -> str:
        if value not in language.CODES:
            raise ValueError
        return str(value)

    return Argument(name, "one of " + " ".join(sorted(language.CODES)), parse)


def bind(kind: str, declared: tuple[Argument, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the arguments given to a kind; nulls count as absent.

    Raises:
        DataError: an argument is unknown, missing or out of range; the message names kind, argument
            and what is allowed.
    """
    present = {name: value for name, value in given.items() if value is not None}
    unknown = sorted(present.keys() - {argument.name for argument in declared})
    if unknown:
        names = ", ".join(argument.name for argument in declared) or "none"
        raise DataError(f"{kind} has no argument {unknown[0]!r}; its arguments: {names}")
    bound: dict[str, Any] = {}
    for argument in declared:
        if argument.name not in present:
            raise DataError(f"{kind} needs the argument {argument.name!r}: {argument.allowed}")
        value = present[argument.name]
        try:
            bound[argument.name] = argument.parse(value)
        except (ValueError, OverflowError):
            raise DataError(f"{kind}: {argument.name} is {_shown(value)}, allowed is {argument.allowed}") from None
        except DataError as error:
            raise DataError(f"{kind}: {argument.name}: {error}") from error
    return bound


def _shown(value: Any) -> str:
    plain = re.sub(r"\s+", " ", repr(value))
    return plain if len(plain) <= 80 else plain[:77] + "..."
