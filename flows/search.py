"""Tree search over any prompts with any models: the flow behind `spar search`."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict, Field

from flows.models import Patience, Served, default_configuration, served_model
from flows.publishing import stages_shown
from flows.runs import RunPlan, opened_run
from flows.stage_calls import content_reference, plain
from spar_core.config.loading import load_config
from spar_core.config.run import RunConfig
from spar_core.hashing import digest
from spar_core.prompts import PromptLibrary
from storage.artifacts import ArtifactRef
from storage.home import Home
from tasks.calls import StageCall, Surroundings
from tasks.engines import ModelRef
from tasks.judgements import JUDGEMENTS
from tasks.negatives import NEGATIVES
from tasks.search_inputs import SEARCH_PROMPTS, SEARCH_RESPONSES
from tasks.stages import Stage
from tasks.trees import TREES

# Prefect types its own decorator for another runner than the one it ships.
_RUNNER: Any = ThreadPoolTaskRunner(max_workers=64)  # at most: orchestration.parallel_shards run at once


class SearchRequest(BaseModel):
    """What to search, with which models, as which method."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    prompts: str
    """JSON lines or Parquet of {"prompt"} rows, with "response" where an answer is given."""
    actor: str | None
    """Who answers; null: every prompt comes with its answer."""
    refiner: str
    """Who judges and rewrites."""
    home: str
    """Home folder of the artifacts."""
    preset: str | None = None
    """Configuration to take the method from; null: what suits the refiner."""
    config_file: str | None = None
    """A YAML file of the same."""
    overrides: tuple[str, ...] = ()
    """`key.path=value` strings."""
    skip_bad: bool = False
    """Record broken rows as drops instead of stopping at the first."""
    timeout_s: float | None = Field(default=None, gt=0, le=86400)
    """Seconds per request to a server given by its address; null: the engine's default."""
    retries: int | None = Field(default=None, ge=0, le=100)
    """Further attempts at such a server; null: the engine's default."""

    def configuration(self) -> RunConfig:
        """The configuration whose `method`, `engine` and `seed` count here."""
        if self.preset is None and self.config_file is None:
            suitable = default_configuration(self.refiner, Home(self.home))
            return load_config(base=suitable, overrides=self.overrides)
        file = Path(self.config_file) if self.config_file else None
        return load_config(self.preset, file, self.overrides)


class SearchTables(BaseModel):
    """The artifacts of a search."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    run_id: str
    artifacts: dict[str, Any]


@flow(name="search", flow_run_name="search", task_runner=_RUNNER)
def search(request: SearchRequest) -> SearchTables:
    """Answer, judge and search; every stage is cached, so the same request resumes.

    Raises:
        SparError: a prompts file, model or server that cannot be used.
    """
    home, config = Home(request.home), request.configuration()
    patience = Patience(request.timeout_s, request.retries)
    refiner = served_model(request.refiner, home, config.engine, patience)
    actor = served_model(request.actor, home, config.engine, patience) if request.actor else None
    identity = request.model_dump(mode="json", exclude={"timeout_s", "retries"})  # patience changes no result
    run_id = f"search-{digest([identity, config.results_digest()])[:8]}"
    plan = RunPlan(home, run_id, config.model_dump(mode="json"), "run", tracked=False)
    with opened_run(plan), stages_shown(home, run_id, 0, tracked=False):
        artifacts = _Search(home, run_id, config, actor, refiner).run(request)
    return SearchTables(run_id=run_id, artifacts=artifacts)


class _Search:
    def __init__(self, home: Home, run_id: str, config: RunConfig, actor: Served | None, refiner: Served) -> None:
        self._home = home
        self._run_id = run_id
        self._config = config
        self._actor = actor
        self._refiner = refiner
        self._library = PromptLibrary.load(config.method.prompt_set)

    def run(self, request: SearchRequest) -> dict[str, ArtifactRef]:
        method = self._config.method
        file = {"file": content_reference(request.prompts)}
        prompts = self._stage(SEARCH_PROMPTS, {}, file, {"skip_bad": request.skip_bad})
        answering = {} if self._actor is None else {"actor": self._actor.model}
        sampling = {"responses": plain(method.responses)}
        responses = self._stage(SEARCH_RESPONSES, {"prompts": prompts}, answering, sampling)
        answered = {"prompts": prompts, "responses": responses}
        refiner = {"refiner": self._refiner.model}
        alone = method.judging.model_copy(update={"second_voter": None})  # one refiner is given, it votes alone
        judging = {"judging": plain(alone), "templates": self._library.digest_of("judge")}
        judgements = self._stage(JUDGEMENTS, answered, refiner, judging)
        judged = {**answered, "judgements": judgements}
        roots = self._stage(NEGATIVES, judged, {}, {"max_negatives": method.pairs.max_negatives})
        searching = {
            **judging,
            "refinement": plain(method.refinement),
            "search": plain(method.search),
            "templates": self._library.digest_of("judge", "refine"),
        }
        anchors = {"prompts": prompts} if method.judging.anchor == "verifier" else {}
        trees = self._stage(TREES, {"roots": roots, **anchors}, refiner, searching)
        return {**judged, "roots": roots, "trees": trees}

    def _stage(
        self, stage: Stage, inputs: dict[str, ArtifactRef], models: dict[str, ModelRef], config: dict[str, Any]
    ) -> ArtifactRef:
        engines = {"refiner": self._refiner.engine}
        if self._actor is not None:
            engines["actor"] = self._actor.engine
        call = StageCall(
            stage=stage.name,
            version=stage.version,
            home=str(self._home.root),
            run_id=self._run_id,
            iteration=0,
            seed=self._config.seed,
            inputs=inputs,
            models=models,
            config=config,
            surroundings=Surroundings(
                engines=engines,
                orchestration=self._config.orchestration,
                prompt_set=self._config.method.prompt_set,
            ),
        )
        return stage.run(call, parts=stage.parts(inputs))
