"""The prompts of a run: each seed once, evolved by one model before the first iteration, never twice the same."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import flow

from flows.wiring.iteration_data import IterationData
from flows.wiring.models import ModelFinder
from flows.wiring.prompting import RunPrompts
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner
from spar_core.config.loading import load_config
from spar_core.engines.server_identity import PROBES
from spar_core.errors import EngineError
from storage.artifacts import ArtifactRef
from storage.home import Home
from storage.ledger import Ledger
from tasks.runtime import Runtime
from tests.chat_server import chat_server

pytestmark = pytest.mark.usefixtures("prefect_server")
SCRIPT = "tests.flows.wiring.test_prompting:evolved_by_the_base"


def evolved_by_the_base(request, _index):
    return f"<new_instruction>by the base {request.seed}</new_instruction>"


def evolve(text: str) -> str:
    seed = text.partition("<instruction>\n")[2].partition("\n")[0]
    return f"<new_instruction>{seed}, but in rhyme</new_instruction>"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    def made(*settings: str, home: str = "home") -> Run:
        scripted = ["engine.kind=scripted", f"engine.script={SCRIPT}", "prompts.per_iteration=4", "iterations=2"]
        return Run(Home(tmp_path / home), "prompted", load_config("smoke", overrides=[*scripted, *settings]))

    return made


def written(tmp_path: Path, texts: list[str]) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return file


def prompts(run: Run, *numbers: int, up_front: bool = False) -> list[ArtifactRef]:
    @flow(name="prompts")
    def drawn() -> list[ArtifactRef]:
        with Runtime.of(str(run.home.root)).held():
            if up_front:
                IterationData(run, StageRunner(run)).prepare()
            made = RunPrompts(run, StageRunner(run), ModelFinder(run.home, run.config.engine))
            return [made.of_iteration(number) for number in numbers]

    return drawn()


def texts(artifact: ArtifactRef) -> list[str]:
    return [row.text for row in artifact.read("prompts")]


def entries(run: Run) -> dict[int, object]:
    return {entry.iteration: entry for entry in Ledger(run.home).stages(run.run_id) if entry.stage == "prompts"}


def test_a_named_model_evolves_each_seed_once_before_the_first_iteration(run, tmp_path):
    rows = written(tmp_path, [f"Seed {n}" for n in range(8)])
    with chat_server(evolve) as server:
        named = run("prompts.source=taxonomy", f"prompts.path={rows}", f"prompts.evolver={server.url}#m")
        prompts(named, up_front=True)
        asked = [text for text in server.prompts if text not in PROBES]
        assert set(entries(named)) == {1, 2}
        first, second = prompts(named, 1, 2)
        assert len([text for text in server.prompts if text not in PROBES]) == len(asked) == 8
    assert texts(first) == [f"Seed {n}, but in rhyme" for n in range(4)]
    assert texts(second) == [f"Seed {n}, but in rhyme" for n in range(4, 8)]
    assert set(first.manifest().model_digests) == {"evolver"}
    assert [entry.stage for entry in second.manifest().inputs] == ["prompts"]
    assert prompts(named, 2) == [second]  # though nobody answers there any more
    with pytest.raises(EngineError):
        prompts(named, 3)


def test_the_base_model_evolves_where_none_is_named_and_that_is_said(run, tmp_path, caplog):
    rows = written(tmp_path, [f"Seed {n}" for n in range(3)])
    unnamed = run("prompts.source=taxonomy", f"prompts.path={rows}")
    with caplog.at_level(logging.WARNING):
        (first,) = prompts(unnamed, 1)
    assert all(text.startswith("by the base") for text in texts(first))
    assert "the base actor itself evolves the prompts" in caplog.text
    assert "3 seed instructions for 4 prompts so far: each is evolved up to 2 times" in caplog.text


def test_a_prompt_of_an_earlier_iteration_is_a_drop(run, tmp_path):
    rows = written(tmp_path, ["one", "two", "three", "four", "TWO ", "five", "six", "seven", "eight"])
    first, second = prompts(run("prompts.source=file", f"prompts.path={rows}"), 1, 2)
    assert texts(first) == ["one", "two", "three", "four"]
    assert texts(second) == ["five", "six", "seven"]
    (drop,) = second.read("drops")
    (two,) = [row.prompt_id for row in first.read("prompts") if row.text == "two"]
    assert (drop.reason, drop.detail) == ("exact_duplicate", two)
    manifest = second.manifest()
    assert manifest.rows_in == manifest.rows_out + 1 == 4


def test_a_file_too_short_for_the_run_starts_over(run, tmp_path, caplog):
    rows = written(tmp_path, ["one", "two", "three", "four"])
    short = run("prompts.source=file", f"prompts.path={rows}")
    with caplog.at_level(logging.WARNING):
        first, second = prompts(short, 1, 2)
    assert texts(second) == texts(first)
    assert "reuse" in caplog.text


def test_earlier_prompts_are_entered_once_and_found_by_later_iterations(run):
    starter = run()
    prompts(starter, 1)
    before = entries(starter)[1]
    (third,) = prompts(starter, 3)
    assert [entry.stage for entry in third.manifest().inputs] == ["prompts", "prompts"]
    found = entries(starter)
    assert set(found) == {1, 2, 3}
    assert found[1] == before


def test_named_benchmarks_count_by_their_content(run, tmp_path, benchmark_data):
    question = json.loads((benchmark_data / "ifeval" / "input_data.jsonl").read_text().splitlines()[0])["prompt"]
    rows = written(tmp_path, [question, "Name a bird that can swim."])
    named = run("prompts.source=file", f"prompts.path={rows}", "prompts.decontaminate=[ifeval, llmbar]")
    (first,) = prompts(named, 1)
    assert texts(first) == ["Name a bird that can swim."]
    (drop,) = first.read("drops")
    assert (drop.reason, drop.detail.partition(":")[0]) == ("benchmark_overlap", "ifeval")
    assert set(first.manifest().file_digests) == {"prompts", "benchmark.ifeval", "benchmark.llmbar"}
