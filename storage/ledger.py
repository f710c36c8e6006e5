"""The ledger: which runs there were, what became of their stages, which models they registered and what was promoted.

    runs/<run_id>/run.json
                 /spent.json
                 /stages/<iteration>-<stage>.json
                 /models/<role>-v<version>.json
                 /promotions/<role>-v<version>.json
                 /starts/<iteration>.json

One small file per fact, replaced in one step: it is right after kill -9, and readable while a run goes on.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from spar_core.errors import StorageError
from spar_core.hashing import canonical_json
from spar_core.records import ModelRole
from spar_core.secrets import redacted, redacted_text
from storage.disk import read_json
from storage.entries import (
    Activity,
    Entry,
    ModelEntry,
    Promotion,
    Run,
    RunState,
    Spent,
    StageRun,
    Start,
    utc_now,
)
from storage.home import Home, safe_name

_log = logging.getLogger(__name__)
EntryT = TypeVar("EntryT", bound=Entry)


class Ledger:
    """The runs of one home. Writers write different files; readers tolerate half-finished runs."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def open_run(
        self,
        run_id: str,
        config: dict[str, Any],
        activity: str = "run",
        *,
        whole: bool = False,
        deciding: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
        aside: bool = False,
        flow_run: str | None = None,
    ) -> Run:
        """Begin a run, or go on with it: it keeps its time of creation and takes the configuration given now,
        without secrets.

        Args:
            run_id: name of the run.
            config: the whole configuration. A completed run that is opened with another one is running again.
            activity: what it is opened for.
            whole: the run is gone through from its start. Where the configuration changes results or asks for fewer
                iterations, this supersedes what it had done, of which it enters again what it still does.
            deciding: what of a configuration decides results; the rest of it may change.
            aside: the activity only looks at the run (measures it), so that its state stays as it is.
            flow_run: id of Prefect's flow run.

        Raises:
            StorageError: the id cannot name a folder, or the disk is full.
        """
        known, now, config = self.run(run_id), utc_now(), redacted(config)
        doing = Activity(name=activity, state="running", started=now, flow_run=flow_run)
        run = Run(run_id=run_id, state="running", created=now, config=config, activity=doing)
        if known is not None:
            same = canonical_json(known.config) == canonical_json(config)
            kept = {
                "created": known.created,
                "generation": known.generation + (whole and _begins_anew(known.config, config, deciding)),
            }
            if aside:
                dead = known.state == "running"  # the home is held: its process died
                kept |= {"state": "interrupted" if dead else known.state, "ended": known.ended, "config": known.config}
            elif known.state == "completed" and same:
                kept |= {"state": "completed", "ended": known.ended}
            run = run.model_copy(update=kept)
        self._write(self._folder(run_id) / "run.json", run)
        return run

    def close_run(self, run_id: str, state: RunState, detail: str = "") -> Run:
        """Say how a run's activity ended, and with it the run, unless that had ended before.

        Raises:
            StorageError: there is no such run, or the disk is full.
        """
        run = self.run(run_id)
        if run is None:
            known = ", ".join(entry.run_id for entry in self.runs()) or "none"
            raise StorageError(f"there is no run {run_id!r} in {self._home.root}; known runs: {known}")
        now = utc_now()
        if run.activity is not None:
            became: RunState = "completed" if state == "waiting" else state
            ended = run.activity.model_copy(update={"state": became, "ended": now, "detail": redacted_text(detail)})
            run = run.model_copy(update={"activity": ended})
        if run.state == "running":
            run = run.model_copy(update={"state": state, "ended": now})
        self._write(self._folder(run_id) / "run.json", run)
        return run

    def end_dead_runs(self) -> list[Run]:
        """Enter runs that still say "running" as interrupted; call while holding the home, when none can be alive.

        Raises:
            StorageError: the disk is full.
        """
        dead = [
            run
            for run in self.runs()
            if run.state == "running" or (run.activity is not None and run.activity.state == "running")
        ]
        return [self.close_run(run.run_id, "interrupted", "its process ended without a word") for run in dead]

    def record_stage(self, stage: StageRun) -> None:
        """Write down a stage's state, in place of what was known of it in this run and iteration."""
        where = "run" if stage.iteration is None else f"{stage.iteration:03d}"
        name = f"{where}-{safe_name(stage.stage, 'stage')}.json"
        hidden = stage.model_copy(update={"detail": redacted_text(stage.detail)})
        self._write(self._folder(stage.run_id) / "stages" / name, hidden)

    def mark_collected(self, artifacts: Collection[tuple[str, str]]) -> None:
        """Write down that the artifacts of these (stage, key) are deleted on purpose: they are not missed."""
        for stage in self.stages(superseded=True):
            if (stage.stage, stage.stage_key) in artifacts and not stage.collected:
                self.record_stage(stage.model_copy(update={"collected": True}))

    def record_model(self, model: ModelEntry) -> None:
        """Write down a registered model version, as one of the run's generation now."""
        name, run = _version_file(model.name, model.version), self.run(model.run_id)
        current = model if run is None else model.model_copy(update={"generation": run.generation})
        self._write(self._folder(model.run_id) / "models" / name, current)

    def record_promotion(self, promotion: Promotion) -> None:
        """Write down what was decided on a model version, in place of what was decided on it before."""
        name = _version_file(promotion.role, promotion.version)
        self._write(self._folder(promotion.run_id) / "promotions" / name, promotion)

    def promotion(self, run_id: str, role: ModelRole, version: int) -> Promotion | None:
        """What was decided on a version of a run; None where nothing was."""
        return _read(self._folder(run_id) / "promotions" / _version_file(role, version), Promotion)

    def record_start(self, start: Start) -> None:
        """Write down with which models an iteration begins."""
        self._write(self._folder(start.run_id) / "starts" / f"{start.iteration:03d}.json", start)

    def start(self, run_id: str, iteration: int) -> Start | None:
        """What an iteration began with; None where it has not begun."""
        return _read(self._folder(run_id) / "starts" / f"{iteration:03d}.json", Start)

    def record_spent(self, spent: Spent) -> None:
        """Write down what a run has cost so far."""
        self._write(self._folder(spent.run_id) / "spent.json", spent)

    def spent(self, run_id: str) -> Spent:
        """What a run has cost so far."""
        return _read(self._folder(run_id) / "spent.json", Spent) or Spent(run_id=run_id)

    def run(self, run_id: str) -> Run | None:
        """One run, None where it is unknown."""
        return _read(self._folder(run_id) / "run.json", Run)

    def runs(self) -> list[Run]:
        """All runs, oldest first."""
        return sorted(self._all("*/run.json", Run), key=lambda run: (run.created, run.run_id))

    def stages(self, run_id: str | None = None, *, superseded: bool = False) -> list[StageRun]:
        """The stages of one run, or of all, in the order they were started; on demand with those superseded."""
        found = self._all(f"{run_id or '*'}/stages/*.json", StageRun)
        if not superseded:
            now = {run.run_id: run.generation for run in self._all(f"{run_id or '*'}/run.json", Run)}
            found = (stage for stage in found if stage.generation == now.get(stage.run_id, stage.generation))
        return sorted(found, key=lambda stage: (stage.started, stage.run_id, stage.stage))

    def models(self, run_id: str | None = None) -> list[ModelEntry]:
        """The models of one run, or of all, also those superseded."""
        found = self._all(f"{run_id or '*'}/models/*.json", ModelEntry)
        return sorted(found, key=lambda model: (model.name, model.version, model.run_id))

    def current_models(self, run_id: str) -> list[ModelEntry]:
        """The models of one run but those superseded."""
        run = self.run(run_id)
        now = None if run is None else run.generation
        return [model for model in self.models(run_id) if now is None or model.generation in (None, now)]

    def promotions(self) -> list[Promotion]:
        """What was decided in all runs, oldest first."""
        return sorted(self._all("*/promotions/*.json", Promotion), key=lambda entry: (entry.time, entry.version))

    def starts(self) -> list[Start]:
        """With which models iterations of all runs began."""
        return list(self._all("*/starts/*.json", Start))

    def unreadable(self) -> list[Path]:
        """Entries that are damaged, and so left out of all answers."""
        kinds: dict[str, type[Entry]] = {
            "run.json": Run,
            "stages/*.json": StageRun,
            "models/*.json": ModelEntry,
            "starts/*.json": Start,
        }
        files = [(path, kind) for name, kind in kinds.items() for path in sorted(self._home.runs.glob(f"*/{name}"))]
        return [path for path, kind in files if not path.name.startswith(".") and _read(path, kind) is None]

    def _folder(self, run_id: str) -> Path:
        return self._home.runs / safe_name(run_id, "run id")

    def _all(self, pattern: str, kind: type[EntryT]) -> Iterator[EntryT]:
        for path in sorted(self._home.runs.glob(pattern)):
            if path.name.startswith("."):
                continue  # a file being written
            entry = _read(path, kind)
            if entry is None:
                _log.warning("the ledger entry %s is unreadable and left out", path)
            else:
                yield entry

    def _write(self, path: Path, entry: Entry) -> None:
        self._home.share_json(path, entry.model_dump(mode="json"))


def _begins_anew(
    before: Mapping[str, Any], now: Mapping[str, Any], deciding: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> bool:
    return canonical_json(deciding(before)) != canonical_json(deciding(now)) or now.get("iterations", 0) < before.get(
        "iterations", 0
    )


def _version_file(name: str, version: int) -> str:
    return f"{safe_name(name, 'model name')}-v{version}.json"


def _read(path: Path, kind: type[EntryT]) -> EntryT | None:
    fields = read_json(path)
    if fields is None:
        return None
    try:
        return kind.model_validate(fields)
    except ValidationError:
        return None
