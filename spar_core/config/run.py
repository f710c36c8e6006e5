"""The configuration of a whole run. Components take their own part of it, never the whole."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from spar_core.config.base import FrozenConfig, GrownConfig
from spar_core.config.budget import BudgetConfig
from spar_core.config.constraint_counts import ConstraintCounts, ConstraintKinds
from spar_core.config.deployment import DeploymentConfig
from spar_core.config.method import Fraction, MethodConfig, SamplingConfig
from spar_core.config.probe import ProbeConfig
from spar_core.config.prompts import PromptsConfig
from spar_core.config.run_identity import naming
from spar_core.config.scale import ScaleConfig
from spar_core.config.tracking import TrackingConfig
from spar_core.config.training import OptimisationConfig, TrainingConfig, check_spread
from spar_core.config.warm_start import WarmStartConfig
from spar_core.engines.configuration import EngineConfig, TransformersEngineConfig, VllmEngineConfig
from spar_core.engines.model_reference import check_reference, is_server
from spar_core.engines.role_servers import ServedRoles
from spar_core.hashing import digest
from spar_core.records import ModelRole

_OTHER_USES = "`spar search`, `spar refine` and `spar eval` take servers wherever they take a model"


class ModelsConfig(GrownConfig):
    """The models iteration 0 starts from: `starter` (embedded), a folder, or a hub id."""

    later = ("shared",)

    actor: str = "starter"
    """Model that answers."""
    refiner: str | None = None
    """Model that judges and rewrites; null: the same as the actor."""
    shared: bool = False
    """One set of weights plays both roles: what the refiner's training makes of them the actor's training goes on from,
    and what that makes is the next actor and the next refiner. Half the weights to serve, and no model has to go for
    the other; the published method trains two."""

    def of(self, role: ModelRole) -> str:
        """The model a role starts from."""
        return self.actor if role == "actor" else self.refiner or self.actor

    @field_validator("actor", "refiner")
    @classmethod
    def _has_weights(cls, value: str | None) -> str | None:
        if value is not None and is_server(check_reference(value)):
            raise ValueError(
                "a run trains this model, so it needs the weights: give `starter`, a folder or a hub id. A server can "
                f"vote beside the refiner (method.judging.second_voter); {_OTHER_USES}"
            )
        return value

    @model_validator(mode="after")
    def _shared_weights_are_one_models(self) -> Self:
        if self.shared and self.refiner not in (None, self.actor):
            raise ValueError(
                f"models.shared means that {self.actor} plays both roles, and models.refiner is {self.refiner}: leave "
                "models.refiner unset"
            )
        return self


class EvaluationConfig(GrownConfig):
    """Measurements on held-out prompts whose truth a checker knows; never fed back into training."""

    later = ("kinds",)

    enabled: bool = True
    """Whether iterations are measured."""
    source: Literal["starter", "verifiable"] = "starter"
    """World the held-out prompts come from: half of them like the training prompts (metrics `.../iid`), half with
    constraints that no training prompt has (`.../heldout`); the gate takes both together."""
    split: Literal["dev", "test"] = "test"
    """Settings are chosen on dev, figures come from test."""
    prompts: Annotated[int, Field(ge=1)] = 1000
    """Held-out prompts the actor answers."""
    constraints: ConstraintCounts | None = None
    """Fewest and most constraints per prompt, as `prompts.constraints`. Null: two to four, or the starter's mixture."""
    kinds: ConstraintKinds | None = None
    """`verifiable`: kinds of the half that is drawn like the training prompts, as `prompts.kinds`; null: all."""
    samples: Annotated[int, Field(ge=1, le=64)] = 3
    """Answers per prompt."""
    actor: SamplingConfig = SamplingConfig(temperature=0.7)
    """How the actor is sampled."""
    refiner_items: Annotated[int, Field(ge=0)] = 200
    """Held-out answers of the first actor that the refiner judges; the failing ones it also repairs."""
    calibration_items: Annotated[int, Field(ge=0)] = 100
    """Answers of the iteration's own actor (half of them wrong), and as many rewrites of the first refiner, that the
    refiner also judges: its accuracy on its actor's mistakes, and its self-evaluation bias. 0: not measured."""
    seed: Annotated[int, Field(ge=0)] = 20_000
    """Seed of the held-out prompts and of sampling: the same for every iteration and run, so comparisons pair."""

    @model_validator(mode="after")
    def _kinds_are_drawn(self) -> Self:
        if self.kinds is not None and self.source != "verifiable":
            raise ValueError("evaluation.kinds is for evaluation.source=verifiable: set that, or leave it unset")
        return self


