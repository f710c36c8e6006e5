"""What a commit writes down: the manifest of a finished artifact, with the rule that no row vanishes."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spar_core.errors import StorageError
from spar_core.hashing import canonical_json, model_digest
from spar_core.secrets import redacted
from storage.digests import RowsDigest, content_digest
from storage.manifests import MODEL_FOLDER, ArtifactInput, Manifest, PartManifest, model_files
from storage.refs import ArtifactRef


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an artifact was made from, as its manifest says it. `config` is JSON-like."""

    inputs: tuple[ArtifactRef, ...] = ()
    model_digests: Mapping[str, str] = field(default_factory=dict)
    file_digests: Mapping[str, str] = field(default_factory=dict)
    engines: Mapping[str, Any] = field(default_factory=dict)
    data_digest: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    config: Any = None
    code_version: str = ""


def build_manifest(
    folder: Path,
    identity: tuple[str, str],
    parts: tuple[PartManifest, ...],
    rows: tuple[int, int],
    provenance: Provenance,
) -> Manifest:
    """The manifest of the artifact in `folder`: `identity` is (stage, key), `rows` is (rows in, rows out).

    Raises:
        StorageError: rows in differ from rows out + drops; the message names the difference.
    """
    _check_rows(identity[0], rows, sum(sum(part.drops.values()) for part in parts))
    tables: dict[str, RowsDigest] = {}
    drops: Counter[str] = Counter()
    metrics: dict[str, float] = {}
    for part in parts:
        drops.update(part.drops)
        for name, value in part.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + value
        for table in part.tables:
            tables[table.table] = tables.get(table.table, RowsDigest()).join(table.digest)
    model = folder / MODEL_FOLDER
    weights = model_digest(model) if model.is_dir() else None
    return Manifest(
        stage=identity[0],
        stage_key=identity[1],
        content_digest=content_digest(tables, weights),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=provenance.code_version,
        rows_in=rows[0],
        rows_out=rows[1],
        drops=dict(sorted(drops.items())),
        parts=parts,
        model=model_files(model),
        model_digest=weights,
        inputs=tuple(
            ArtifactInput(stage=ref.stage, stage_key=ref.stage_key, content_digest=ref.content_digest)
            for ref in provenance.inputs
        ),
        model_digests=dict(provenance.model_digests),
        file_digests=dict(provenance.file_digests),
        engines=redacted(provenance.engines),
        data_digest=provenance.data_digest,
        libraries=dict(provenance.libraries),
        config=redacted(json.loads(canonical_json(provenance.config))),
        metrics=metrics,
    )


def _check_rows(stage: str, rows: tuple[int, int], dropped: int) -> None:
    difference = rows[0] - rows[1] - dropped
    if difference:
        what = f"{difference} unaccounted for" if difference > 0 else f"{-difference} too many"
        raise StorageError(
            f"stage {stage!r}: {rows[0]} rows came in, {rows[1]} went out, {dropped} were dropped: {what}; "
            "this is a defect of the stage, nothing was committed"
        )
