"""The prompts of a run: drawn, read or evolved, never twice the same in one run.

Numbers of seeds or rows: those of a teacher's warm start come first, then iteration after iteration, so that each seed
is used once where there are enough. Evolution asks one model, before the first iteration trains anything.
"""

import logging
from typing import Any, get_args

from flows.wiring.models import ModelFinder, Served
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner, data_ref, file_ref, plain
from spar_core.data.pass_rates import pass_rates
from spar_core.errors import ConfigError, EngineError
from spar_core.records import ModelRole
from spar_core.synthesis.following import Drawing, next_drawing
from spar_core.synthesis.verifiable import COUNTS
from storage.artifacts import ArtifactRef
from tasks.calls import FileRef
from tasks.engines import ModelRef
from tasks.prompts import BENCHMARK, PROMPTS
from tasks.runtime import Runtime

_log = logging.getLogger(__name__)
EVOLVER = "evolver"


class RunPrompts:
    """The prompts of one run. Use it inside a flow."""

    def __init__(self, run: Run, stages: StageRunner, finder: ModelFinder) -> None:
        self._run = run
        self._config = run.config.prompts
        self._warm = run.config.warm_start
        self._stages = stages
        self._finder = finder
        self._known: dict[int | ModelRole, ArtifactRef] = {}
        self._served: Served | None = None
        self._missing: ConfigError | EngineError | None = None

    def of_iteration(self, number: int) -> ArtifactRef:
        """The self-play prompts of an iteration (from 1), which are none of those before it."""
        return self._run_for(number)

    def of_warm_start(self, role: ModelRole) -> ArtifactRef:
        """The prompts that a teacher's, or the rules', examples for a role are made of, which are none of self-play."""
        return self._run_for(role)

    def evolve_up_front(self) -> None:
        """Evolve the prompts of all configured iterations, where they are evolved: before anything is trained."""
        if self._config.source == "taxonomy":
            for number in range(1, self._run.config.iterations + 1):
                self._run_for(number)

    def _run_for(self, place: int | ModelRole, *, earlier: bool = False) -> ArtifactRef:
        """The prompts of an iteration or a role.

        `earlier`: they are wanted because a later place must not repeat them; what is there is then not entered again.
        """
        iteration, stage = (place, PROMPTS) if isinstance(place, int) else (0, PROMPTS.named(f"warm_start_{place}"))
        try:
            models = self._evolver()
        except (ConfigError, EngineError) as error:
            found = completed(self._run, stage.name, iteration)
            if found is None:
                raise
            _log.warning("prompts.evolver cannot be asked, and need not be: the run has these prompts (%s)", error)
            return found
        reads: dict[str, Any] = {"iteration": iteration, "prompts": self._reads(place)}
        if skip := self._skipped(place):
            reads["skip"] = skip
        if models:
            reads |= self._stages.templates("evolve")
        if isinstance(place, int) and (drawing := self._drawing(place)) is not None:
            reads["drawing"] = drawing.plain()
        before = {f"prompts_{other}": self._earlier(other) for other in self._before(place)}
        call = self._stages.call(stage, iteration, before, models, reads, files=self._files())
        return (stage.finished(call) if earlier else None) or self._stages.made(stage, call)

    def _earlier(self, place: int | ModelRole) -> ArtifactRef:
        if place not in self._known:
            self._known[place] = self._run_for(place, earlier=True)
        return self._known[place]

    def _reads(self, place: int | ModelRole) -> dict[str, Any]:
        """What the stage reads of `prompts`: what lies in files and who evolves count by content, not by name."""
        reads = plain(self._config)
        for name in ("path", "decontaminate", "evolver", "following"):
            reads.pop(name, None)
        if self._config.constraints is None:
            reads.pop("constraints")  # the key came later: keys of stages are as they were
        if self._config.source == "file":
            reads["path"] = ""
        if isinstance(place, str):
            reads["per_iteration"] = self._counts()[place]
        return reads

    def _drawing(self, number: int) -> Drawing | None:
        """How the prompts of an iteration are drawn where they follow the model: by the judgements of the one before.

        None where they do not, and for the first, which is drawn as configured.
        """
        following = self._config.following
        if following is None or number < 2 or not self._config.draws_constraints:
            return None
        before, run = number - 1, self._run
        answers, verdicts = (completed(run, stage, before) for stage in ("responses", "judgements"))
        if answers is None or verdicts is None:
            # Not made yet (a plan), never (a method without judgements), or collected since: what was drawn stands.
            return self._drawn(number) or self._drawn(before) or self._configured()
        prompts = self._earlier(before)
        last = _recorded(prompts) or self._configured()
        rates = pass_rates(answers.read("responses"), verdicts.read("judgements"))
        drawing = next_drawing(last, prompts.read("prompts"), rates, following)
        _log.info("prompts of iteration %d carry %d to %d constraints", number, *drawing.counts)
        return drawing

    def _drawn(self, number: int) -> Drawing | None:
        """How the prompts of an iteration were drawn, where this run has made them and the model decided it."""
        made = completed(self._run, PROMPTS.name, number)
        return None if made is None else _recorded(made)

    def _configured(self) -> Drawing:
        return Drawing(self._config.constraints or COUNTS)

    def _files(self) -> dict[str, FileRef]:
        files: dict[str, FileRef] = {}
        if self._config.path is not None and self._config.source != "starter":
            files["prompts"] = data_ref(self._config.path)
        return files | self._benchmark_files()

    def _counts(self) -> dict[ModelRole, int]:
        """Prompts of a teacher's or the rules' warm start; none where nobody teaches."""
        return {"actor": self._warm.prompts_for("actor"), "refiner": self._warm.prompts_for("refiner")}

    def _skipped(self, place: int | ModelRole) -> int:
        """Numbers used before the first iteration, or before this role's prompts."""
        counts = self._counts()
        return {"actor": 0, "refiner": counts["actor"]}.get(str(place), sum(counts.values()))

    def _before(self, place: int | ModelRole) -> list[int | ModelRole]:
        order: list[int | ModelRole] = [role for role in get_args(ModelRole) if self._counts()[role]]
        if isinstance(place, str):
            return order[: order.index(place)]
        return [*order, *range(1, place)]

    def _evolver(self) -> dict[str, ModelRef]:
        """Who evolves the prompts, by role; nobody where they are not evolved.

        Raises:
            ConfigError: the variable of its key is not set.
            EngineError: there is no such model, or its server does not answer.
        """
        if self._config.source != "taxonomy":
            return {}
        if self._missing is not None:
            raise self._missing
        if self._served is None:
            try:
                self._served = self._named_evolver()
            except (ConfigError, EngineError) as error:
                self._missing = error
                raise
            self._stages.serve(EVOLVER, self._served.engine)
        return {EVOLVER: self._served.model}

    def _named_evolver(self) -> Served:
        if self._config.evolver is not None:
            return self._finder.served(self._config.evolver)
        _log.warning(
            "the base actor itself evolves the prompts; published: a stronger model, once (name one in prompts.evolver)"
        )
        return Served(self._finder.base(self._run).actor, self._run.config.engine_of("actor"))

    def _benchmark_files(self) -> dict[str, FileRef]:
        """The data to decontaminate with.

        Raises:
            DataError: as `StageRunner.benchmark_data` says.
        """
        chosen = self._config.decontaminate
        if chosen is None:
            return {}
        if not isinstance(chosen, tuple):
            return {"benchmarks": file_ref(chosen)}
        return {f"{BENCHMARK}{name}": self._stages.benchmark_data(name) for name in chosen}


def _recorded(prompts: ArtifactRef) -> Drawing | None:
    known = prompts.manifest().config.get("drawing")
    return None if known is None else Drawing.of(known)


def completed(run: Run, stage: str, iteration: int) -> ArtifactRef | None:
    """The artifact of a stage that a run, as it is configured now, has by its ledger; None where it has none."""
    runtime = Runtime.of(str(run.home.root))
    for entry in runtime.ledger.stages(run.run_id):
        if (entry.stage, entry.iteration, entry.state) == (stage, iteration, "completed") and not entry.collected:
            return runtime.store.get(stage, entry.stage_key)
    return None
