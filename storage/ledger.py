"""The ledger: which runs there were, what became of each of their stages, and which models they registered.

    runs/<run_id>/run.json
                 /stages/<iteration>-<stage>.json
                 /models/<role>-v<version>.json

One small file per fact, replaced in one step: it is right after kill -9, and readable while a run goes on.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from spar_core.errors import StorageError
from spar_core.hashing import canonical_json
from spar_core.records import ModelRole
from spar_core.secrets import redacted, redacted_text
from storage.disk import read_json, write_json
from storage.home import Home, safe_name

_log = logging.getLogger(__name__)

RunState = Literal["running", "completed", "failed", "interrupted"]
StageState = Literal["running", "completed", "failed"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


EntryT = TypeVar("EntryT", bound=_Entry)


class Run(_Entry):
    """One run. `config` is the whole configuration; a run that was killed still says "running".

    `generation` counts how often the run was begun anew under another configuration: stages of earlier ones are
    superseded until the run reaches them again.
    """

    run_id: str
    state: RunState
    created: datetime
    ended: datetime | None = None
    config: dict[str, Any]
    generation: int = 0


class StageRun(_Entry):
    """What became of one stage in one run. `iteration` is null for stages outside of iterations; rows are null
    until the stage is complete; `seconds` is wall time in this run; `artifact_uri` is relative to the home."""

    run_id: str
    iteration: int | None
    stage: str
    stage_key: str
    state: StageState
    cached: bool = False
    rows_in: int | None = None
    rows_out: int | None = None
    rows_dropped: int | None = None
    seconds: float | None = None
    artifact_uri: str | None = None
    started: datetime
    ended: datetime | None = None
    detail: str = ""
    generation: int = 0


class ModelEntry(_Entry):
    """A registered model version. `uri` is its folder, `parent_digest` that of the weights training began with."""

    run_id: str
    role: ModelRole
    iteration: int
    name: str
    version: int
    uri: str
    digest: str
    parent_digest: str | None = None
    train_stage_key: str | None = None


class Ledger:
    """The runs of one home. Writers write different files; readers tolerate half-finished runs."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def open_run(self, run_id: str, config: dict[str, Any], *, whole: bool = False) -> Run:
        """Begin a run, or go on with it: it keeps its time of creation and takes the configuration given now, without
        secrets.

        `whole`: the run is gone through from its start. Under another configuration than before this supersedes what
        it had done, of which it enters again what it still does.

        Raises:
            StorageError: the id cannot name a folder, or the disk is full.
        """
        known = self.run(run_id)
        config = redacted(config)
        run = Run(run_id=run_id, state="running", created=utc_now(), config=config)
        if known is not None:
            anew = whole and canonical_json(known.config) != canonical_json(config)
            run = run.model_copy(update={"created": known.created, "generation": known.generation + anew})
        self._write(self._folder(run_id) / "run.json", run)
        return run

    def close_run(self, run_id: str, state: RunState) -> Run:
        """Say how a run ended.

        Raises:
            StorageError: there is no such run, or the disk is full.
        """
        run = self.run(run_id)
        if run is None:
            known = ", ".join(entry.run_id for entry in self.runs()) or "none"
            raise StorageError(f"there is no run {run_id!r} in {self._home.root}; known runs: {known}")
        run = run.model_copy(update={"state": state, "ended": utc_now()})
        self._write(self._folder(run_id) / "run.json", run)
        return run

    def record_stage(self, stage: StageRun) -> None:
        """Write down a stage's state, in place of what was known of it in this run and iteration."""
        where = "run" if stage.iteration is None else f"{stage.iteration:03d}"
        name = f"{where}-{safe_name(stage.stage, 'stage')}.json"
        hidden = stage.model_copy(update={"detail": redacted_text(stage.detail)})
        self._write(self._folder(stage.run_id) / "stages" / name, hidden)

    def record_model(self, model: ModelEntry) -> None:
        """Write down a registered model version."""
        name = f"{safe_name(model.name, 'model name')}-v{model.version}.json"
        self._write(self._folder(model.run_id) / "models" / name, model)

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
        """The models of one run, or of all."""
        found = self._all(f"{run_id or '*'}/models/*.json", ModelEntry)
        return sorted(found, key=lambda model: (model.name, model.version, model.run_id))

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

    def _write(self, path: Path, entry: _Entry) -> None:
        write_json(path, entry.model_dump(mode="json"))


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def _read(path: Path, kind: type[EntryT]) -> EntryT | None:
    fields = read_json(path)
    if fields is None:
        return None
    try:
        return kind.model_validate(fields)
    except ValidationError:
        return None
