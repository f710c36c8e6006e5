"""The warm start by rules: the base actor answers prompts that hold constraints, rules judge and mend the answers."""

from collections.abc import Mapping
from typing import Any, Final

from flows.wiring.prompting import RunPrompts
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner, plain
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from tasks.engines import ModelRef
from tasks.responses import RESPONSES
from tasks.rule_examples import RULE_EXAMPLES

OWN: Final = "rules"
"""How the base actor's answers are called among the run's stages, before the role."""


class RuleTeaching:
    """The rules' examples for both roles. Use it inside a flow."""

    def __init__(self, run: Run, stages: StageRunner, prompts: RunPrompts) -> None:
        """`stages`: a runner whose actor is served as the run says."""
        self._config = run.config.warm_start
        self._method = run.config.method
        self._stages = stages
        self._prompts = prompts

    def examples(self, base: ModelRef, beside: Mapping[str, ArtifactRef]) -> dict[str, ArtifactRef]:
        """The examples of the roles that any are asked for; `beside`: a teacher's, which are learnt from as well."""
        made = dict(beside)
        if self._config.refiner_examples:
            made["refiner"] = self._for("refiner", base, beside)
        if self._config.actor_examples and self._config.actor_by_rules:
            made["actor"] = self._for("actor", base, beside)
        return made

    def _for(self, role: ModelRole, base: ModelRef, beside: Mapping[str, ArtifactRef]) -> ArtifactRef:
        prompts = self._prompts.of_warm_start(role)
        sampling = self._method.responses.model_copy(update={"per_prompt": self._config.samples})
        asked, stage = {"responses": plain(sampling)}, RESPONSES.named(f"{OWN}_{role}")
        answers = self._stages.run(stage, 0, {"prompts": prompts}, {"actor": base}, asked)
        inputs = {"prompts": prompts, "responses": answers}
        if role in beside:
            inputs["teacher"] = beside[role]
        reads: dict[str, Any] = {"role": role, "count": self._config.prompts_for(role)}
        if role == "refiner":
            reads |= self._stages.templates("judge", "refine")
            if not self._method.judging.asks_votes:
                reads["refinements_alone"] = True
        return self._stages.run(RULE_EXAMPLES[role], 0, inputs, config=reads)
