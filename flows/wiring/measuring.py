"""What an iteration's models are measured on: held-out prompts whose truth a checker knows."""

from typing import Any

from flows.wiring.handovers import Data, Models
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner, plain
from spar_core.config.run import EvaluationConfig, RunConfig
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from tasks.engines import ModelRef
from tasks.evaluation import EVAL_ACTOR, EVAL_PROMPTS, EVAL_REFINER, SCORES
from tasks.general_ability import ABILITY, SAFE_TASKS
from tasks.judge_votes import EVAL_VOTES


def is_measured(config: EvaluationConfig, role: ModelRole) -> bool:
    """Whether the gate finds anything to compare a role by."""
    return config.enabled and (role == "actor" or config.refiner_items > 0)


def counts_hacks(config: RunConfig) -> bool:
    """Whether the hack rate is measured: where rules decide what is learnt, or reward it, or the gate asks for it."""
    by_rules = config.method.judging.reads_rules or config.method.reinforces()
    return by_rules or config.promotion.max_hack_rate_rise is not None


class Measurement:
    """Builds and runs the measuring stages of one run. Nothing here feeds training."""

    def __init__(self, run: Run, stages: StageRunner) -> None:
        self._config = run.config
        self._stages = stages

    def evaluate(self, iteration: int, models: Models, first: Models, data: Data | None) -> ArtifactRef | None:
        """Measure both models on held-out prompts, and the truth of the pairs; None where measuring is off.

        `first` are the models after the warm start: every refiner judges and repairs what that actor answered, and its
        votes on its own rewrites are compared with those on that refiner's.
        """
        config = self._config.evaluation
        self.ability(iteration, models.actor)
        if not config.enabled:
            return None
        prompts = self.eval_prompts(iteration)
        inputs = {"actor": self._answers(iteration, models.actor, prompts)}
        if config.refiner_items > 0:
            inputs["refiner"] = self._repairs(iteration, models.refiner, first.actor, prompts)
        if config.refiner_items > 0 and config.calibration_items > 0 and self._config.method.judging.asks_votes:
            inputs["votes"] = self._votes(
                iteration, models.refiner, first, {"prompts": prompts, "answers": inputs["actor"]}
            )
        if counts_hacks(self._config):
            inputs["held_out"] = prompts
        if data is not None and data.pairs is not None:
            inputs |= {"prompts": data.prompts, "pairs": data.pairs}
        return self._stages.run(SCORES, iteration, inputs, models._asdict(), seed=config.seed)

    def for_gate(self, iteration: int, role: ModelRole, model: ModelRef, first: Models) -> ArtifactRef | None:
        """The items by which the gate compares a model of this iteration; None where they are not measured.

        They are those of `evaluate`.
        """
        return self._gate_items(iteration, iteration, role, model, first)

    def of_champion(self, iteration: int, role: ModelRole, model: ModelRef, first: Models) -> ArtifactRef | None:
        """The same items of a champion, on this iteration's prompts: found where it was measured like that, else made.

        Entered under no iteration, as it is none of this one's models.
        """
        return self._gate_items(iteration, None, role, model, first)

    def _gate_items(
        self, iteration: int, entered: int | None, role: ModelRole, model: ModelRef, first: Models
    ) -> ArtifactRef | None:
        if not is_measured(self._config.evaluation, role):
            return None
        prompts = self.eval_prompts(iteration)
        if role == "actor":
            return self._answers(entered, model, prompts)
        return self._repairs(entered, model, first.actor, prompts)

    def ability(self, iteration: int | None, actor: ModelRef) -> ArtifactRef | None:
        """The actor's general ability on whole tasks; None where the gate does not ask for it."""
        if self._config.promotion.ability_margin is None:
            return None
        reads = {"tasks": list(SAFE_TASKS), "limit": None, "role": "actor"}
        return self._stages.run(ABILITY, iteration, models={"model": actor}, config=reads)

    def eval_prompts(self, iteration: int) -> ArtifactRef:
        """The held-out prompts."""
        config = self._config.evaluation
        reads: dict[str, Any] = {"source": config.source, "split": config.split, "count": config.prompts}
        if config.constraints is not None:
            reads["constraints"] = list(config.constraints)
        if config.kinds is not None:
            reads["kinds"] = list(config.kinds)
        return self._stages.run(EVAL_PROMPTS, iteration, config=reads, seed=config.seed)

    def _answers(self, iteration: int | None, actor: ModelRef, prompts: ArtifactRef) -> ArtifactRef:
        config = self._config.evaluation
        sampling = {"samples": config.samples, "sampling": plain(config.actor)}
        inputs = {"prompts": prompts}
        return self._stages.run(EVAL_ACTOR, iteration, inputs, {"actor": actor}, sampling, seed=config.seed)

    def _repairs(
        self, iteration: int | None, refiner: ModelRef, first_actor: ModelRef, prompts: ArtifactRef
    ) -> ArtifactRef:
        """Every iteration's refiner judges and repairs the same answers: those of the first actor.

        By its votes, and as rules judge in self-play, where they do; where nobody asks for its votes, by the latter.
        """
        config, method = self._config.evaluation, self._config.method
        reads = {
            "items": config.refiner_items,
            "refinement": plain(method.refinement),
            "search": plain(method.search.every_vote()),  # what is measured are the votes, too
            **self._stages.templates("judge", "refine"),
        }
        if method.judging.asks_votes:
            reads["judging"] = self._judging()
        if method.judging.judges_by_rules:
            reads["judging_in_use"] = plain(method.judging.model_copy(update={"second_voter": None}))
        inputs = {"prompts": prompts, "answers": self._answers(0, first_actor, prompts)}
        return self._stages.run(EVAL_REFINER, iteration, inputs, {"refiner": refiner}, reads, seed=config.seed)

    def _votes(self, iteration: int, refiner: ModelRef, first: Models, held_out: dict[str, ArtifactRef]) -> ArtifactRef:
        """Votes on the own actor's answers, and on the first refiner's rewrites unless they are its own."""
        config = self._config.evaluation
        reads = {"items": config.calibration_items, "judging": self._judging(), **self._stages.templates("judge")}
        inputs = dict(held_out)
        if refiner.digest != first.refiner.digest:
            inputs["first"] = self._repairs(0, first.refiner, first.actor, held_out["prompts"])
        return self._stages.run(EVAL_VOTES, iteration, inputs, {"refiner": refiner}, reads, seed=config.seed)

    def _judging(self) -> dict[str, Any]:
        """How the refiner is measured: by its votes alone, whatever may decide for them in self-play."""
        return plain(self._config.method.judging.votes_alone())
