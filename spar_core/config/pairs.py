"""How an iteration makes what the actor learns from."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field

from spar_core.config.base import GrownConfig
from spar_core.methods.registry import names


def _known_method(name: str) -> str:
    if name not in names():
        raise ValueError(f"there is no method {name!r}; there are {', '.join(names())}")
    return name


_OF_THE_RUN = ("tokens", "grpo_from")


class PairsConfig(GrownConfig):
    """How preference pairs for the actor are made, and with that what a run compares (docs/method.md)."""

    later = (*_OF_THE_RUN, "length_control", "ranking", "roots")

    method: Annotated[str, AfterValidator(_known_method)] = "spar"
    """spar: accepted rewrite of a tree search over root. single_refine: of one rewrite, iterative_refine: of a chain of
    them. best_of_n: best over worst of the independent samples by the same votes. self_rewarding: by an additive rubric
    (arXiv 2401.10020); meta_rewarding: likewise, and the refiner learns from judgements of its judgements
    (arXiv 2407.19594). random_pairs: two samples in random order, a control. programmatic_refine:
    a failing sample mended by code, an upper bound that uses rule truth. grpo: no pairs, rewards by rule for its own
    answers (`training.grpo`); spar_then_grpo: that after iterations of spar. Or one of your own (spar_core.methods)."""
    scorer: Literal["refiner", "actor"] = "refiner"
    """Whose weights score by the rubric: the refiner's, as in the other methods, or the actor's own (published)."""
    max_pairs: Annotated[int, Field(ge=1)] | None = None
    """Cap on pairs per iteration (seeded choice); null keeps all. Compared methods get equal numbers by it."""
    max_negatives: Annotated[int, Field(ge=1)] | None = None
    """Cap on trees searched per iteration (seeded choice); null searches every prompt with a failing answer."""
    roots: Literal["any", "whole"] = "any"
    """Which failing answer of a prompt a tree begins at: any of them (published), or one that was not cut at the token
    limit where there is one; what that does to SmolLM2: docs/results/smollm2.md."""
    tokens: Annotated[int, Field(ge=1)] | Literal["spar"] | None = None
    """Completion tokens that an iteration may write to make what the actor learns from. best_of_n draws and judges
    further samples up to it, GRPO trains until it is spent. `spar`: as many as the run in this home that differs in
    nothing but its method, `spar`, wrote in the same iteration. Null: as otherwise configured."""
    grpo_from: Annotated[int, Field(ge=2)] = 3
    """spar_then_grpo: the first iteration whose actor learns by GRPO."""

    length_control: Annotated[float, Field(ge=0.0, lt=0.5)] | None = None
    """self_rewarding, meta_rewarding: of samples whose scores lie within this share of the range of scores from the
    highest, the shortest is chosen; of those as near the lowest, the longest is rejected (arXiv 2407.19594). Null: the
    highest and the lowest, whatever their length (arXiv 2401.10020)."""
    ranking: Literal["shares", "elo"] = "shares"
    """meta_rewarding: judgements are ranked by their shares of won comparisons, or by Elo (published)."""

    def of_phase(self, method: str) -> Self:
        """What the pairs of one phase of a method follow from."""
        untouched = {name: type(self).model_fields[name].default for name in _OF_THE_RUN}
        return self.model_copy(update={"method": method, **untouched})
