"""What an experiment came to: plain values that the table, the plots, the page and `results.json` all show."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from spar_core.evaluation.estimate import Estimate

SCHEMA = 2  # raise when a field changes its meaning


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class IterationOutcome(_Plain):
    """One iteration of one run."""

    iteration: int
    scores: dict[str, Estimate]
    """Every metric of `eval_scores`, fractions."""
    pairs: int
    dpo_steps: int | None = None
    """Optimiser steps of the actor's training; null where the artifact does not say."""
    refiner_steps: int | None = None
    tokens: int | None = None
    """Completion tokens of making the iteration's data, by whichever run they were computed; measuring left out."""
    seconds: float = 0.0
    """Likewise, with training."""
    accepted_by_depth: dict[int, int] = Field(default_factory=dict)
    """Accepted rewrites by their depth in the tree."""


class RunOutcome(_Plain):
    """One variant with one seed."""

    variant: str
    seed: int
    run_id: str
    complete: bool
    reason: str = ""
    """Why it is not complete."""
    iterations: tuple[IterationOutcome, ...] = ()


class Difference(_Plain):
    """One metric's paired difference, over all seeds together and for each."""

    metric: str
    pooled: Estimate
    """Its interval is over prompts: what other prompts would show for these very seeds."""
    by_seed: dict[int, Estimate]
    over_seeds: Estimate | None = None
    """Mean of the seeds' differences with Student's t interval: what other seeds would show; null for one seed."""

    @property
    def is_shown(self) -> bool:
        """Whether it is told from none, and in the same direction, both over prompts and over seeds."""
        if self.over_seeds is None or not (self.pooled.excludes_zero and self.over_seeds.excludes_zero):
            return False
        return (self.pooled.value > 0) == (self.over_seeds.value > 0)


class VariantOutcome(_Plain):
    """A variant over its seeds."""

    name: str
    overrides: dict[str, Any]
    means: tuple[dict[str, Estimate], ...]
    """By iteration: every metric over the items of all seeds, with its interval over prompts."""
    gains: tuple[Difference, ...]
    """Last iteration minus first."""


class Comparison(_Plain):
    """A variant against a baseline, both at their last iteration, over the seeds that both finished."""

    variant: str
    baseline: str
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...] = ()
    """What makes it uneven: other numbers of pairs or of steps."""


class CurvePoint(_Plain):
    """Test-time search of one variant's models after one iteration, under one budget, over all seeds."""

    variant: str
    iteration: int
    strategy: str
    """`none`: the first answers, without a search."""
    budget: int
    accuracy: Estimate
    gain: Difference | None = None
    """Final minus first answers, paired."""
    tokens: float = 0.0
    """Completion tokens per prompt beyond the first answer."""
    by_source: dict[str, float] = Field(default_factory=dict)
    """Accuracy by source of the prompts."""

    @property
    def tokens_per_point(self) -> float | None:
        """Tokens per prompt for each percentage point gained; None where nothing was gained."""
        return self.tokens / (100 * self.gain.pooled.value) if self.gain and self.gain.pooled.value > 0 else None


class StrategyGap(_Plain):
    """Two strategies of test-time search at equal budgets, on the prompts whose first answer is wrong."""

    variant: str
    iteration: int
    budget: int
    strategy: str
    other: str
    fixed: Estimate
    """Share of these prompts that `strategy` answers right in the end."""
    other_fixed: Estimate
    gap: Difference
    """`strategy` minus `other`, paired."""


class VariantGap(_Plain):
    """Two variants' models after one iteration under the same test-time search, on the same prompts."""

    variant: str
    baseline: str
    iteration: int
    strategy: str
    """`none`: the first answers, without a search."""
    budget: int
    gap: Difference
    """`variant` minus `baseline`, paired: final answers that are right."""


class ExperimentOutcome(_Plain):
    """The whole experiment."""

    schema_version: int = SCHEMA
    experiment_id: str
    name: str
    title: str
    description: str
    file: str
    file_text: str
    home: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    shared: dict[str, Any]
    """Settings that all variants have in common and a reader wants to know."""
    variants: tuple[VariantOutcome, ...]
    runs: tuple[RunOutcome, ...]
    comparisons: tuple[Comparison, ...]
    curve: tuple[CurvePoint, ...] = ()
    strategy_gaps: tuple[StrategyGap, ...] = ()
    variant_gaps: tuple[VariantGap, ...] = ()

    @property
    def failures(self) -> tuple[RunOutcome, ...]:
        """The runs that are not complete."""
        return tuple(run for run in self.runs if not run.complete)

    def of(self, variant: str) -> list[RunOutcome]:
        """A variant's runs, by seed."""
        return [run for run in self.runs if run.variant == variant]
