"""What the finished stages of a home's runs took: the measured side of a plan."""

import json
from collections import Counter
from pathlib import Path

from spar_core.config.loading import build_config
from spar_core.config.run import RunConfig
from spar_core.errors import ConfigError
from spar_core.planning.assumptions import Assumptions
from spar_core.planning.calibration import Observed
from spar_core.planning.facts import Facts
from spar_core.planning.stage_work import work_of
from storage.artifacts import ArtifactStore
from storage.entries import StageRun
from storage.home import Home
from storage.ledger import Ledger
from storage.manifests import MODEL_FOLDER, Manifest, read_manifest
from storage.refs import ArtifactRef

_PROVENANCE = "training_provenance.json"


def observed(home: Home, like: RunConfig, assumed: Assumptions) -> dict[str, list[Observed]]:
    """Finished stages of runs of the same models by the same kind of engine, by stage name.

    Stages that a run found instead of computing them say nothing, and neither do those whose artifacts are gone.
    """
    ledger, found = Ledger(home), dict[str, list[Observed]]()
    for run in ledger.runs():
        try:
            config = build_config(run.config)
        except ConfigError:
            continue  # of a version with other keys
        if config.models != like.models or config.engine.kind != like.engine.kind:
            continue
        for stage in ledger.stages(run.run_id):
            entry = _observed(home, stage, config, assumed)
            if entry is not None:
                found.setdefault(stage.stage, []).append(entry)
    return found


def _observed(home: Home, stage: StageRun, config: RunConfig, assumed: Assumptions) -> Observed | None:
    found_only = stage.cached and not stage.made_here
    if stage.state != "completed" or found_only or not stage.seconds or stage.artifact_uri is None:
        return None
    folder = home.root / stage.artifact_uri
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    given = _given(home, manifest)
    expected = None if given is None else work_of(stage.stage, Facts(config, assumed, given))
    if expected is None:
        return None
    metrics = manifest.metrics
    work = expected._replace(
        rows=manifest.rows_in,
        tables=ArtifactRef.of(manifest, folder).rows,
        requests=int(metrics.get("requests", 0)),
        read=metrics.get("prompt_tokens", 0.0),
        written=metrics.get("completion_tokens", 0.0),
        steps=int(metrics.get("steps", 0)),
    )
    return Observed(expected, work, stage.seconds, _start_s(folder, stage.seconds) if work.steps else 0.0)


def _given(home: Home, manifest: Manifest) -> Counter[str] | None:
    """Rows of a stage's inputs by table; None where one of them is gone."""
    rows: Counter[str] = Counter()
    store = ArtifactStore(home)
    for source in manifest.inputs:
        folder = store.folder(source.stage, source.stage_key)
        read = read_manifest(folder)
        if read is None:
            return None
        rows.update(ArtifactRef.of(read, folder).rows)
    return rows


def _start_s(folder: Path, seconds: float) -> float:
    """Seconds of a training stage outside of the training itself: to start its subprocess, to take its model over."""
    try:
        inside = json.loads((folder / MODEL_FOLDER / _PROVENANCE).read_text(encoding="utf-8"))["seconds"]
    except (OSError, ValueError, LookupError, TypeError):
        return 0.0
    return max(0.0, seconds - float(inside))
