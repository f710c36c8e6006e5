"""Stages of which the model's server refuses every request: none commits its emptiness, and none is stuck with it."""

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spar_core.config.method import JudgingConfig, RefinementConfig, SearchConfig
from spar_core.engines.base import GenerationRequest
from spar_core.engines.configuration import ScriptedEngineConfig
from spar_core.errors import EngineError, RequestRejectedError
from spar_core.records import Prompt, Response, Root
from storage.artifacts import ArtifactRef, ArtifactStore
from storage.home import Home
from tasks.calls import StageCall
from tasks.engines import ModelRef
from tasks.judgements import JUDGEMENTS
from tasks.responses import RESPONSES
from tasks.rubric_scores import RUBRIC_SCORES
from tasks.search_inputs import SEARCH_RESPONSES
from tasks.stages import Stage
from tasks.trees import TREES

PROMPTS = [Prompt.create(f"Say {number}") for number in range(3)]
ANSWERS = [Response(f"r{n}", prompt.prompt_id, 0, "no", "stop", 1, 1, "m", 0) for n, prompt in enumerate(PROMPTS)]
ROOTS = [Root(a.prompt_id, "Say it", a.response_id, a.text, "Wrong.", 0.0, 0, 5) for a in ANSWERS]
SAMPLING = {"per_prompt": 1, "max_tokens": 8}
CONFIG = {
    "responses": SAMPLING,
    "judging": JudgingConfig(votes=3, wordings=1).model_dump(mode="json"),
    "refinement": RefinementConfig().model_dump(mode="json"),
    "search": SearchConfig(branch=1, beam_width=1, max_depth=1, node_budget=1).model_dump(mode="json"),
}
refuses: list[Callable[[str], bool]] = []
asked: list[str] = []


def script(request: GenerationRequest, _index: int) -> str | Exception:
    text = request.messages[-1].content
    asked.append(text)
    if refuses and refuses[0](text):
        return RequestRejectedError("This server takes 16 tokens", "prompt_too_long")
    return "Here it is.\nFinal verdict: YES\nScore: 3"


class Bench:
    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.store = ArtifactStore(self.home)

    def stored(self, parts: int = 1, **tables: list[Any]) -> ArtifactRef:
        (stage,) = tables.keys() - {"given"}
        for number in range(parts):
            with self.store.part(stage, "k", number) as part:
                for table, rows in tables.items():
                    part.write("responses" if table == "given" else table, rows)
                part.account(rows_in=len(tables[stage]), rows_out=len(tables[stage]))
        return self.store.commit(stage, "k", parts=parts)

    def run(self, stage: Stage, **inputs: ArtifactRef) -> ArtifactRef:
        roles = ("actor", "refiner", "scorer")
        engine = ScriptedEngineConfig(script=f"{__name__}:script")
        models, engines = dict.fromkeys(roles, ModelRef("m", "")), dict.fromkeys(roles, engine)
        home = str(self.home.root)
        call = StageCall(stage.name, stage.version, home, "run", 1, 0, inputs, models, CONFIG, engines=engines)
        return stage.compute(call)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    asked.clear()
    refuses[:] = [lambda _text: True]
    return Bench(tmp_path / "home")


@pytest.mark.parametrize("stage", [RESPONSES, SEARCH_RESPONSES, JUDGEMENTS, RUBRIC_SCORES, TREES])
def test_a_stage_of_which_all_is_refused_fails_and_asks_anew_the_next_time(bench: Bench, stage: Stage) -> None:
    given = {"given": []} if stage is SEARCH_RESPONSES else {}
    inputs = {
        "prompts": bench.stored(prompts=PROMPTS, **given),
        "responses": bench.stored(responses=ANSWERS),
        "roots": bench.stored(roots=ROOTS),
    }
    with pytest.raises(EngineError, match=r"the engine refused every request \(3 prompt_too_long\)"):
        bench.run(stage, **inputs)
    refuses.clear()  # the server was set up otherwise, under the same identity
    before = len(asked)
    artifact = bench.run(stage, **inputs)
    assert (artifact.manifest().rows_out, artifact.manifest().drops) == (3, {})
    assert len(asked) - before >= 3


def test_answers_that_were_given_outlive_the_refusal_of_the_only_request(bench: Bench) -> None:
    prompts = bench.stored(prompts=PROMPTS, given=ANSWERS[:2])
    found = bench.run(SEARCH_RESPONSES, prompts=prompts).manifest()
    assert (found.rows_in, found.rows_out, found.drops) == (3, 2, {"prompt_too_long": 1})


def test_a_shard_leaves_no_file_open(bench: Bench) -> None:
    refuses.clear()
    prompts = bench.stored(20, prompts=PROMPTS)
    counts = []

    def counted(text: str) -> bool:
        counts.append(len(os.listdir("/proc/self/fd")))
        return False

    gc.collect()
    gc.disable()  # files are closed by name, not when memory is tidied up
    try:
        refuses[:] = [counted]
        bench.run(RESPONSES, prompts=prompts)
    finally:
        gc.enable()
    assert max(counts) <= counts[0] + 3
