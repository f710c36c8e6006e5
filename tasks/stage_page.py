"""What a stage shows in Prefect: the assets it made and read, and a page of what became of it.

Assets are named by content, `spar://HOME/artifacts/STAGE/KEY` and `spar://HOME/models/DIGEST`, so that a stage that is
cached is the same asset as the one computed before. A UI that does not answer never stops the work.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
from prefect.artifacts import create_markdown_artifact
from prefect.assets import Asset, AssetProperties
from prefect.exceptions import PrefectException

from spar_core.errors import StorageError
from spar_core.hashing import digest
from storage import places
from storage.addresses import view_page
from storage.artifacts import ArtifactRef
from storage.home import Home
from storage.manifest_figures import drop_reasons, tokens
from tasks.calls import StageCall
from tasks.engines import ModelRef
from tasks.progress import artifact_key

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_log = logging.getLogger(__name__)


def asset_made(home: Home, call: StageCall) -> Asset:
    """The asset that a call makes."""
    said = f"Stage {call.title} of {call.run_id}"
    url = view_page(home, _place(call))
    return Asset(
        key=_artifact_key(home, call.stage, call.key),
        properties=AssetProperties(name=call.title, description=said, url=url),
    )


def assets_read(home: Home, call: StageCall) -> list[str | Asset]:
    """The assets that a call reads: its inputs, and the models it asks or trains."""
    inputs = [_artifact_key(home, ref.stage, ref.stage_key) for ref in call.inputs.values()]
    models = [_model_key(home, model) for model in call.models.values()]
    return list(dict.fromkeys([*inputs, *models]))


def show_stage(home: Home, call: StageCall, artifact: ArtifactRef) -> None:
    """Put the page of a finished stage beside its task run."""
    try:
        create_markdown_artifact(
            markdown=_page(home, call, artifact),
            key=artifact_key("stage", call.title, call.run_id),
            description=call.title,
        )
    except (PrefectException, httpx.HTTPError, OSError, StorageError) as error:
        _log.warning("stage %s is not shown in Prefect: %s", call.title, error)


def _page(home: Home, call: StageCall, artifact: ArtifactRef) -> str:
    manifest = artifact.manifest()
    asked = tokens(manifest)
    facts = {
        "run": f"[{call.run_id}]({view_page(home, _place(call))})",
        "report": f"[the run on one page]({view_page(home, places.report(call.run_id))})",
        "rows in": str(manifest.rows_in),
        "rows out": str(manifest.rows_out),
        "dropped": str(sum(manifest.drops.values())),
        "reasons": drop_reasons(manifest),
        "tokens": "" if asked is None else f"{asked:,}",
        "tables": ", ".join(f"{name} ({rows:,})" for name, rows in sorted(artifact.rows.items())),
        "made from": ", ".join(f"{ref.stage} `{ref.stage_key[:12]}`" for ref in call.inputs.values()),
        "models": ", ".join(f"{role} `{model.digest[:12]}`" for role, model in call.models.items()),
        "artifact": f"`{artifact.uri}`",
        "content": f"`{artifact.content_digest}`",
    }
    lines = [f"| {name} | {_cell(value)} |" for name, value in facts.items() if value]
    return "\n".join([f"# {call.title}", "", "| | |", "| --- | --- |", *lines])


def _place(call: StageCall) -> str:
    return places.run(call.run_id) if call.iteration is None else places.iteration(call.run_id, call.iteration)


def _artifact_key(home: Home, stage: str, stage_key: str) -> str:
    return f"spar://{home.identity}/artifacts/{stage}/{stage_key}"


def _model_key(home: Home, model: ModelRef) -> str:
    """A model that a stage of this home trained is that stage's asset."""
    stage = next(_stage_folders(home, model), None)
    if stage is None:
        return f"spar://{home.identity}/models/{_worded(model.digest)}"
    return _artifact_key(home, *stage)


def _worded(identity: str) -> str:
    """The identity of a model as an asset's key can hold it: of a server it may be any text (`--model-digest`)."""
    return identity if _PLAIN.fullmatch(identity) else digest(identity)


def _stage_folders(home: Home, model: ModelRef) -> Iterator[tuple[str, str]]:
    place = Path(model.location)
    if not place.is_relative_to(home.artifacts):
        return
    parts = [part.partition("=") for part in place.relative_to(home.artifacts).parts[:2]]
    if [name for name, _, _ in parts] == ["stage", "stage_key"]:
        yield parts[0][2], parts[1][2]


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")