class PromotionConfig(FrozenConfig):
    """When a new model version becomes the champion of its lineage (docs/method.md). Both are measured on the same
    prompts with the same settings, and compared by the paired difference with its 95 % interval."""

    rule: Literal["not_worse", "better"] = "not_worse"
    """not_worse: promoted unless the interval lies below zero, or reaches further below it than `margin`; better:
    promoted where the interval lies above zero."""
    margin: Fraction = 0.05
    """`not_worse`: how far the candidate may truly lie below the champion, at the interval's lower bound (fraction). An
    interval wider than this promotes nothing but clear gains."""
    ability_margin: Fraction | None = None
    """The same for the actor on each general-ability task (GSM8K, TriviaQA, MMLU; fraction). Measured every iteration
    with lm-eval (extra `ability`), on the whole task; null: neither measured nor asked."""
    max_hack_rate_rise: Fraction | None = None
    """How far the actor's hack rate (answers that trip a wire, of those that meet every rule; fraction) may lie above
    the champion's: refused where it lies further above and the 95 % interval of the rise excludes zero; null: not
    asked."""
    continue_from: Literal["last", "champion"] = "last"
    """What an iteration goes on from: the models of the iteration before, or the champions of the lineage. The flow
    `iteration` takes another choice as `start_from`; the nightly deployment takes the champions."""


class HealthConfig(FrozenConfig):
    """When a run stops because what its models write cannot be used; changes no result and enters no key.

    A limit is the largest share that may be lost. The limits on votes, rewrites and answers already hold within a
    shard, as soon as so many were seen that chance cannot explain them; all hold before an iteration trains.
    """

    max_unreadable_votes: Fraction = 0.5
    """Share of the refiner's votes without a verdict that can be read."""
    max_unusable_rewrites: Fraction = 0.8
    """Share of the refiner's rewrites that are cut, empty or without the markers of an answer."""
    max_cut_answers: Fraction = 0.8
    """Share of the actor's answers that end at the token limit."""
    max_refused_prompts: Fraction = 0.5
    """Share of prompts that the actor's engine refuses."""
    max_undecided_answers: Fraction = 0.8
    """Share of answers on which the votes make no judgement."""
    min_pairs: Annotated[int, Field(ge=0)] = 1
    """Fewest preference pairs an iteration trains on; 0 goes on with none, and the actor stays as it is."""


class OrchestrationConfig(FrozenConfig):
    """How the work is spread; changes nothing in any result and enters no stage key."""

    shard_size: Annotated[int, Field(ge=1)] = 250
    """Records per Prefect task."""
    parallel_shards: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = "auto"
    """Shards of one stage running at once (their requests share the engine's batch). auto: two, and as many more as it
    takes until the model's servers have a quarter more requests than they bear, so that no shard's end leaves them
    idle."""
    placement: Literal["by_turns", "side_by_side"] = "by_turns"
    """by_turns: a model has all GPUs while it is asked, and goes when another is; side_by_side: two models stay on
    halves of them, so that neither is started anew between stages, but a stage that asks one leaves the other idle."""
    overlap: bool = True
    """Whether the next stage already asks about finished shards while the last ones of a stage leave the servers idle.
    Only where it needs no other model loaded, and no choice among all prompts lies between (docs/operation.md)."""
    trees_in_flight: Annotated[int, Field(ge=1)] = 2048
    """Searches open at once per shard."""
    requests_in_flight: Annotated[int, Field(ge=1)] = 4096
    """Requests awaiting the engine per shard."""
    shard_retries: Annotated[int, Field(ge=0, le=10)] = 1
    """Times a failed shard is tried again (finished completions are replayed)."""


