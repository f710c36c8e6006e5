"""Which of an iteration's models become champions, and which models an iteration goes on from."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from flows.handovers import Models
from flows.measuring import Measurement, is_measured
from flows.request import Run
from spar_core.errors import ConfigError, SparError
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from storage.ledger import Ledger, Promotion, Start
from tasks.engines import ModelRef
from tasks.gate import Candidate, Comparison, Contest, champion_of, is_decided, promote_models
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
    newest = {entry.role: entry for entry in ledger.models(run.run_id) if entry.iteration == iteration}
    if all(ledger.promotion(run.run_id, role, entry.version) for role, entry in newest.items()):
        return
    made = [Candidate(role, entry.version, ModelRef(entry.digest, entry.uri)) for role, entry in newest.items()]
    decide(run, measurement, iteration, made, first)


def _contest(run: Run, measurement: Measurement, iteration: int, candidate: Candidate, first: Models) -> Contest:
    role, _, model = candidate
    own = measurement.for_gate(iteration, role, model, first)
    reigning = champion_of(str(run.home.root), run.run_id, role)
    if reigning is None:
        return Contest(candidate, None, Comparison(own, None))
    if not reigning.path.is_dir() and reigning.digest != model.digest:
        gone = f"the weights of champion {role}/{reigning.version} are gone ({reigning.path})"
        return Contest(candidate, None, Comparison(own, None, gone))
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
    """The models that an iteration goes on from; one that began with champions goes on with those it began with.

    Args:
        run: the run.
        number: the iteration.
        last: the models of the iteration before it.
        start_from: instead of `promotion.continue_from`.

    Raises:
        ConfigError: the iteration before it is not complete, or models it began with are gone.
    """
    ledger = Runtime.of(str(run.home.root)).ledger
    begun = ledger.start(run.run_id, number)
    if begun is not None:
        return Models(_registered(ledger, begun.actor), _registered(ledger, begun.refiner))
    if last is None:
        raise ConfigError(f"iteration {number} of run {run.run_id} needs iteration {number - 1} first")
    is_made = any(entry.iteration == number for entry in ledger.models(run.run_id))
    if is_made or (start_from or run.config.promotion.continue_from) == "last":
        return last
    models = Models(_champion(run, "actor") or last.actor, _champion(run, "refiner") or last.refiner)
    start = Start(run_id=run.run_id, iteration=number, actor=models.actor.digest, refiner=models.refiner.digest)
    ledger.record_start(start)
    return models


def _champion(run: Run, role: ModelRole) -> ModelRef | None:
    """None also where the role is not measured: its first champion would stay for ever."""
    if not is_measured(run.config.evaluation, role):
        _log.warning("the %s is not measured, so it goes on from the last one, not from a champion", role)
        return None
    found = champion_of(str(run.home.root), run.run_id, role)
    return None if found is None else ModelRef(found.digest, str(found.path))


def _registered(ledger: Ledger, digest: str) -> ModelRef:
    places = [entry.uri for entry in ledger.models() if entry.digest == digest and Path(entry.uri).is_dir()]
    if not places:
        raise ConfigError(f"the model {digest} that this iteration began with is gone; start the run under another id")
    return ModelRef(digest, places[-1])
