"""What of a home can go, and how it goes: renamed into a trash folder first, so that nothing is ever half there."""

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from spar_core.errors import StorageError
from storage.disk import disk_errors
from storage.home import Home
from storage.journal import ASKED_AHEAD
from storage.ledger import Ledger
from storage.manifests import MANIFEST, Manifest, read_manifest
from storage.pins import Pins
from storage.retention import Kept, Retention, StageKey, kept
from storage.temporary import TEMPORARY, is_stale

Kind = Literal["artifact", "unfinished parts", "temporary", "checkpoint", "journal", "log", "result", "run", "trash"]
_RESULT = re.compile(r"(?P<stage>.+?)-(?P<key>[0-9a-f]{16,64})(-\d{5})?")
_IN_USE_S = 86400.0  # scratch of readers, which hold no lock, is theirs for a day


class Item(NamedTuple):
    """A file or folder that can go."""

    kind: Kind
    path: Path
    bytes: int


class Plan(NamedTuple):
    """What goes and what stays. `artifacts`: those that go, by (stage, key); `runs`: those that go whole."""

    items: tuple[Item, ...]
    kept: Kept
    artifacts: frozenset[StageKey]
    runs: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """What deleting frees."""
        return sum(item.bytes for item in self.items)


def plan(home: Home, retention: Retention, champions: frozenset[str]) -> Plan:
    """What can go. `champions`: the model versions that stay whatever their age, as `name/version`.

    Raises:
        StorageError: a later version of spar wrote some of it, or a file is damaged that says what must stay.
    """
    damaged = [*Ledger(home).unreadable(), *([home.pins_file] if Pins.is_damaged(home) else [])]
    if damaged:
        raise StorageError(
            f"{', '.join(map(str, damaged))} cannot be read, so what must stay is not known; put it back from a copy, "
            "or delete it if what it was about may go"
        )
    manifests = _manifests(home)
    stays = kept(home, manifests, retention, champions)
    going = frozenset(manifests) - stays.artifacts
    gone_runs = _gone_runs(home, stays)
    items = (
        *_artifacts(home, manifests, going, stays),
        *_by_key(home.work, "checkpoint", manifests, stays),
        *_by_key(home.journal, "journal", manifests, stays),
        *_results(home, manifests, going, stays),
        *_logs(home, gone_runs, stays),
        *_scratch(home),
        *(_item("run", home.runs / run) for run in gone_runs),
        *(_item("trash", folder) for folder in sorted(home.trash.glob("*"))),
    )
    return Plan(items, stays, going, tuple(gone_runs))


def collect(home: Home, plan: Plan) -> None:
    """Delete what the plan says. Hold the home's lock; killed anywhere, the next collection goes on.

    The ledger is told first, then each thing leaves its place in one step, then the trash is emptied.

    Raises:
        StorageError: something cannot be renamed or deleted.
    """
    Ledger(home).mark_collected(plan.artifacts)
    trash = home.trash / secrets.token_hex(4)
    with disk_errors(trash):
        trash.mkdir(parents=True)
        for number, item in enumerate(plan.items):
            if item.kind != "trash":
                _discard(item.path, trash / str(number))
        _remove_empty((home.work, home.journal, home.artifacts))
        shutil.rmtree(home.trash)


def _discard(path: Path, target: Path) -> None:
    if not path.exists():
        return
    try:
        os.rename(path, target)
    except OSError:  # on another disk than the trash
        if path.is_dir():
            (path / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(path)
        else:
            path.unlink()


def _remove_empty(tops: Iterable[Path]) -> None:
    for top in tops:
        for folder in top.glob("*/") if top.is_dir() else ():
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _manifests(home: Home) -> dict[StageKey, Manifest]:
    found = {}
    for folder in home.artifacts.glob("stage=*/stage_key=*"):
        manifest = read_manifest(folder)
        if manifest is not None:
            found[_place(folder)] = manifest
    return found


def _place(folder: Path) -> StageKey:
    return folder.parent.name.partition("=")[2], folder.name.partition("=")[2]


def _gone_runs(home: Home, stays: Kept) -> list[str]:
    with_nights = {run for run, _ in stays.nights}
    return [run.run_id for run in Ledger(home).runs() if run.run_id not in stays.runs | with_nights]


def _artifacts(
    home: Home, manifests: dict[StageKey, Manifest], going: frozenset[StageKey], stays: Kept
) -> Iterator[Item]:
    for folder in sorted(home.artifacts.glob("stage=*/stage_key=*")):
        place = _place(folder)
        if place in going:
            yield _item("artifact", folder)
        elif place not in manifests and place not in stays.unfinished | stays.artifacts:
            yield _item("unfinished parts", folder)
        else:
            left = [inner for inner in sorted(folder.iterdir()) if TEMPORARY in inner.name and is_stale(inner)]
            yield from (_item("temporary", inner) for inner in left)


def _by_key(top: Path, kind: Kind, manifests: dict[StageKey, Manifest], stays: Kept) -> Iterator[Item]:
    """`<stage>/<key>` folders of stages that are complete, or that nobody will go on with.

    What was asked ahead of a stage stays while any run goes on: whose it is shows when the stage begins.
    """
    for folder in sorted(top.glob("*/*/")):
        place = (folder.parent.name, folder.name)
        ahead = folder.parent.name.endswith(ASKED_AHEAD) and stays.unfinished
        if place in manifests or (place not in stays.unfinished and not ahead):
            yield _item(kind, folder)


def _results(
    home: Home, manifests: dict[StageKey, Manifest], going: frozenset[StageKey], stays: Kept
) -> Iterator[Item]:
    for file in sorted((home.prefect / "results").glob("*")):
        named = _RESULT.fullmatch(file.name)
        place = (named["stage"], named["key"]) if named else None
        if place is not None and (place in going or (place not in manifests and place not in stays.unfinished)):
            yield _item("result", file)


def _logs(home: Home, gone_runs: list[str], stays: Kept) -> Iterator[Item]:
    for path in sorted(home.logs.glob("*")):
        of_a_run = path.is_dir() and (home.runs / path.name).is_dir()
        if path.name in gone_runs or (not of_a_run and _changed(path) < stays.finished_before):
            yield _item("log", path)


def _scratch(home: Home) -> Iterator[Item]:
    """What killed writers and readers left."""
    for top in (home.runs, home.artifacts, home.models):
        yield from (_item("temporary", path) for path in sorted(top.rglob(".*.tmp")))
    for path in sorted(home.work.glob("spar-sql-*")):
        if (datetime.now(UTC) - _changed(path)).total_seconds() > _IN_USE_S:
            yield _item("temporary", path)


def _changed(path: Path) -> datetime:
    status = _status(path)
    return datetime.now(UTC) if status is None else datetime.fromtimestamp(status.st_mtime, UTC)


def _item(kind: Kind, path: Path) -> Item:
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    # A model's files may be hard links to those of another place: they free nothing until the last is gone.
    found = map(_status, files)
    return Item(kind, path, sum(status.st_blocks * 512 for status in found if status and status.st_nlink == 1))


def _status(path: Path) -> os.stat_result | None:
    """None where it went: a plan may be made beside a run."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