class RunConfig(FrozenConfig):
    """One self-play run."""

    preset: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)] = "starter"
    """Name of the preset it was made from, or one of your own in your own file; the default run id begins with it."""
    profile: Literal["ours", "paper"] = "ours"
    """Which defaults the method has where published behaviour and ours differ."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Root of every derived seed."""
    iterations: Annotated[int, Field(ge=0, le=100)] = 3
    """Self-play iterations after the warm start."""
    models: ModelsConfig = ModelsConfig()
    """Where it starts."""
    engine: EngineConfig = TransformersEngineConfig()
    """What serves the models; `model` is filled in per stage."""
    prompts: PromptsConfig = PromptsConfig()
    """Self-play prompts."""
    warm_start: WarmStartConfig = WarmStartConfig()
    """Iteration 0."""
    method: MethodConfig = MethodConfig()
    """The SPaR method."""
    training: TrainingConfig = TrainingConfig()
    """DPO and SFT."""
    train_refiner: bool | None = None
    """Whether the refiner learns too; false keeps it frozen. Null: as the method does (docs/method.md): by RFT;
    under `self_rewarding` and `programmatic_refine` frozen, under `meta_rewarding` by DPO on pairs of judgements."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Measurements."""
    promotion: PromotionConfig = PromotionConfig()
    """The gate from candidate to champion."""
    health: HealthConfig = HealthConfig()
    """When a run stops for lack of anything to learn from."""
    probe: ProbeConfig = ProbeConfig()
    """Whether a model without a warm start keeps the forms it is asked for."""
    budget: BudgetConfig = BudgetConfig()
    """What it may spend."""
    tracking: TrackingConfig = TrackingConfig()
    """What MLflow is shown."""
    orchestration: OrchestrationConfig = OrchestrationConfig()
    """Shards and concurrency."""
    deployment: DeploymentConfig = DeploymentConfig()
    """Where `spar launch` starts it (docs/deployment.md)."""
    scale: ScaleConfig = ScaleConfig()
    """One machine, or several."""

    @model_validator(mode="after")
    def _engine_serves_what_is_trained(self) -> Self:
        if self.engine.kind == "openai":
            raise ValueError(
                "engine.kind `openai` cannot serve the models a run trains (its server holds fixed weights); use "
                "`vllm` (started per model) or `transformers`. A server is named where a model is named: "
                f"http://host/v1#MODEL&key=VARIABLE as method.judging.second_voter; {_OTHER_USES}"
            )
        return self

    @model_validator(mode="after")
    def _machines_can_meet(self) -> Self:
        launch = self.training.launch
        if launch.nodes > 1 and launch.rendezvous is None and self.scale.runner != "ray":
            raise ValueError(
                f"training.launch.nodes is {launch.nodes}: name where they meet, "
                "training.launch.rendezvous=HOST:PORT of the first of them, or use a Ray cluster (scale.runner=ray)"
            )
        return self

    @model_validator(mode="after")
    def _replicas_serve_something(self) -> Self:
        if self.scale.ray.replicas and self.engine.kind != "vllm":
            raise ValueError(
                f"scale.ray.replicas is {self.scale.ray.replicas}, but engine.kind `{self.engine.kind}` starts no "
                "servers: set engine.kind=vllm, or leave scale.ray.replicas at 0"
            )
        return self

    @model_validator(mode="after")
    def _roles_have_gpus_beside_each_other(self) -> Self:
        roles = self.engine.roles if isinstance(self.engine, VllmEngineConfig) else ServedRoles()
        if roles.divide_gpus and self.orchestration.placement != "side_by_side":
            raise ValueError(
                "engine.roles gives GPUs to roles, but orchestration.placement is `by_turns`: "
                "set orchestration.placement=side_by_side, or leave engine.roles.*.gpus unset"
            )
        if roles.divide_gpus and self.method.judging.second_voter == "first":
            raise ValueError(
                "method.judging.second_voter `first` is a third model, and engine.roles gives GPUs to two: leave "
                "engine.roles.*.gpus unset"
            )
        if self.scale.ray.replicas and any(own.gpus or own.replicas for own in (roles.actor, roles.refiner)):
            raise ValueError(
                f"scale.ray.replicas is {self.scale.ray.replicas} for every model of the cluster: leave "
                "engine.roles.*.replicas and engine.roles.*.gpus unset"
            )
        return self

    @model_validator(mode="after")
    def _rules_teach_only_where_named(self) -> Self:
        found = []
        if self.warm_start.source == "rules":
            found.append("warm_start.source=rules")
        if self.rules_of_method():
            found.append(f"method.pairs.method={self.method.pairs.method}")
        if not found:
            return self
        if self.profile == "paper":
            raise ValueError(
                f"{found[0]} puts rule truth into training data, which the published method does not: "
                "choose another, or profile=ours"
            )
        if self.prompts.source == "taxonomy":
            raise ValueError(
                f"{found[0]} needs prompts with constraints that code can check, and prompts.source `taxonomy` brings "
                "none; set prompts.source=verifiable, or name a file whose prompts hold constraints (docs/data.md)"
            )
        return self

    @model_validator(mode="after")
    def _online_methods_have_what_they_need(self) -> Self:
        if not self.method.reinforces():
            return self
        check_spread(self.training.grpo, self.training.launch)
        if self.training.grpo.reward == "judged" and self.method.judging.second_voter is not None:
            raise ValueError(
                "training.grpo.reward `judged` asks the refiner alone, inside the training: leave "
                "method.judging.second_voter unset"
            )
        if self.method.pairs.tokens is not None and self.training.grpo.schedule != "constant_with_warmup":
            raise ValueError(
                f"training.grpo.schedule `{self.training.grpo.schedule}` falls towards a last step, and with "
                "method.pairs.tokens nobody knows which that is: set training.grpo.schedule=constant_with_warmup"
            )
        reached = {self.method.at(number).name for number in range(1, self.iterations + 1)}
        for phase in self.method.chosen().phases:
            if reached and phase.name not in reached:
                raise ValueError(
                    f"method.pairs.method={self.method.pairs.method} does not come to {phase.name} within "
                    f"{self.iterations} iterations: raise iterations, or lower method.pairs.grpo_from"
                )
        if self.train_refiner and not self.method.makes_pairs():
            raise ValueError(
                f"train_refiner is true, but method.pairs.method={self.method.pairs.method} makes nothing that a "
                "refiner could learn from: leave train_refiner unset"
            )
        return self

    def engine_of(self, role: ModelRole) -> EngineConfig:
        """What serves the models of a role."""
        return self.engine.for_role(role) if isinstance(self.engine, VllmEngineConfig) else self.engine

    def rules_of_method(self) -> list[str]:
        """How the method itself lets rule truth into what is learned: a sentence each; none where it does not."""
        from spar_core.methods.plugin import OnlineMethod

        judged = self.training.grpo.reward == "judged"
        phases = self.method.chosen().phases
        return [
            each.rules_note for each in phases if each.rules_note and not (judged and isinstance(each, OnlineMethod))
        ]

    def refiner_learns_by(self) -> Literal["rft", "dpo"] | None:
        """How the refiner learns; None where it is frozen."""
        own = self.method.chosen().refiner_learns_by
        if self.train_refiner is None:
            return own
        return (own or "rft") if self.train_refiner else None

    def trainings(self) -> dict[str, OptimisationConfig]:
        """The trainings of this run, by their names in `training`."""
        training, warm = self.training, self.warm_start.source != "none"
        found: dict[str, OptimisationConfig] = {}
        if warm:
            found |= {"warm_start_actor": training.warm_start_actor, "warm_start_refiner": training.warm_start_refiner}
        if self.iterations and self.method.reinforces():
            found["grpo"] = training.grpo
        if self.iterations and self.method.makes_pairs():
            found["actor"] = training.actor
            if self.refiner_learns_by() == "rft":
                found["refiner"] = training.refiner
            elif self.refiner_learns_by() == "dpo":
                found["judge"] = training.judge_training()
        return found

    def results_digest(self) -> str:
        """Digest of what tells runs apart: not how the work is spread, nor the hardware (`config.run_identity`)."""
        return digest(naming(self.model_dump(mode="json")))

    def default_run_id(self) -> str:
        """Run id used unless one is given: the same configuration names the same run."""
        return f"{self.preset}-{self.results_digest()[:8]}"
