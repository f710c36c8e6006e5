"""`spar gc`: what a home can do without, and how much that is; `--delete` deletes it."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.commands.options import home_option, json_option, opened, table
from spar_core.errors import StorageError
from storage.collection import Plan, collect, plan
from storage.home import Home
from storage.ledger import Ledger
from storage.pins import Pins
from storage.retention import Retention

if TYPE_CHECKING:
    from storage.registry import Registry

_ROLES = ("actor", "refiner")
_ALIAS = "champion"


@click.command()
@click.option("--delete", is_flag=True, help="Delete it. Without this, nothing is touched.")
@click.option(
    "--keep-runs", type=click.IntRange(0), default=20, show_default=True, help="Newest finished runs that stay."
)
@click.option(
    "--keep-days", type=click.FloatRange(0), default=14, show_default=True, help="Finished runs this young stay too."
)
@click.option(
    "--keep-models",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Newest iterations of a finished run that stay, with their models and data.",
)
@click.option("--pin", "pinned", multiple=True, metavar="RUN|MODEL", help="Keep it for good: a run id, or actor/3.")
@click.option("--unpin", "unpinned", multiple=True, metavar="RUN|MODEL", help="Keep it no longer.")
@home_option
@json_option
def gc(
    delete: bool,
    keep_runs: int,
    keep_days: float,
    keep_models: int,
    pinned: tuple[str, ...],
    unpinned: tuple[str, ...],
    home: Path | None,
    as_json: bool,
) -> int:
    """Show what a home can do without; with --delete, delete it.

    Unfinished runs, champions and pins always stay, with the data they were made from; scores stay with their run.

    \b
    Example:
      spar gc                                    # what would go, and how much that is
      spar gc --pin actor@champion --pin my-run  # never let these go
      spar gc --keep-runs 5 --keep-days 2 --keep-models 2 --delete
    """
    where = opened(home)
    if where.remote is not None:
        raise StorageError(
            f"spar gc does not clear up object stores such as {where.address}; the working folder {where.root} may be "
            "deleted whenever nobody works there"
        )
    if not where.root.is_dir():
        raise StorageError(f"{where.root} does not exist; name the home with --home")
    retention = Retention(keep_runs, keep_days, keep_models)
    if not delete and not pinned and not unpinned:
        _show(where, plan(where, retention, _champions(where)), as_json, deleted=False)
        return 0
    with where.lock():
        _pin(where, pinned, unpinned)
        found = plan(where, retention, _champions(where))
        if delete:
            _forget(where, found)  # first: once a run is gone from the ledger, nobody asks for it again
            collect(where, found)
    _show(where, found, as_json, deleted=delete)
    return 0


def _registry(home: Home) -> "Registry | None":
    """Only where there is one: asking makes its database, which takes seconds."""
    if not Ledger(home).models():
        return None
    from storage.registry import Registry

    return Registry(home)


def _champions(home: Home) -> frozenset[str]:
    registry = _registry(home)
    versions = [version for role in _ROLES for version in registry.versions(role)] if registry else []
    return frozenset(
        f"{version.name}/{version.version}"
        for version in versions
        if any(alias.startswith(_ALIAS) for alias in version.aliases)
    )


def _forget(home: Home, found: Plan) -> None:
    """Hide the runs that went from MLflow too; `mlflow gc` removes what is hidden."""
    if found.runs and (home.mlflow / "mlflow.db").exists():
        from storage.tracking import Tracker

        Tracker(home).forget(found.runs)


def _pin(home: Home, pinned: tuple[str, ...], unpinned: tuple[str, ...]) -> None:
    pins = Pins.of(home)
    runs, models = set(pins.runs), set(pins.models)
    for reference in unpinned:
        runs.discard(reference)
        # A version that is gone from the disk, or from the registry, can be named all the same.
        models.discard((_version(home, reference) or "") if "@" in reference else reference)
    for reference in pinned:
        if "@" not in reference and "/" not in reference and Ledger(home).run(reference) is not None:
            runs.add(reference)
        elif (version := _version(home, reference)) is not None:
            models.add(version)
        else:
            raise StorageError(f"{reference!r} is neither a run of {home.root} nor a model such as actor/3")
    if pinned or unpinned:
        Pins(frozenset(runs), frozenset(models)).write(home)


def _version(home: Home, reference: str) -> str | None:
    """A model reference as `name/version`; None where it is none."""
    registry = _registry(home) if "@" in reference or "/" in reference else None
    if registry is None:
        return None
    version = registry.resolve(reference)
    return f"{version.name}/{version.version}"


def _show(home: Home, found: Plan, as_json: bool, *, deleted: bool) -> None:
    count, size = Counter[str](), Counter[str]()
    for item in found.items:
        count[item.kind] += 1
        size[item.kind] += item.bytes
    if as_json:
        items = [{"kind": i.kind, "path": home.stored(i.path), "bytes": i.bytes} for i in found.items]
        told = {"deleted": deleted, "bytes": found.bytes, "items": items, "kept_runs": sorted(found.kept.runs)}
        click.echo(json.dumps(told))
        return
    rows = [[kind, str(count[kind]), _mib(size[kind])] for kind in count]
    if rows:
        title = f"{'deleted from' if deleted else 'can go from'} {home.root}"
        table(title, ["what", "number", "MiB"], rows, {"number", "MiB"})
    stays = found.kept
    click.echo(
        f"{_mib(found.bytes)} MiB {'freed' if deleted else 'can go'}; what stays: {len(stays.runs)} runs, "
        f"{len(stays.nights)} iterations in all, {len(stays.artifacts)} artifacts."
    )
    if found.items and not deleted:
        click.echo("Nothing was deleted; the same command with --delete does it.")


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f}"
