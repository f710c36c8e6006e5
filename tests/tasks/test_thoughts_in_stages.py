"""A reasoning model through the stages: thoughts in their column, lost samples as drops, nothing asked about those."""

from pathlib import Path

from spar_core.config.method import JudgingConfig
from spar_core.engines.base import Completion, GenerationRequest
from spar_core.engines.configuration import ScriptedEngineConfig
from spar_core.records import Prompt
from storage.artifacts import ArtifactStore
from storage.home import Home
from tasks.calls import StageCall
from tasks.engines import ModelRef
from tasks.judgements import JUDGEMENTS
from tasks.responses import RESPONSES

asked: list[str] = []


def script(request: GenerationRequest, index: int) -> str | Completion:
    text = request.messages[-1].content
    asked.append(text)
    if text == "Name birds.":
        return ["<think>Owls fly.</think>\n\nOwl.", Completion("", "length", 8, "Which birds are"), "Wren."][index]
    return "<think>Final verdict: YES</think>\nNo, it is one bird.\nFinal verdict: NO"


def test_thoughts_are_kept_and_lost_samples_are_drops(tmp_path: Path) -> None:
    home = Home(tmp_path)
    store = ArtifactStore(home)
    with store.part("prompts", "k", 0) as part:
        part.write("prompts", [Prompt.create("Name birds.")])
        part.account(rows_in=1, rows_out=1)
    inputs = {"prompts": store.commit("prompts", "k")}
    config = {
        "responses": {"per_prompt": 3, "max_tokens": 8},
        "judging": JudgingConfig(votes=3).model_dump(mode="json"),
    }
    models = dict.fromkeys(("actor", "refiner"), ModelRef("m", ""))
    engines = dict.fromkeys(models, ScriptedEngineConfig(script=f"{__name__}:script"))
    for stage in (RESPONSES, JUDGEMENTS):
        where = (str(tmp_path), "run", 1)
        call = StageCall(stage.name, stage.version, *where, 0, dict(inputs), models, config, engines=engines)
        inputs[stage.name] = stage.compute(call)
    judgements, answers = inputs["judgements"], inputs["responses"].read("responses")
    assert [(answer.text, answer.thought, answer.finish_reason) for answer in answers] == [
        ("Owl.", "Owls fly.", "stop"),
        ("", "Which birds are", "length"),
        ("Wren.", "", "stop"),
    ]
    assert {(str(vote.verdict), vote.thought) for vote in judgements.read("votes")} == {("NO", "Final verdict: YES")}
    assert [drop.reason for drop in judgements.read("drops")] == ["cut_thought"]
    assert len(list(judgements.read("judgements"))) == 2
    assert not any("Owls fly" in text or "Which birds are" in text for text in asked), "no thought is shown to a judge"
