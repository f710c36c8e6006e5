"""The model registry: versions of the actor and the refiner, by reference to immutable folders.

A version holds no weights, it points at the folder that does, with what made it; aliases say which one counts:
`candidate` the newest, `champion-LINEAGE` the champion of a lineage (base model and evaluation world), `champion` that
of the lineage which promoted last. Each version is also written to the ledger, so that the catalogue shows models
without MLflow.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spar_core.errors import StorageError
from spar_core.records import ModelRole
from storage.entries import ModelEntry
from storage.home import Home
from storage.ledger import Ledger
from storage.mlflow_store import (
    METRICS_PER_CALL,
    connect,
    experiment_id,
    mlflow_errors,
    mlflow_name,
    point_mlflow_at,
    registered_name,
)
from storage.remote_artifacts import bring_model

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

CANDIDATE = "candidate"
CHAMPION = "champion"
_ROLES: tuple[ModelRole, ...] = ("actor", "refiner")
_DECISION = "spar.decision"
_REFERENCE = re.compile(r"(?P<name>[A-Za-z0-9_-]+)(?:@(?P<alias>[A-Za-z0-9_-]+)|/(?P<version>\d+))")


@dataclass(frozen=True, slots=True)
class Registration:
    """A model to register. `path` is its folder, `dataset_digests` the data it was trained on by name,
    `metrics` values measured on it, `mlflow_run` the MLflow run that made it."""

    run_id: str
    role: ModelRole
    iteration: int
    path: Path
    digest: str
    parent_version: int | None = None
    parent_digest: str | None = None
    train_stage_key: str | None = None
    dataset_digests: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    mlflow_run: str | None = None


class ModelVersion(NamedTuple):
    """A registered version. `path` is its folder today."""

    name: str
    version: int
    path: Path
    digest: str
    run_id: str
    iteration: int
    aliases: tuple[str, ...]


class Registry:
    """The registered models of one home; the registered name of a model is its role."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._client = connect(home)
        self._ledger = Ledger(home)

    def register(self, model: Registration) -> ModelVersion:
        """Register a model as `candidate`; one of the same run, iteration and weights is not registered twice.

        Raises:
            StorageError: its folder is absent, or the database fails.
        """
        if not bring_model(model.path):
            raise StorageError(f"cannot register {model.path}: no such folder")
        with mlflow_errors(self._home):
            name = registered_name(self._home, model.role)
            if not self._client.search_registered_models(f"name = '{name}'"):
                self._client.create_registered_model(name, description=f"Every {model.role} of {self._home.root}")
            version = self._known(model) or self._create(model)
            if self._aliases(model.role).get(CANDIDATE, 0) < int(version.version):
                self._client.set_registered_model_alias(name, CANDIDATE, version.version)
        self._ledger.record_model(
            ModelEntry(
                run_id=model.run_id,
                role=model.role,
                iteration=model.iteration,
                name=model.role,
                version=int(version.version),
                uri=self._home.stored(model.path),
                digest=model.digest,
                parent_digest=model.parent_digest,
                train_stage_key=model.train_stage_key,
            )
        )
        return self.resolve(f"{model.role}/{version.version}")

    def resolve(self, reference: str) -> ModelVersion:
        """The version behind `name@alias` or `name/version`.

        Raises:
            StorageError: no such version (the message lists what there is), or its folder is gone.
        """
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise StorageError(f"{reference!r} is no model reference; write name@alias or name/version")
        known = {entry.version: entry for entry in self.versions(match["name"])}
        alias, number = match["alias"], match["version"]
        found = [entry for entry in known.values() if alias in entry.aliases or str(entry.version) == number]
        if not found:
            raise StorageError(
                f"there is no {reference!r} in the registry of {self._home.root}; "
                f"{match['name']} has versions: {', '.join(map(str, known)) or 'none'}"
            )
        version = found[0]
        if not bring_model(version.path):
            raise StorageError(
                f"{reference} points at {version.path}, which is gone; take another version, or run again"
            )
        return version

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, oldest first; those that someone else put into the database are left out."""
        with mlflow_errors(self._home):
            entries, aliases = self._entries(name), self._aliases(name)
        entries = [entry for entry in entries if "spar.path" in entry.tags]
        return sorted((self._described(name, entry, aliases) for entry in entries), key=lambda version: version.version)

    def champion(self, name: str, lineage: str | None = None) -> ModelVersion | None:
        """The champion of a lineage (null: of the one that promoted last), or None."""
        alias = CHAMPION if lineage is None else _champion_of(lineage)
        return next((version for version in self.versions(name) if alias in version.aliases), None)

    def promote(self, name: str, version: int, lineage: str) -> ModelVersion:
        """Make a version the champion of its lineage; what `champion` means is said by `crown`.

        Raises:
            StorageError: there is no such version.
        """
        self.resolve(f"{name}/{version}")
        with mlflow_errors(self._home):
            known_as = registered_name(self._home, name)
            self._client.set_registered_model_alias(known_as, _champion_of(lineage), str(version))
        return self.resolve(f"{name}@{_champion_of(lineage)}")

    def crown(self, lineage: str) -> None:
        """Let `champion` of both roles mean the champions of this lineage.

        Raises:
            StorageError: the database fails.
        """
        with mlflow_errors(self._home):
            for role in _ROLES:
                aliases = self._aliases(role)
                version = aliases.get(_champion_of(lineage))
                if version is not None and aliases.get(CHAMPION) != version:
                    known_as = registered_name(self._home, role)
                    self._client.set_registered_model_alias(known_as, CHAMPION, str(version))

    def decision(self, name: str, version: int) -> str | None:
        """What was decided on a version, as noted on it; None where nothing was noted.

        Raises:
            StorageError: the database fails.
        """
        with mlflow_errors(self._home):
            known_as = registered_name(self._home, name)
            found: str | None = self._client.get_model_version(known_as, str(version)).tags.get(_DECISION)
            return found

    def note_decision(self, name: str, version: int, decision: str, reason: str) -> None:
        """Note on a version what was decided on it, and why.

        Raises:
            StorageError: the database fails.
        """
        with mlflow_errors(self._home):
            known_as = registered_name(self._home, name)
            self._client.set_model_version_tag(known_as, str(version), f"{_DECISION}_because", reason)
            self._client.set_model_version_tag(known_as, str(version), _DECISION, decision)

    def describe(self, name: str, version: int, text: str) -> None:
        """Say in words what a version is: Markdown, shown at the top of its page.

        Raises:
            StorageError: the database fails, or there is no such version.
        """
        with mlflow_errors(self._home):
            known_as = registered_name(self._home, name)
            if self._client.get_model_version(known_as, str(version)).description != text:
                self._client.update_model_version(known_as, str(version), description=text)

    def log_scores(self, version: ModelVersion, scores: Mapping[str, float], mlflow_run: str) -> None:
        """Put scores on a version's model, as measured in an MLflow run; asking again adds nothing wrong.

        Raises:
            StorageError: the database fails.
        """
        from mlflow.entities import LoggedModelInput, Metric

        now = int(time.time() * 1000)
        with mlflow_errors(self._home):
            entry = self._client.get_model_version(registered_name(self._home, version.name), str(version.version))
            # The database keeps no model_id of a version, but its source is the logged model.
            model_id = entry.model_id or str(entry.source).removeprefix("models:/")
            self._client.log_inputs(mlflow_run, models=[LoggedModelInput(model_id)])
            metrics = [
                Metric(mlflow_name(name), float(value), now, version.iteration, model_id=model_id, run_id=mlflow_run)
                for name, value in scores.items()
            ]
            for start in range(0, len(metrics), METRICS_PER_CALL):
                self._client.log_batch(mlflow_run, metrics=metrics[start : start + METRICS_PER_CALL])

    def _entries(self, name: str) -> list["MlflowVersion"]:
        wanted = f"name = '{registered_name(self._home, name)}'"
        found = self._client.search_model_versions(wanted, max_results=1000)
        entries = list(found)
        while found.token:
            found = self._client.search_model_versions(wanted, max_results=1000, page_token=found.token)
            entries += found
        return entries

    def _known(self, model: Registration) -> "MlflowVersion | None":
        wanted = _identity_tags(model)
        for entry in self._entries(model.role):
            if wanted.items() <= entry.tags.items():
                return entry
        return None

    def _aliases(self, name: str) -> dict[str, int]:
        # Searched versions come without their aliases.
        found = self._client.search_registered_models(f"name = '{registered_name(self._home, name)}'")
        return {alias: int(version) for alias, version in found[0].aliases.items()} if found else {}

    def _create(self, model: Registration) -> "MlflowVersion":
        tags, name = _tags(model, self._home), registered_name(self._home, model.role)
        logged = self._client.create_logged_model(
            experiment_id(self._client, self._home),
            name=f"{model.role}-{model.iteration}",
            source_run_id=model.mlflow_run,
            tags=tags | {"mlflow.model.isExternal": "true"},
            model_type=model.role,
        )
        self._client.finalize_logged_model(logged.model_id, "READY")
        if model.mlflow_run is not None:
            self._link(model, logged.model_id, model.mlflow_run)
        # The store looks the logged model up through MLflow's process-wide address, not through its own.
        point_mlflow_at(self._home)
        version = self._client.create_model_version(
            name,
            source=f"models:/{logged.model_id}",
            run_id=model.mlflow_run,
            tags=tags,
            model_id=logged.model_id,
        )
        linked = json.dumps([{"name": name, "version": version.version}])
        self._client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": linked})
        return version

    def _link(self, model: Registration, model_id: str, mlflow_run: str) -> None:
        from mlflow.entities import LoggedModelOutput, Metric

        now = int(time.time() * 1000)
        self._client.log_outputs(mlflow_run, [LoggedModelOutput(model_id, step=model.iteration)])
        metrics = [
            Metric(name, float(value), now, model.iteration, model_id=model_id, run_id=mlflow_run)
            for name, value in model.metrics.items()
        ]
        self._client.log_batch(mlflow_run, metrics=metrics)

    def _described(self, name: str, entry: "MlflowVersion", aliases: Mapping[str, int]) -> ModelVersion:
        tags = entry.tags
        return ModelVersion(
            name=name,
            version=int(entry.version),
            path=self._home.located(tags.get("spar.home_path", tags["spar.path"])),  # older versions wrote both
            digest=tags["spar.digest"],
            run_id=tags["spar.run_id"],
            iteration=int(tags["spar.iteration"]),
            aliases=tuple(sorted(alias for alias, version in aliases.items() if version == int(entry.version))),
        )


def _champion_of(lineage: str) -> str:
    return f"{CHAMPION}-{lineage}"


def _identity_tags(model: Registration) -> dict[str, str]:
    return {
        "spar.run_id": model.run_id,
        "spar.iteration": str(model.iteration),
        "spar.digest": model.digest,
    }


def _tags(model: Registration, home: Home) -> dict[str, str]:
    tags = _identity_tags(model) | {"spar.role": model.role, "spar.path": home.stored(model.path)}
    optional = {
        "spar.parent_version": model.parent_version,
        "spar.parent_digest": model.parent_digest,
        "spar.train_stage_key": model.train_stage_key,
    }
    tags |= {name: str(value) for name, value in optional.items() if value is not None}
    return tags | {f"spar.dataset.{name}": value for name, value in model.dataset_digests.items()}
