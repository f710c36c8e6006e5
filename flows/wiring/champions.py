"""Which of an iteration's models become champions, and which models a run and its iterations start from."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from prefect.runtime import flow_run

from flows.wiring.handovers import Models
from flows.wiring.measuring import Measurement, is_measured
from flows.wiring.request import Run
from spar_core.engines.model_reference import is_registered
from spar_core.errors import ConfigError, SparError
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from storage.entries import ModelEntry, Promotion, Start
from storage.remote_artifacts import bring_model
from tasks.engines import ModelRef
from tasks.gate import Candidate, Comparison, Contest, champion_of, is_decided, promote_models
from tasks.models import resolve_model
from tasks.runtime import Runtime

_log = logging.getLogger(__name__)
StartFrom = Literal["last", "champion"]


def decide(
    run: Run, measurement: Measurement, iteration: int, candidates: Sequence[Candidate], first: Models
) -> list[Promotion]:
    """Let the gate decide on an iteration's models; champions are measured where they were not. Call it inside a flow.

    Args:
        run: the run.
        measurement: measures its models.
        iteration: the iteration that made the candidates.
        candidates: its registered models.
        first: the models after the warm start, see `Measurement.evaluate`.
    """
    home = str(run.home.root)
    contests = [
        Contest(candidate, None)
        if is_decided(home, run.run_id, candidate)
        else _contest(run, measurement, iteration, candidate, first)
        for candidate in candidates
    ]
    return promote_models(home, run.run_id, iteration, contests, run.config.promotion)


def decide_late(run: Run, measurement: Measurement, iteration: int, first: Models) -> None:
    """What the gate still has to say on an iteration that ended before it did. Takes the arguments of `decide`."""
    ledger = Runtime.of(str(run.home.root)).ledger
    newest = {entry.role: entry for entry in ledger.current_models(run.run_id) if entry.iteration == iteration}
    if all(ledger.promotion(run.run_id, role, entry.version) for role, entry in newest.items()):
        return
    made = [Candidate(role, entry.version, _model(run, entry)) for role, entry in newest.items()]
    decide(run, measurement, iteration, made, first)


def _contest(run: Run, measurement: Measurement, iteration: int, candidate: Candidate, first: Models) -> Contest:
    role, _, model = candidate
    own = measurement.for_gate(iteration, role, model, first)
    reigning = champion_of(str(run.home.root), run.run_id, role)
    if reigning is None:
        return Contest(candidate, None, Comparison(own, None))
    if not bring_model(reigning.path) and reigning.digest != model.digest:
        gone = f"the weights of champion {role}/{reigning.version} are gone ({reigning.path})"
        return Contest(candidate, None, Comparison(own, None, gone), gone=reigning.version)
    champion = Candidate(role, reigning.version, ModelRef(reigning.digest, str(reigning.path)))
    if own is None:
        off = "evaluation.refiner_items is 0" if run.config.evaluation.enabled else "evaluation.enabled is off"
        return Contest(candidate, champion, Comparison(None, None, f"nothing was measured to compare it by: {off}"))
    if reigning.digest == model.digest:
        return Contest(candidate, champion, Comparison(own, None))
    theirs = _measured(own, lambda: measurement.of_champion(iteration, role, champion.model, first))
    ability = None
    if role == "actor" and run.config.promotion.ability_margin is not None:
        ability = _measured(measurement.ability(iteration, model), lambda: measurement.ability(None, champion.model))
    return Contest(candidate, champion, theirs, ability)


def _measured(own: ArtifactRef | None, champions: Callable[[], ArtifactRef | None]) -> Comparison:
    """A champion that cannot be measured leaves the candidate registered, not the run failed."""
    try:
        return Comparison(own, champions())
    except SparError as error:
        _log.warning("a champion could not be measured: %s", error)
        return Comparison(own, None, f"it could not be measured ({error})")


def starting_models(run: Run, number: int, last: Models | None, start_from: StartFrom | None = None) -> Models:
    """The models that an iteration goes on from; one that has begun goes on from what it began with.

    Args:
        run: the run.
        number: the iteration.
        last: the models of the iteration before it.
        start_from: instead of `promotion.continue_from`.

    Raises:
        ConfigError: the iteration before it is not complete, or models it began with are gone.
    """
    ledger = Runtime.of(str(run.home.root)).ledger
    made = ledger.current_models(run.run_id)
    begun = _begun(run, number, made)
    if begun is not None:
        ledger.record_start(begun.model_copy(update={"flow_run": flow_run.id}))
    if begun is not None and begun.start_from == "champion":
        return Models(_registered(run, begun.actor), _registered(run, begun.refiner))
    if last is None:
        raise ConfigError(f"iteration {number} of run {run.run_id} needs iteration {number - 1} first")
    is_made = begun is not None or any(entry.iteration == number for entry in made)
    chosen = "last" if is_made else start_from or run.config.promotion.continue_from
    models = last
    if chosen == "champion":
        actor = _champion(run, "actor") or last.actor
        models = Models(actor, actor if run.config.models.shared else _champion(run, "refiner") or last.refiner)
    if begun is None:
        of = {"actor": models.actor.digest, "refiner": models.refiner.digest, "flow_run": flow_run.id}
        ledger.record_start(Start(run_id=run.run_id, iteration=number, start_from=chosen, **of))
    return models


def base_models(run: Run) -> Models:
    """What a run starts from. An alias such as actor@champion means what it meant when the run began.

    The run's own models may become champions, and it is not to begin again from those when it is resumed.

    Raises:
        EngineError: there is no such model.
        ConfigError: a model it began with is gone.
    """
    named = (run.config.models.actor, run.config.models.refiner or run.config.models.actor)
    if not any(map(_is_alias, named)):
        return Models(*(resolve_model(name, run.home) for name in named))
    ledger, said = Runtime.of(str(run.home.root)).ledger, " ".join(named)
    begun = ledger.start(run.run_id, 0)
    if begun is None or begun.named != said:
        found = Models(*(resolve_model(name, run.home) for name in named))
        begun = Start(
            run_id=run.run_id, iteration=0, actor=found.actor.digest, refiner=found.refiner.digest, named=said
        )
        ledger.record_start(begun)
    kept = (begun.actor, begun.refiner)
    return Models(
        *(
            _registered(run, digest) if _is_alias(name) else resolve_model(name, run.home)
            for name, digest in zip(named, kept, strict=True)
        )
    )


def _is_alias(name: str) -> bool:
    return is_registered(name) and "@" in name


def _begun(run: Run, number: int, made: Sequence[ModelEntry]) -> Start | None:
    """What an iteration began with; a model this run made before it was begun anew does not count."""
    ledger = Runtime.of(str(run.home.root)).ledger
    begun = ledger.start(run.run_id, number)
    if begun is None:
        return None
    superseded = {entry.digest for entry in ledger.models(run.run_id)} - {entry.digest for entry in made}
    superseded -= {entry.digest for entry in ledger.models() if entry.run_id != run.run_id}
    return None if superseded & {begun.actor, begun.refiner} else begun


def _champion(run: Run, role: ModelRole) -> ModelRef | None:
    """None also where the role is not measured: its first champion would stay for ever."""
    if not is_measured(run.config.evaluation, role):
        _log.warning("the %s is not measured, so it goes on from the last one, not from a champion", role)
        return None
    found = champion_of(str(run.home.root), run.run_id, role)
    if found is not None and not bring_model(found.path):
        _log.warning("the weights of champion %s/%d are gone: it goes on from the last one", role, found.version)
        return None
    return None if found is None else ModelRef(found.digest, str(found.path))


def _registered(run: Run, digest: str) -> ModelRef:
    known = (entry for entry in Runtime.of(str(run.home.root)).ledger.models() if entry.digest == digest)
    there = [model for model in (_model(run, entry) for entry in known) if bring_model(Path(model.location))]
    if not there:
        raise ConfigError(f"the model {digest} that this began with is gone; start the run under another id")
    return there[-1]


def _model(run: Run, entry: ModelEntry) -> ModelRef:
    return ModelRef(entry.digest, str(run.home.located(entry.uri)))
