"""The warm start by a teacher: which stages it is asked in.

For the actor it answers prompts. For the refiner it judges answers of the base actor, rewrites those it called failing,
and judges the rewrites. All of that is journaled, in shards, and entered under iteration 0.
"""

import logging
from typing import Any

from flows.wiring.handovers import Models
from flows.wiring.models import ModelFinder, Served
from flows.wiring.prompting import RunPrompts, completed
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner, plain
from spar_core.config.method import SearchConfig
from spar_core.data.taught import taught_quotas
from spar_core.errors import ConfigError, EngineError
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from tasks.engines import ModelRef
from tasks.judgements import JUDGEMENTS
from tasks.responses import RESPONSES
from tasks.trees import TREES
from tasks.warm_start import WARM_START_EXAMPLES, WARM_START_ROOTS

_log = logging.getLogger(__name__)


class Teaching:
    """A teacher's examples for both roles. Use it inside a flow."""

    def __init__(self, run: Run, stages: StageRunner, prompts: RunPrompts, finder: ModelFinder) -> None:
        """`stages`: a runner of its own, as the teacher takes the roles that self-play's models have in the run's."""
        self._run = run
        self._config = run.config.warm_start
        self._method = run.config.method
        self._prompts = prompts
        self._finder = finder
        self._stages = stages

    def examples(self, base: Models) -> dict[str, ArtifactRef]:
        """The examples of the roles that any are asked for.

        A teacher that cannot be asked any more is not needed where the run has its examples already.

        Raises:
            ConfigError: no teacher is named, or the variable of its key is not set.
            EngineError: there is no such model, or its server does not answer.
        """
        config = self._config
        if (missing := config.needs_teacher()) is not None:
            raise ConfigError(missing)
        counts: dict[ModelRole, int] = {"actor": config.actor_examples, "refiner": config.refiner_examples}
        roles: list[ModelRole] = [role for role, count in counts.items() if count]
        if not roles:
            return {}
        try:
            teacher = self._finder.served(str(config.teacher))
        except (ConfigError, EngineError) as error:
            known = {role: completed(self._run, WARM_START_EXAMPLES[role].name, 0) for role in roles}
            there = {str(role): artifact for role, artifact in known.items() if artifact is not None}
            if len(there) < len(roles):
                raise
            _log.warning("warm_start.teacher cannot be asked, and need not be: the run has its examples (%s)", error)
            return there
        return {
            role: self._for_actor(teacher) if role == "actor" else self._for_refiner(teacher, base.actor)
            for role in roles
        }

    def _for_actor(self, teacher: Served) -> ArtifactRef:
        prompts = self._prompts.of_warm_start("actor")
        answered = {"prompts": prompts, "responses": self._answers("teacher", prompts, teacher, self._config.tries)}
        return self._made("actor", answered, {"count": self._config.actor_examples})

    def _for_refiner(self, teacher: Served, base: ModelRef) -> ArtifactRef:
        """Judgements cover the failures that will be met: those of the base actor, not the teacher's own."""
        prompts = self._prompts.of_warm_start("refiner")
        answers = self._answers("base", prompts, Served(base, self._run.config.engine_of("actor")), 1)
        answered = {"prompts": prompts, "responses": answers}
        self._stages.serve("refiner", teacher.engine)
        judge = {"refiner": teacher.model}
        alone = self._method.judging.votes_alone()
        judging = {"judging": plain(alone), **self._stages.templates("judge")}
        judgements = self._stages.run(JUDGEMENTS.named("teacher"), 0, answered, judge, judging)
        judged = {**answered, "judgements": judgements}
        roots = self._stages.run(WARM_START_ROOTS, 0, judged, config=self._filters())
        templates = self._stages.templates("judge", "refine")
        searching = {
            **judging,
            "refinement": plain(self._method.refinement),
            "search": plain(self._search()),
            **templates,
        }
        inputs = {"roots": roots, **self._stages.read_by_judges(prompts, alone)}
        trees = self._stages.run(TREES.named("teacher"), 0, inputs, judge, searching)
        count = self._config.refiner_examples
        quotas = plain(taught_quotas(self._method.refiner_data, count, judges=self._method.judging.asks_votes))
        return self._made("refiner", {**judged, "trees": trees}, {"count": count, "refiner_data": quotas, **templates})

    def _search(self) -> SearchConfig:
        """One level of rewrites. Whatever self-play takes, one that is cut or changes nothing teaches nothing."""
        tries = self._config.tries
        chosen = {"branch": tries, "node_budget": tries, "accept_truncated": False, "detect_duplicates": True}
        return (
            self._method.search.every_vote().one_rewrite().model_copy(update={**chosen, "failed_expansion_costs": True})
        )

    def _answers(self, who: str, prompts: ArtifactRef, model: Served, per_prompt: int) -> ArtifactRef:
        sampling = self._method.responses.model_copy(update={"per_prompt": per_prompt})
        self._stages.serve("actor", model.engine)
        asked, reads = {"actor": model.model}, {"responses": plain(sampling)}
        return self._stages.run(RESPONSES.named(who), 0, {"prompts": prompts}, asked, reads)

    def _made(self, role: ModelRole, inputs: dict[str, ArtifactRef], reads: dict[str, Any]) -> ArtifactRef:
        config = {"role": role, "source": "teacher", **self._filters(), **reads}
        return self._stages.run(WARM_START_EXAMPLES[role], 0, inputs, config=config)

    def _filters(self) -> dict[str, Any]:
        return {"min_agreement": self._config.min_agreement, "check_rules": self._config.check_rules}
