"""Checkable instructions: one registry for scoring, prompt synthesis and truth measurements.

check(Constraint.create("keywords:existence", keywords=["harbor"]), "By the harbor.")  # True
"""

# The family modules register their kinds when they are imported: bench_* those of IFBench, the others IFEval's.
from spar_core.constraints import (
    bench_counts,
    bench_custom,
    bench_formats,
    bench_words,
    casing,
    composition,
    formats,
    keywords,
    lengths,
)
from spar_core.constraints.kind import Arguments, Kind, SamplingContext
from spar_core.constraints.patterns import CheckTimeoutError
from spar_core.constraints.registry import (
    bound_kind,
    check,
    conflict,
    detects_language,
    get,
    is_known,
    kinds,
    register,
    render,
    samplable,
    verdict_of,
)
from spar_core.constraints.repaired import REPAIRED_KINDS, Variant, repaired_rule
from spar_core.constraints.text_view import TextView, view

# IFBench's kinds cannot be drawn: prompts made of them would teach the test.
IFEVAL_KINDS: tuple[str, ...] = tuple(kind.id for kind in samplable())
IFBENCH_KINDS: tuple[str, ...] = tuple(kind.id for kind in kinds() if kind.sampler is None)

__all__ = [
    "IFBENCH_KINDS",
    "IFEVAL_KINDS",
    "REPAIRED_KINDS",
    "Arguments",
    "CheckTimeoutError",
    "Kind",
    "SamplingContext",
    "TextView",
    "Variant",
    "bench_counts",
    "bench_custom",
    "bench_formats",
    "bench_words",
    "bound_kind",
    "casing",
    "check",
    "composition",
    "conflict",
    "detects_language",
    "formats",
    "get",
    "is_known",
    "keywords",
    "kinds",
    "lengths",
    "register",
    "render",
    "repaired_rule",
    "samplable",
    "verdict_of",
    "view",
]
