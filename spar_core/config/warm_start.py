"""Iteration 0: what both roles learn from before self-play begins."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from spar_core.config.base import FrozenConfig
from spar_core.engines.model_reference import check_reference
from spar_core.records import ModelRole


class WarmStartConfig(FrozenConfig):
    """Iteration 0: supervised training before self-play."""

    source: Literal["none", "starter", "teacher", "file", "rules"] = "starter"
    """none: start from the models as they are; starter: the embedded rule-based teacher; teacher: a model of your
    choice (`warm_start.teacher`); file: your own examples; rules: the checkable constraints of the run's prompts judge
    and mend the base actor's own answers, beside a teacher where `warm_start.teacher` names one (docs/method.md)."""
    teacher: str | None = None
    """`teacher`: who answers, judges and rewrites, any model reference: a hosted API or a server
    (https://host/v1#MODEL&key=VARIABLE, or its description file), a folder, a hub id (both served as `engine` says)."""
    actor_examples: Annotated[int, Field(ge=0)] = 2000
    """`starter`: answers the actor learns from. `teacher`: prompts that it answers for the actor (paper: 8k).
    `rules`: prompts for `actor_by_rules`."""
    refiner_examples: Annotated[int, Field(ge=0)] = 2000
    """`starter`: judgements and refinements the refiner learns from. `teacher`: at most so many, half of them
    refinements, from as many answers of the base actor (paper: 5k). `rules`: the same, from as many prompts (with a
    teacher: so many of each); under `judging.anchor: rules_only` refinements alone."""
    tries: Annotated[int, Field(ge=1, le=16)] = 1
    """`teacher`: answers per prompt, and rewrites per failing answer; the first that passes the filters is kept."""
    min_agreement: Annotated[float, Field(ge=0.5, le=1.0)] = 0.8
    """`teacher`: share of its readable votes that must agree for a judgement, or a rewrite, to be learnt from
    (fraction; 1: all of them). How many votes it gives: method.judging."""
    samples: Annotated[int, Field(ge=1, le=64)] = 2
    """`rules`: answers of the base actor per prompt."""
    actor_by_rules: bool = False
    """`rules`: whether the actor learns, too, from its own answers that keep every rule, mended where none does."""
    check_rules: bool = True
    """`teacher`: where a prompt holds constraints the registry can check, leave out answers and rewrites that break
    one, and judgements that say otherwise. Rule truth then filters the warm start, and it alone; prompts without
    constraints are filtered by votes."""
    actor_file: str | None = None
    """`file`: a file, folder or hub name with answers for the actor (null: actor not warm started). Shapes of rows and
    what is taken of a folder: docs/data.md."""
    refiner_file: str | None = None
    """`file`: the same for the refiner: judgements and refinements, told by the column "kind" or by their text."""
    skip_bad: bool = False
    """`file`: record broken rows as drops instead of stopping at the first."""

    @field_validator("teacher")
    @classmethod
    def _teacher_in_form(cls, value: str | None) -> str | None:
        return None if value is None else check_reference(value)

    @model_validator(mode="after")
    def _what_is_named_is_used(self) -> Self:
        if self.source == "file" and self.actor_file is None and self.refiner_file is None:
            raise ValueError("warm_start.source is `file` but neither actor_file nor refiner_file is set")
        if self.actor_by_rules and self.source != "rules":
            raise ValueError(
                f"warm_start.actor_by_rules is set, but warm_start.source is `{self.source}`; set it to rules"
            )
        if self.teacher is not None and self.source not in ("teacher", "rules"):
            raise ValueError(
                f"warm_start.teacher is set, but warm_start.source is `{self.source}`, so nobody would ask it; "
                "set warm_start.source=teacher, or leave warm_start.teacher unset"
            )
        return self

    def prompts_for(self, role: ModelRole) -> int:
        """Prompts of their own that the examples of a role are made of: none where no answers are asked for it."""
        counts: dict[ModelRole, int] = {"actor": self.actor_examples, "refiner": self.refiner_examples}
        if self.source == "rules" and role == "actor" and self.teacher is None and not self.actor_by_rules:
            return 0
        return counts[role] if self.source in ("teacher", "rules") else 0

    def needs_teacher(self) -> str | None:
        """What to say where a run begins without the teacher it is to learn from; None where nothing is missing.

        Not an error of the configuration: planning and measuring with a preset need no teacher.
        """
        if self.source != "teacher" or self.teacher is not None:
            return None
        return (
            "warm_start.source is `teacher`, but no teacher is named: name one (--set "
            "'warm_start.teacher=https://host/v1#MODEL&key=VARIABLE', or a folder, or a hub id), or give your own "
            "examples (warm_start.source=file), or start without (warm_start.source=none)"
        )
