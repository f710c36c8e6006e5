"""What MLflow shows of a run: one MLflow run per `spar` run, below it one per iteration, below that one per training.
An experiment's runs stand below a run of the experiment's own.

Runs are found again by tag, and a point that is known is not logged twice, so a resumed run goes on where it was.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.hashing import canonical_json
from spar_core.secrets import redacted
from storage.home import Home
from storage.mlflow_store import METRICS_PER_CALL, connect, experiment_id, mlflow_errors, mlflow_name
from storage.refs import ArtifactRef
from storage.schemas import record_type, schema_of

_MAX_PARAMETERS = 100  # MLflow's limit of parameters per call
_MAX_VALUE = 6000  # likewise of characters in a parameter
_MAX_DIGEST = 36  # likewise of characters in a dataset's digest
_PARENT = "mlflow.parentRunId"
_NOTE = "mlflow.note.content"
_TABLES = "mlflow.loggedArtifacts"
_STATES = {
    "completed": "FINISHED",
    "waiting": "SCHEDULED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "running": "RUNNING",
}
_TYPES = {"int64": "long", "double": "double", "bool": "boolean"}
_ENDED = {"FINISHED", "FAILED", "KILLED"}


class Point(NamedTuple):
    """Metrics of one step."""

    step: int
    metrics: Mapping[str, float]


class Tracker:
    """Writes the runs of one home to MLflow. MLflow run ids are plain strings, as its own tools take them."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._client = connect(home)
        self._experiment = experiment_id(self._client, home)
        self._opened: dict[str, str] = {}
        self._known: dict[str, dict[tuple[str, int], float]] = {}

    @property
    def experiment(self) -> str:
        """Id of the MLflow experiment that holds every run of the home."""
        return self._experiment

    def open_run(self, run_id: str, config: Mapping[str, Any] | None = None, state: str | None = None) -> str:
        """The MLflow run of a `spar` run, made or found again; returns its id.

        The first configuration is logged as parameters (which MLflow never changes), the latest as `config.json`, both
        without secrets. `state` is that of the ledger; null leaves it.
        """
        tags = {"spar.run_id": run_id, "spar.level": "run"}
        found = self._open(run_id, tags, None)
        with mlflow_errors(self._home):
            if state is not None:
                self._set_state(found, state)
            if config is not None:
                shown = redacted(config)
                self._log_parameters(found, _flat(shown))
                self._client.log_text(found, canonical_json(shown), "config.json")
        return found

    def close_run(self, run_id: str, state: str, activity: str) -> None:
        """Enter the state of a `spar` run, and that of what is still open below it; a run that is unknown is left so.

        Args:
            run_id: the run.
            state: that of the run.
            activity: how what was done with it ended: the state of the trainings and iterations it left open.
        """
        with mlflow_errors(self._home):
            for found in self._client.search_runs([self._experiment], f"tags.`spar.run_id` = '{run_id}'"):
                if found.data.tags.get("spar.level") in ("run", "experiment"):
                    self._set_state(found.info.run_id, state)
                elif found.info.status == "RUNNING":
                    self._client.set_terminated(found.info.run_id, _STATES[activity])

    def open_experiment(self, experiment_id: str, name: str) -> str:
        """The MLflow run of an experiment, made or found again; returns its id."""
        return self._running(self._open(name, {"spar.run_id": experiment_id, "spar.level": "experiment"}, None))

    def nest(self, run_id: str, parent: str, tags: Mapping[str, str]) -> str:
        """Show a `spar` run below an experiment's, with tags to tell it apart; a finished one stays so."""
        identity = {"spar.run_id": run_id, "spar.level": "run"}
        with mlflow_errors(self._home):
            found = self._search(identity)
        mlflow_run = str(found.info.run_id) if found is not None else self.open_run(run_id)
        with mlflow_errors(self._home):
            for name, value in {_PARENT: parent, **tags}.items():
                self._client.set_tag(mlflow_run, name, value)
        return mlflow_run

    def log_files(self, mlflow_run: str, files: Iterable[Path]) -> None:
        """Keep copies of files with a run."""
        with mlflow_errors(self._home):
            for file in files:
                self._client.log_artifact(mlflow_run, str(file))

    def open_iteration(self, run_id: str, iteration: int) -> str:
        """The MLflow run of one iteration, a child of the run's; returns its id."""
        tags = {"spar.run_id": run_id, "spar.level": "iteration", "spar.iteration": str(iteration)}
        return self._running(self._open(f"iteration {iteration}", tags, self.open_run(run_id)))

    def open_stage(self, run_id: str, iteration: int, stage: str, stage_key: str) -> str:
        """The MLflow run of one stage that logs curves (training), a child of the iteration's; returns its id."""
        tags = {"spar.run_id": run_id, "spar.level": "stage", "spar.stage": stage, "spar.stage_key": stage_key}
        tags["spar.iteration"] = str(iteration)
        return self._running(self._open(stage, tags, self.open_iteration(run_id, iteration)))

    def log_metrics(self, mlflow_run: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log values at one step; those that are there already with the same value are left out."""
        self.log_points(mlflow_run, [Point(step, metrics)])

    def log_points(self, mlflow_run: str, points: Iterable[Point]) -> None:
        """Log a curve in as few calls as possible; known points are left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with mlflow_errors(self._home):
            known = self._points(mlflow_run)
            fresh = []
            for point in points:
                for key, value in point.metrics.items():
                    name, place = mlflow_name(key), float(value)
                    if known.get((name, point.step)) != place:
                        known[name, point.step] = place
                        fresh.append(Metric(name, place, now, point.step))
            for start in range(0, len(fresh), METRICS_PER_CALL):
                self._client.log_batch(mlflow_run, metrics=fresh[start : start + METRICS_PER_CALL])

    def log_dataset(self, mlflow_run: str, artifact: ArtifactRef, context: str) -> None:
        """Say that a run used an artifact; `context` is what for ("training", "evaluation").

        MLflow shows the columns and the number of rows of its largest table.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": artifact.uri})
        tables = {table: rows for table, rows in artifact.rows.items() if table != "drops"}
        table = max(tables, key=tables.__getitem__, default=None)
        schema = None if table is None else json.dumps({"mlflow_colspec": _columns(table)})
        profile = json.dumps({"table": table, "num_rows": tables.get(table or "", 0)})
        digest = artifact.content_digest[:_MAX_DIGEST]
        dataset = Dataset(artifact.stage, digest, "local", source, schema=schema, profile=profile)
        with mlflow_errors(self._home):
            entry = DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
            self._client.log_inputs(mlflow_run, datasets=[entry])

    def tag(self, mlflow_run: str, name: str, value: str) -> None:
        """Attach a word or a link, such as the address of the run in Prefect's UI."""
        with mlflow_errors(self._home):
            self._client.set_tag(mlflow_run, f"spar.{mlflow_name(name)}", value)

    def log_page(self, run_id: str, name: str, html: str) -> None:
        """Keep a page with a `spar` run, in place of one of that name; MLflow shows it among the run's artifacts."""
        with mlflow_errors(self._home):
            self._client.log_text(self.open_run(run_id), html, name)

    def log_table(self, mlflow_run: str, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep rows with a run as the table `NAME.json`, in place of one of that name; MLflow shows it as a table.

        `MlflowClient.log_table` would add its rows to those that are there.
        """
        file = f"{mlflow_name(name)}.json"
        columns = list(dict.fromkeys(column for row in rows for column in row))
        table = {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}
        with mlflow_errors(self._home):
            self._client.log_text(mlflow_run, json.dumps(table), file)
            known = json.loads(self._client.get_run(mlflow_run).data.tags.get(_TABLES, "[]"))
            entry = {"path": file, "type": "table"}
            if entry not in known:
                self._client.set_tag(mlflow_run, _TABLES, json.dumps([*known, entry]))

    def describe(self, run_id: str, text: str, iteration: int | None = None) -> None:
        """Write the description (Markdown) of a `spar` run, or of one of its iterations, as far as MLflow knows it."""
        tags = {"spar.run_id": run_id, "spar.level": "run" if iteration is None else "iteration"}
        tags |= {} if iteration is None else {"spar.iteration": str(iteration)}
        with mlflow_errors(self._home):
            if (found := self._found(tags)) is not None:
                self._client.set_tag(found, _NOTE, text)

    def close(self, mlflow_run: str, state: str) -> None:
        """Say how a run ended: "completed", "failed" or "interrupted"."""
        with mlflow_errors(self._home):
            self._client.set_terminated(mlflow_run, _STATES[state])

    def _set_state(self, mlflow_run: str, state: str) -> None:
        """Enter a state of the ledger; a time of end is set with those that end a run."""
        wanted = _STATES[state]
        if self._client.get_run(mlflow_run).info.status == wanted:
            return
        if wanted in _ENDED:
            self._client.set_terminated(mlflow_run, wanted)
        else:
            self._client.update_run(mlflow_run, status=wanted)

    def forget(self, run_ids: Iterable[str]) -> None:
        """Hide `spar` runs and all below them; `mlflow gc` removes hidden runs for good."""
        with mlflow_errors(self._home):
            for run_id in run_ids:
                while found := self._search({"spar.run_id": run_id}):
                    self._client.delete_run(found.info.run_id)

    def _open(self, name: str, tags: dict[str, str], parent: str | None) -> str:
        identity = canonical_json(tags)
        if identity not in self._opened:
            with mlflow_errors(self._home):
                self._opened[identity] = self._found(tags) or self._made(name, tags, parent)
        return self._opened[identity]

    def _found(self, tags: dict[str, str]) -> str | None:
        found = self._search(tags)
        return None if found is None else str(found.info.run_id)

    def _running(self, mlflow_run: str) -> str:
        with mlflow_errors(self._home):
            self._set_state(mlflow_run, "running")
        return mlflow_run

    def _search(self, tags: Mapping[str, str]) -> Any:
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return next(iter(self._client.search_runs([self._experiment], wanted, max_results=1)), None)

    def _made(self, name: str, tags: dict[str, str], parent: str | None) -> str:
        if parent is not None:
            tags = tags | {_PARENT: parent}
        return str(self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id)

    def _log_parameters(self, mlflow_run: str, parameters: dict[str, str]) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(mlflow_run).data.params
        fresh = [Param(key, value) for key, value in parameters.items() if key not in known]
        for start in range(0, len(fresh), _MAX_PARAMETERS):
            self._client.log_batch(mlflow_run, params=fresh[start : start + _MAX_PARAMETERS])

    def _points(self, mlflow_run: str) -> dict[tuple[str, int], float]:
        if mlflow_run not in self._known:
            names = self._client.get_run(mlflow_run).data.metrics
            self._known[mlflow_run] = {
                (name, metric.step): metric.value
                for name in names
                for metric in self._client.get_metric_history(mlflow_run, name)
            }
        return self._known[mlflow_run]


def _columns(table: str) -> list[dict[str, Any]]:
    """The columns of a table as MLflow writes a schema; nested ones count as text, which they are shown as."""
    return [
        {"name": column.name, "type": _TYPES.get(str(column.type), "string"), "required": not column.nullable}
        for column in schema_of(record_type(table))
    ]


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{mlflow_name(str(key))}"
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{name}."))
        else:
            flat[name] = (value if isinstance(value, str) else canonical_json(value))[:_MAX_VALUE]
    return flat
