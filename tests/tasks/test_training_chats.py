"""Trainings lay out their chats as the engine does that serves the model, and that is in their keys."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.wiring.pipeline import Pipeline
from spar_core.config.run import RunConfig
from spar_core.config.training import SftTrainingConfig
from spar_core.engines.configuration import ScriptedEngineConfig, TransformersEngineConfig
from spar_core.records import Message, RefinerExample
from storage.artifacts import ArtifactStore
from storage.home import Home
from tasks.calls import StageCall
from tasks.engines import ModelRef
from tasks.training import TRAIN_REFINER, training_spec

OFF = {"enable_thinking": False}
PLAIN = TransformersEngineConfig()


def call_of(engine: Any, tmp_path: Path) -> tuple[StageCall, ArtifactStore]:
    """The call with which the pipeline of a run with this engine trains a refiner."""
    store = ArtifactStore(Home(tmp_path))
    with store.part("data", "k", 0) as part:
        turns = (Message("user", "a"), Message("assistant", "b"))
        part.write("refiner_examples", [RefinerExample("e", "answer", "s", turns)])
        part.account(rows_in=1, rows_out=1)
    data, calls = store.commit("data", "k"), []

    def run(stage: Any, iteration: int, inputs: Any, models: Any, reads: Any, intervals: Any) -> Any:
        calls.append(
            StageCall(stage.name, stage.version, str(tmp_path), "r", iteration, 1, inputs, models, config=reads)
        )
        return SimpleNamespace(model_folder=tmp_path)

    pipeline = Pipeline.__new__(Pipeline)
    pipeline.run = SimpleNamespace(home=None)  # type: ignore[assignment]
    pipeline.trained_by, pipeline._config = {}, RunConfig(engine=engine)
    trained = ModelRef("new", str(tmp_path))
    pipeline.stages = SimpleNamespace(run=run, trained_model=lambda _: trained)  # type: ignore[assignment]
    pipeline.train_on(TRAIN_REFINER, 1, "sft", data, ModelRef("old", str(tmp_path)), SftTrainingConfig())
    return calls[0], store


@pytest.mark.parametrize(
    ("engine", "layout"),
    [
        (PLAIN, {}),
        (ScriptedEngineConfig(script="a:b"), {}),
        (PLAIN.model_copy(update={"thought_tokens": 9, "threads": 2}), {}),  # which lays out nothing
        (PLAIN.model_copy(update={"chat_template_kwargs": OFF}), {"chat_template_kwargs": OFF}),
        (TransformersEngineConfig(thought_tags=(("<a>", "</a>"),)), {"thought_tags": [["<a>", "</a>"]]}),
    ],
)
def test_the_layout_of_chats_goes_from_the_engine_to_the_training(
    engine: Any, layout: dict[str, Any], tmp_path: Path
) -> None:
    call, store = call_of(engine, tmp_path)
    plain, _ = call_of(PLAIN, tmp_path / "plain")
    assert (call.key == plain.key) is (not layout)
    runtime = SimpleNamespace(home=Home(tmp_path))
    spec = training_spec(SimpleNamespace(call=call, store=store, runtime=runtime))  # type: ignore[arg-type]
    assert spec.chat.layout() == layout
    again = type(spec).model_validate_json(spec.model_dump_json())
    assert again == spec
    identity = spec.model_copy(update={"chat": type(spec.chat)()}).identity("m", ["d"])
    assert (spec.identity("m", ["d"]) == identity) is (not layout)
