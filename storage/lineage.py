"""What came from what: artifacts from artifacts, models and files, models from artifacts and parent models.

An artifact's id is its stage key, a model's id the digest of its weights, a file's id the digest of its content.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from storage.entries import ModelEntry
from storage.manifests import Manifest

NodeKind = Literal["artifact", "model", "file"]


class Edge(NamedTuple):
    """One child and one thing it was made from; `stage_key` is the stage that made it.

    `parent_name`: what the stage calls a model (its role) or a file; empty for all else.
    """

    child_kind: NodeKind
    child_id: str
    parent_kind: NodeKind
    parent_id: str
    stage_key: str | None
    parent_name: str = ""


def edges(manifests: Iterable[Manifest], models: Iterable[ModelEntry] = ()) -> list[Edge]:
    """Every edge once, in a stable order."""
    found = {edge for manifest in manifests for edge in _of_artifact(manifest)}
    known = {edge[:4] for edge in found}
    found.update(edge for model in models for edge in _of_model(model) if edge[:4] not in known)
    return sorted(found, key=lambda edge: (*edge[:4], edge.stage_key or "", edge.parent_name))


def _of_artifact(manifest: Manifest) -> Iterator[Edge]:
    key = manifest.stage_key
    for parent in manifest.inputs:
        yield Edge("artifact", key, "artifact", parent.stage_key, key)
    for role, digest in manifest.model_digests.items():
        yield Edge("artifact", key, "model", digest, key, role)
    for name, digest in manifest.file_digests.items():
        yield Edge("artifact", key, "file", digest, key, name)
    if manifest.model_digest is not None:
        yield Edge("model", manifest.model_digest, "artifact", key, key)
        for role, digest in manifest.model_digests.items():
            yield Edge("model", manifest.model_digest, "model", digest, key, role)


def _of_model(model: ModelEntry) -> Iterator[Edge]:
    if model.train_stage_key is not None:
        yield Edge("model", model.digest, "artifact", model.train_stage_key, model.train_stage_key)
    if model.parent_digest is not None:
        yield Edge("model", model.digest, "model", model.parent_digest, model.train_stage_key)
