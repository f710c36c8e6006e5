"""Tree search over any prompts with any models: the flow behind `spar search`."""

from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows.showing.publishing import stages_shown
from flows.wiring.models import SERVER_OPTIONS, ModelFinder, Served, ServerOptions, check_options, default_configuration
from flows.wiring.request import Override, Reference, Run
from flows.wiring.runs import RunPlan, opened_run
from flows.wiring.stage_calls import StageRunner, data_ref, plain
from spar_core.config.loading import load_config
from spar_core.config.run import RunConfig
from spar_core.hashing import digest
from spar_core.search.shares import SHOWN
from storage.artifacts import ArtifactRef
from storage.home import Home
from tasks.judgements import JUDGEMENTS
from tasks.negatives import NEGATIVES
from tasks.runners import THREADS
from tasks.search_inputs import SEARCH_PROMPTS, SEARCH_RESPONSES
from tasks.trees import TREES


class SearchRequest(BaseModel):
    """What to search, with which models, as which method."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    prompts: str
    """File, folder or hub name of {"prompt"} rows, with "response" where an answer is given (docs/data.md)."""
    actor: Reference | None
    """Who answers; null: every prompt comes with its answer."""
    refiner: Reference
    """Who judges and rewrites."""
    home: str
    """Home folder of the artifacts."""
    preset: str | None = None
    """Configuration to take the method from; null: what suits the refiner."""
    config_file: str | None = None
    """A YAML file of the same."""
    overrides: tuple[Override, ...] = ()
    """`key.path=value` strings."""
    skip_bad: bool = False
    """Record broken rows as drops instead of stopping at the first."""
    timeout_s: float | None = Field(default=None, gt=0, le=86400)
    """Seconds per request to a server given by its address; null: the engine's default."""
    retries: int | None = Field(default=None, ge=0, le=100)
    """Further attempts at such a server; null: the engine's default."""
    max_wait_s: float | None = Field(default=None, gt=0, le=604800)
    """Seconds a request may be put off in all while such a server is busy; null: the engine's default."""
    fresh: bool = False
    """Take servers for new ones: nothing they answered earlier is reused."""
    model_digest: str | None = Field(default=None, min_length=1)
    """Identity of the weights of the one server that is named; null: found by asking it."""

    def servers(self) -> ServerOptions:
        """What is said of the servers that are named.

        Raises:
            ConfigError: one identity is stated for several servers, or for none.
        """
        options = ServerOptions(self.timeout_s, self.retries, self.max_wait_s, self.fresh, self.model_digest)
        check_options(options, (self.actor, self.refiner))
        return options

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


@flow(name="search", flow_run_name="search", task_runner=THREADS)
def search(request: SearchRequest) -> SearchTables:
    """Answer, judge and search; every stage is cached, so the same request resumes.

    Raises:
        SparError: a prompts file, model or server that cannot be used.
    """
    home, config = Home(request.home), request.configuration()
    finder = ModelFinder(home, config.engine, request.servers())
    refiner = finder.served(request.refiner)
    actor = finder.served(request.actor) if request.actor else None
    asked = request.model_dump(mode="json", exclude={"actor", "refiner", *SERVER_OPTIONS})
    if home.remote is not None:
        asked["home"] = home.address  # every machine works in a folder of its own
    models = [served.model.digest for served in (actor, refiner) if served]
    run_id = f"search-{digest([asked, models, config.results_digest()])[:8]}"
    plan = RunPlan(home, run_id, config.model_dump(mode="json"), "run", tracked=False)
    with opened_run(plan), stages_shown(home, run_id, 0, tracked=False):
        artifacts = _searched(request, Run(home, run_id, config), actor, refiner)
    return SearchTables(run_id=run_id, artifacts=artifacts)


def _searched(request: SearchRequest, run: Run, actor: Served | None, refiner: Served) -> dict[str, ArtifactRef]:
    stages, method = StageRunner(run, {}), run.config.method
    for role, served in (("refiner", refiner), *([("actor", actor)] if actor else [])):
        stages.serve(role, served.engine)
    reads = {"skip_bad": request.skip_bad}
    prompts = stages.run(SEARCH_PROMPTS, 0, config=reads, files={"prompts": data_ref(request.prompts)})
    answering = {} if actor is None else {"actor": actor.model}
    sampling = {"responses": plain(method.responses)}
    responses = stages.run(SEARCH_RESPONSES, 0, {"prompts": prompts}, answering, sampling)
    answered = {"prompts": prompts, "responses": responses}
    judges = {"refiner": refiner.model}
    alone = method.judging.model_copy(update={"second_voter": None})  # one refiner is given, it votes alone
    judging = {"judging": plain(alone), **stages.templates("judge")}
    judged = {**answered, "judgements": stages.run(JUDGEMENTS, 0, answered, judges, judging)}
    roots = stages.run(NEGATIVES, 0, judged, config={"max_negatives": method.pairs.max_negatives})
    searching = {
        **judging,
        "refinement": plain(method.refinement),
        "search": plain(method.search),
        **stages.templates("judge", "refine"),
    }
    if method.search.votes_asked == "until_decided":
        searching["uses"] = SHOWN._asdict()
    trees = stages.run(TREES, 0, {"roots": roots, **stages.read_by_judges(prompts, method.judging)}, judges, searching)
    return {**judged, "roots": roots, "trees": trees}
