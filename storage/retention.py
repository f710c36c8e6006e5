"""What of a home is kept: by count and age, for pins and champions, and for what is not finished.

The unit is a night: one iteration of one run (iteration null: what belongs to the run as a whole).

- A run is kept while it is among the newest or young, or one of a kept experiment, or pinned or unfinished (a night or
  an evaluation of it that was broken off counts): the latter two keep all nights.
- A finished run keeps its start, its newest nights, one that was begun after the newest, and those whose model is a
  champion, pinned, or what a kept run starts from; of the others only the scores. A run that is not kept keeps the
  nights of such models.
- A kept night keeps its artifacts and all they were made from, but not the models that earlier nights trained: those go
  by the same rule. An unfinished run also keeps the models it works with.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from storage.entries import ModelEntry, Run, StageRun, utc_now
from storage.home import Home
from storage.ledger import Ledger
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
    unfinished = {run.run_id for run in runs if not _is_finished(run)}
    # What an unfinished run had done under an earlier configuration it may do again.
    earlier = [stage for stage in ledger.stages(superseded=True) if stage.run_id in unfinished]
    stages = earlier + [stage for stage in ledger.stages() if stage.run_id not in unfinished]
    before = utc_now() - timedelta(days=retention.days)
    whole = unfinished | pins.runs
    finished = sorted((run for run in runs if run.run_id not in whole), key=_ended, reverse=True)
    chosen = {run.run_id for place, run in enumerate(finished) if place < retention.runs or _ended(run) >= before}
    chosen |= {run.run_id for run in finished} & _told_by(runs, whole | chosen)  # an experiment names its runs
    generations = {run.run_id: run.generation for run in runs}
    made = {_night(model) for model in models if model.generation in (None, generations.get(model.run_id))}
    nights = {_night(stage) for stage in stages} | made
    staying = {night for night in nights if night[0] in whole}
    staying |= {night for run_id in chosen for night in _newest(nights, made, run_id, retention)}
    texts = _told_by(runs, whole | chosen)
    versions = champions | pins.models | texts  # a configuration may start from `actor/3`
    begun = {
        digest
        for start in ledger.starts()
        if start.run_id in whole or (start.run_id in chosen and start.iteration == 0)
        for digest in (start.actor, start.refiner)
    }
    staying |= {
        _night(model) for model in models if f"{model.name}/{model.version}" in versions or model.digest in begun
    }
    wanted = {(stage.stage, stage.stage_key) for stage in stages if _night(stage) in staying}
    wanted |= _trained_by(models, staying, manifests)
    wanted |= _models_of(whole, stages, models, manifests)
    wanted |= _named_by(home, texts, manifests)
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
        frozenset((stage.stage, stage.stage_key) for stage in stages if _goes_on(stage, unfinished, staying)),
        before,
    )


def _is_finished(run: Run) -> bool:
    """Not where a further night of a completed run, or its evaluation, was broken off: that goes on from its work."""
    return run.state == "completed" and (run.activity is None or run.activity.state == "completed")


def _ended(run: Run) -> datetime:
    """When something was last done with it: a completed run is measured again, or gets another night."""
    last = None if run.activity is None else run.activity.ended or run.activity.started
    return max(run.ended or run.created, last or run.created)


def _night(entry: StageRun | ModelEntry) -> Night:
    return entry.run_id, entry.iteration


def _goes_on(stage: StageRun, unfinished: set[str], staying: set[Night]) -> bool:
    """Whether what a stage has done so far is gone on from: also in a night beyond the end of a finished run."""
    return stage.run_id in unfinished or (stage.state != "completed" and _night(stage) in staying)


def _newest(nights: set[Night], made: set[Night], run_id: str, retention: Retention) -> set[Night]:
    """The start of a run, what belongs to all of it, its newest nights, and one that was begun after them.

    `made`: the nights that ended with models. One that was begun needs the models of the newest of these.
    """
    numbers = sorted({number for run, number in nights if run == run_id and number is not None})
    whole = [number for number in numbers if (run_id, number) in made] or numbers
    begun = [number for number in numbers if number > whole[-1]]
    newest = whole[-retention.models :] if retention.models else []
    return {(run_id, number) for number in (None, *numbers[:1], *newest, *begun)} & nights


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


def _named_by(home: Home, texts: set[str], manifests: Mapping[StageKey, Manifest]) -> set[StageKey]:
    """Artifacts whose folder is named in one of the texts of configurations, such as a model to start from."""
    folders = {place: str(home.artifacts / f"stage={place[0]}" / f"stage_key={place[1]}") for place in manifests}
    return {place for place, folder in folders.items() if any(folder in text for text in texts)}


def _told_by(runs: Iterable[Run], ids: set[str]) -> set[str]:
    """Every text in the configurations of these runs."""
    return {text for run in runs if run.run_id in ids for text in _texts(run.config)}


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
