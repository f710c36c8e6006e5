"""Checkable instructions: one registry for scoring, prompt synthesis and truth measurements.

check(Constraint.create("keywords:existence", keywords=["harbor"]), "By the harbor.")  # True
"""

# The family modules register their kinds when they are imported.
from spar_core.constraints import casing, composition, formats, keywords, lengths
from spar_core.constraints.kind import Arguments, Kind, SamplingContext
from spar_core.constraints.patterns import CheckTimeoutError
from spar_core.constraints.registry import bound_kind, check, conflict, get, kinds, register, render, samplable
from spar_core.constraints.text_view import TextView, view

# The kinds of the IFEval benchmark: all that is registered up to here, whatever others add later.
IFEVAL_KINDS: tuple[str, ...] = tuple(kind.id for kind in kinds())

__all__ = [
    "IFEVAL_KINDS",
    "Arguments",
    "CheckTimeoutError",
    "Kind",
    "SamplingContext",
    "TextView",
    "bound_kind",
    "casing",
    "check",
    "composition",
    "conflict",
    "formats",
    "get",
    "keywords",
    "kinds",
    "lengths",
    "register",
    "render",
    "samplable",
    "view",
]
