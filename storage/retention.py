"""What of a home is kept: by count and age, for pins and champions, and for what is not finished.

The unit is a night: one iteration of one run (iteration null: what belongs to the run as a whole).

- A run is kept while it is among the newest or young, or unfinished or pinned: these keep all nights.
- A finished run keeps its start, its newest nights, and those whose model is a champion or pinned; of the others only
  the scores. A run that is not kept keeps the nights of such models.
- A kept night keeps its artifacts and all they were made from, but not the models that earlier nights trained: those go
  by the same rule. An unfinished run also keeps the models it works with.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from storage.home import Home
from storage.ledger import Ledger, ModelEntry, Run, StageRun, utc_now
from storage.manifests import Manifest
from storage.pins import Pins

Night = tuple[str, int | None]
StageKey = tuple[str, str]
_SCORES = "eval_scores"


class Retention(NamedTuple):
    """How much of what is finished is kept."""

    runs: int
    """Newest finished runs."""
    days: float
    """Finished runs not older than this are kept too; logs of other kinds go by it alone."""
    models: int
    """Newest nights of a finished run, each with the models it trained."""


class Kept(NamedTuple):
    """What stays: runs, nights, artifacts by (stage, key), and the keys that unfinished stages go on from."""

    runs: frozenset[str]
    nights: frozenset[Night]
    artifacts: frozenset[StageKey]
    unfinished: frozenset[StageKey]
    finished_before: datetime


def kept(home: Home, manifests: Mapping[StageKey, Manifest], retention: Retention, champions: frozenset[str]) -> Kept:
    """Decide what stays. `champions`: model versions that an alias of champions names, as `name/version`."""
    ledger, pins = Ledger(home), Pins.of(home)
    runs, models = ledger.runs(), ledger.models()
    unfinished = {run.run_id for run in runs if run.state != "completed"}
    # What an unfinished run had done under an earlier configuration it may do again.
    earlier = [stage for stage in ledger.stages(superseded=True) if stage.run_id in unfinished]
    stages = earlier + [stage for stage in ledger.stages() if stage.run_id not in unfinished]
    before = utc_now() - timedelta(days=retention.days)
    whole = unfinished | pins.runs
    finished = sorted((run for run in runs if run.run_id not in whole), key=_ended, reverse=True)
    chosen = {run.run_id for place, run in enumerate(finished) if place < retention.runs or _ended(run) >= before}
    nights = {_night(stage) for stage in stages} | {_night(model) for model in models}
    staying = {night for night in nights if night[0] in whole}
    staying |= {night for run_id in chosen for night in _newest(nights, run_id, retention)}
    staying |= {_night(model) for model in models if f"{model.name}/{model.version}" in champions | pins.models}
    wanted = {(stage.stage, stage.stage_key) for stage in stages if _night(stage) in staying}
    wanted |= _trained_by(models, staying, manifests)
    wanted |= _models_of(whole, stages, models, manifests)
    wanted |= _named_by(home, [run for run in runs if run.run_id in whole | chosen], manifests)
    artifacts = _closure(wanted, manifests)
    artifacts |= {
        (stage.stage, stage.stage_key)
        for stage in stages
        if stage.run_id in whole | chosen and _holds_scores(manifests.get((stage.stage, stage.stage_key)))
    }
    return Kept(
        frozenset(whole | chosen),
        frozenset(staying),
        frozenset(artifacts),
        frozenset((stage.stage, stage.stage_key) for stage in stages if stage.run_id in unfinished),
        before,
    )


def _ended(run: Run) -> datetime:
    return run.ended or run.created


def _night(entry: StageRun | ModelEntry) -> Night:
    return entry.run_id, entry.iteration


def _newest(nights: set[Night], run_id: str, retention: Retention) -> set[Night]:
    """The start of a run, what belongs to all of it, and its newest nights."""
    numbers = sorted({number for run, number in nights if run == run_id and number is not None})
    newest = numbers[-retention.models :] if retention.models else []
    return {(run_id, number) for number in (None, *numbers[:1], *newest)} & set(nights)


def _trained_by(
    models: Iterable[ModelEntry], nights: set[Night], manifests: Mapping[StageKey, Manifest]
) -> set[StageKey]:
    keys = {model.train_stage_key for model in models if _night(model) in nights}
    return {place for place in manifests if place[1] in keys}


def _models_of(
    runs: set[str], stages: Iterable[StageRun], models: Iterable[ModelEntry], manifests: Mapping[StageKey, Manifest]
) -> set[StageKey]:
    """The trainings of the models that these runs work with, whichever run they belong to."""
    digests = {model.parent_digest for model in models if model.run_id in runs}
    for stage in stages:
        manifest = manifests.get((stage.stage, stage.stage_key))
        if stage.run_id in runs and manifest is not None:
            digests |= set(manifest.model_digests.values())
    return {
        place for place, manifest in manifests.items() if manifest.model_digest and manifest.model_digest in digests
    }


def _named_by(home: Home, runs: Iterable[Run], manifests: Mapping[StageKey, Manifest]) -> set[StageKey]:
    """Artifacts whose folder a run's configuration names, such as a model to start from."""
    texts = [text for run in runs for text in _texts(run.config)]
    folders = {place: str(home.artifacts / f"stage={place[0]}" / f"stage_key={place[1]}") for place in manifests}
    return {place for place, folder in folders.items() if any(folder in text for text in texts)}


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _closure(wanted: set[StageKey], manifests: Mapping[StageKey, Manifest]) -> set[StageKey]:
    found, waiting = set(wanted), list(wanted)
    while waiting:
        manifest = manifests.get(waiting.pop())
        for parent in manifest.inputs if manifest is not None else ():
            place = (parent.stage, parent.stage_key)
            if place not in found:
                found.add(place)
                waiting.append(place)
    return found


def _holds_scores(manifest: Manifest | None) -> bool:
    return manifest is not None and any(table.table == _SCORES for part in manifest.parts for table in part.tables)
