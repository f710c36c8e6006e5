"""Where self-play prompts come from, and which of them are left out."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from spar_core.config.base import GrownConfig
from spar_core.config.constraint_counts import ConstraintCounts, ConstraintKinds
from spar_core.config.following import FollowingConfig
from spar_core.engines.model_reference import check_reference

_DRAWN = ("starter", "verifiable")
BenchmarkName = Literal["ifeval", "ifbench", "followbench", "llmbar"]


class PromptsConfig(GrownConfig):
    """Where self-play prompts come from."""

    later = ("following", "drop_contradictions", "kinds")

    source: Literal["starter", "verifiable", "taxonomy", "file"] = "starter"
    """starter: the embedded world; verifiable: seed instructions + checkable constraints; taxonomy: seed prompts
    evolved by a model (paper); file: your own (docs/data.md)."""
    path: str | None = None
    """`file`: a file, folder or hub name. `verifiable`, `taxonomy`: seed prompts; null takes the shipped seeds."""
    evolver: str | None = None
    """`taxonomy`: who evolves the seeds, any model reference. One model does it for all iterations before the first
    (paper: gpt-4o-mini-2024-07-18, T 0.7). Null: the actor's model as it was before any training."""
    per_iteration: Annotated[int, Field(ge=1)] = 400
    """Prompts per iteration (paper: 30k for three)."""
    skip_bad: bool = False
    """Record broken rows of a file as drops instead of stopping at the first."""
    constraints: ConstraintCounts | None = None
    """`verifiable`, `starter`: fewest and most constraints per prompt, such as [1, 2] for a small model; each number is
    drawn equally often. Null: two to four; the starter's own mixture of one to five, which then follows nothing."""
    kinds: ConstraintKinds | None = None
    """`verifiable`: the kinds of constraints that are drawn, by their ids, such as [startend:end_checker]; null: all
    but those held out for measuring."""
    following: FollowingConfig | None = None
    """What the share of answers that pass decides about prompts: which make trees, how many constraints the next
    iteration's carry, which kinds are drawn more often; null: nothing (published). `{}` takes the defaults below."""
    drop_contradictions: bool = False
    """Record prompts whose checkable constraints no answer can meet together as drops."""
    near_duplicates: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Jaccard similarity at or above which a prompt counts as a near duplicate of one before it, in its iteration or an
    earlier one, and is dropped; null: only equal prompts are."""
    decontaminate: Path | tuple[BenchmarkName, ...] | None = None
    """Prompts that share an n-gram with these benchmarks' are dropped: a folder of their data (see docs/data.md), or
    names, such as [ifeval, llmbar], whose data are found as `spar eval` finds them. Null: off."""
    decontaminate_ngram: Annotated[int, Field(ge=3, le=50)] = 13
    """Words per n-gram."""

    @property
    def draws_constraints(self) -> bool:
        """Whether a number of constraints is drawn for each prompt, between a fewest and a most."""
        return self.source == "verifiable" or (self.source == "starter" and self.constraints is not None)

    @field_validator("evolver")
    @classmethod
    def _evolver_in_form(cls, value: str | None) -> str | None:
        return None if value is None else check_reference(value)

    @model_validator(mode="after")
    def _what_is_named_is_used(self) -> Self:
        if self.constraints is not None and self.source not in _DRAWN:
            raise ValueError(
                f"prompts.constraints is set, but prompts of source `{self.source}` bring their own; "
                "set prompts.source=verifiable, or leave prompts.constraints unset"
            )
        if self.kinds is not None and self.source != "verifiable":
            raise ValueError(
                f"prompts.kinds is set, but prompts of source `{self.source}` have kinds of their own; "
                "set prompts.source=verifiable, or leave prompts.kinds unset"
            )
        if self.source == "file" and self.path is None:
            raise ValueError("prompts.source is `file` but prompts.path is not set; name a JSONL or Parquet file")
        if self.evolver is not None and self.source != "taxonomy":
            raise ValueError(
                f"prompts.evolver is set, but prompts of source `{self.source}` are not evolved; "
                "set prompts.source=taxonomy, or leave prompts.evolver unset"
            )
        return self
