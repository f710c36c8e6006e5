"""Edges from manifests and from the registry's entries."""

from storage.entries import ModelEntry
from storage.lineage import Edge, edges
from storage.manifests import ArtifactInput, Manifest


def _manifest(key, **changes):
    fields = {"stage": "s", "stage_key": key, "content_digest": "c", "created": "2026-01-01T00:00:00+00:00"}
    return Manifest(**fields | {"rows_in": 0, "rows_out": 0} | changes)


def test_edges_of_artifacts_and_models():
    pairs = ArtifactInput(stage="pairs", stage_key="pairs-key", content_digest="c")
    manifests = [
        _manifest("prompts-key", file_digests={"prompts": "questions"}),
        _manifest("responses-key", model_digests={"actor": "base"}),
        _manifest("train-key", inputs=(pairs,), model_digests={"actor": "base"}, model_digest="better"),
    ]
    known = {"run_id": "r", "role": "actor", "iteration": 1, "name": "actor", "version": 1, "uri": "u"}
    models = [
        ModelEntry(**known, digest="better", parent_digest="base", train_stage_key="train-key"),
        ModelEntry(**known, digest="given", parent_digest="elsewhere"),
    ]
    assert edges(manifests, models) == [
        Edge("artifact", "prompts-key", "file", "questions", "prompts-key", "prompts"),
        Edge("artifact", "responses-key", "model", "base", "responses-key", "actor"),
        Edge("artifact", "train-key", "artifact", "pairs-key", "train-key"),
        Edge("artifact", "train-key", "model", "base", "train-key", "actor"),
        Edge("model", "better", "artifact", "train-key", "train-key"),
        Edge("model", "better", "model", "base", "train-key", "actor"),
        Edge("model", "given", "model", "elsewhere", None),
    ]
