"""IFEval's rules under another language's ids, and arguments that are written in that language."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spar_core.constraints import arguments
from spar_core.constraints.arguments import Argument
from spar_core.constraints.kind import Arguments, Kind
from spar_core.constraints.registry import get, register

_RELATIONS = frozenset({"relation", "let_relation", "capital_relation"})


@dataclass(frozen=True, slots=True)
class IndifferentKind(Kind):
    """A kind that is handed arguments its rule does not look at."""

    unused: frozenset[str] = frozenset()

    def bind(self, kwargs: Arguments) -> dict[str, Any]:
        """The arguments the rule looks at, checked."""
        used = {name: value for name, value in kwargs.items() if name not in self.unused}
        return arguments.bind(self.id, self.arguments, used)


def adopt(prefix: str, kinds: Iterable[str], relations: Mapping[str, str]) -> None:
    """Register IFEval's kinds as `PREFIX:KIND`, for scoring alone, with relations in the words of `relations`."""
    for kind_id in kinds:
        kind = get(kind_id)
        declared = tuple(
            relation_of(argument.name, relations) if argument.name in _RELATIONS else argument
            for argument in kind.arguments
        )
        adopted = replace(kind, id=f"{prefix}:{kind_id}", arguments=declared, sampler=None, conflicts=frozenset())
        register(adopted)


def relation_of(name: str, words: Mapping[str, str]) -> Argument:
    """How a count compares with its number, in a language's words; bound to the English ones."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError
        return words[value]

    return Argument(name, " or ".join(repr(word) for word in words), parse)


def words_of(name: str) -> Argument:
    """One or more words, each to be met as it is."""

    def parse(value: Any) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or not value or not all(isinstance(w, str) and w for w in value):
            raise ValueError
        return tuple(value)

    return Argument(name, "a list of one or more words", parse)


def letter_between(name: str, first: str, last: str) -> Argument:
    """A single character of a range of code points."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or len(value) != 1 or not first <= value <= last:
            raise ValueError
        return value

    return Argument(name, f"a single letter from {first} to {last}", parse)


def spellings(name: str) -> Argument:
    """Words without accents, each with its right spelling; nulls, which tables fill in, count as absent."""

    def parse(value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise ValueError
        found = {word: right for word, right in value.items() if right is not None}
        if not found or not all(isinstance(right, str) for right in found.values()):
            raise ValueError
        return found

    return Argument(name, "an object of words without accents and their right spellings", parse)
