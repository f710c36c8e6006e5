"""The registry of checkable instruction kinds, one for scoring, prompt synthesis and truth measurements."""

import difflib
import json
from functools import lru_cache
from importlib import import_module
from random import Random
from typing import Any, Final, NamedTuple

from spar_core.constraints.kind import Arguments, Kind
from spar_core.constraints.repaired import Variant, repaired_rule
from spar_core.constraints.text_view import TextView, view
from spar_core.errors import DataError
from spar_core.records import Constraint

_kinds: dict[str, Kind] = {}


class World(NamedTuple):
    """A family of kinds outside IFEval and IFBench: the module that registers them, and how prompts are checked."""

    module: str
    detect_language: bool = True


# By the prefix of its kinds (`starter:items`) and of its prompts' sources (`starter/iid`); imported at first need.
_WORLDS: Final = {
    "starter": World("spar_core.starter.world", detect_language=False),
    "multi_if": World("spar_core.constraints.multilingual.multi_if"),
    "fr": World("spar_core.constraints.multilingual.french"),
    "es": World("spar_core.constraints.multilingual.spanish"),
    "ja": World("spar_core.constraints.multilingual.japanese"),
}


def register(kind: Kind) -> Kind:
    """Add a kind.

    Raises:
        DataError: the id is taken.
    """
    if kind.id in _kinds:
        raise DataError(f"constraint kind {kind.id!r} is already registered; choose another id")
    _kinds[kind.id] = kind
    return kind


def get(kind_id: str) -> Kind:
    """The kind of that id.

    Raises:
        DataError: there is none; the message names the nearest ones.
    """
    if not is_known(kind_id):
        near = difflib.get_close_matches(str(kind_id), _kinds, n=3, cutoff=0.4) or sorted(_kinds)
        raise DataError(f"unknown constraint kind {kind_id!r}; known kinds: {', '.join(near)}")
    return _kinds[kind_id]


def is_known(kind_id: str) -> bool:
    """Whether there is a kind of that id."""
    world = _WORLDS.get(str(kind_id).partition(":")[0])
    if kind_id not in _kinds and world is not None:
        import_module(world.module)
    return kind_id in _kinds


def detects_language(source: str) -> bool:
    """Whether the case kinds ask a language detector on prompts of this source.

    They do but in worlds of very short answers: on ten words it only guesses.
    """
    world = _WORLDS.get(source.partition("/")[0])
    return world is None or world.detect_language


def kinds(prefix: str = "") -> tuple[Kind, ...]:
    """All kinds in the order of their ids, or those whose id starts with `prefix`."""
    return tuple(_kinds[kind_id] for kind_id in sorted(_kinds) if kind_id.startswith(prefix))


def samplable() -> tuple[Kind, ...]:
    """The kinds that can draw their own arguments, for synthesis."""
    return tuple(kind for kind in kinds() if kind.sampler is not None)


def conflict(first: str, second: str) -> bool:
    """Whether two kinds should not stand in one prompt (a kind conflicts with itself).

    Raises:
        DataError: unknown kind.
    """
    return first == second or second in get(first).conflicts or first in get(second).conflicts


def check(
    constraint: Constraint, response: str, *, detect_language: bool = True, variant: Variant = "reference"
) -> bool:
    """The strict verdict of a constraint on a response; a blank response fails.

    `variant`: by the published verifier, or by a rule that holds to the instruction's text where that one does not
    (`spar_core.constraints.repaired`; the same where there is none).

    With `detect_language` False the case kinds do not ask whether the text is English: for short texts
    of a synthetic world, where the detector guesses.

    Raises:
        DataError: unknown kind, wrong arguments, missing data.
        CheckTimeoutError: no verdict in the time allowed.
    """
    kind, bound = bound_kind(constraint)
    return verdict_of(kind, bound, view(response, detect_language), variant)


def verdict_of(kind: Kind, bound: Arguments, response: TextView, variant: Variant) -> bool:
    """The strict verdict of one variant, for arguments that `Kind.bind` returned."""
    rule = repaired_rule(kind.id) if variant == "repaired" else None
    return kind.verdict(response, bound) if rule is None else bool(response.stripped) and rule(response, bound)


def render(constraint: Constraint, rng: Random) -> str:
    """The constraint as a sentence of an instruction, in one of several wordings.

    Raises:
        DataError: unknown kind or wrong arguments.
    """
    kind, bound = bound_kind(constraint)
    return kind.wording(bound, rng)


@lru_cache(maxsize=8192)
def bound_kind(constraint: Constraint) -> tuple[Kind, dict[str, Any]]:
    """The kind and the checked arguments of a constraint, remembered.

    Raises:
        DataError: unknown kind or wrong arguments.
    """
    kind = get(constraint.kind)
    try:
        given = json.loads(constraint.kwargs)
    except ValueError as error:
        raise DataError(f"{constraint.kind}: arguments are not JSON: {constraint.kwargs!r}") from error
    if not isinstance(given, dict):
        raise DataError(f"{constraint.kind}: arguments must be a JSON object, not {constraint.kwargs!r}")
    return kind, kind.bind(given)
