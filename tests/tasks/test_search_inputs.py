"""Prompts of a user's file with and without answers, cut into parts."""

import json
from pathlib import Path

from flows.wiring.stage_calls import file_ref
from spar_core.config.run import OrchestrationConfig
from tasks.calls import StageCall, Surroundings
from tasks.search_inputs import SEARCH_PROMPTS, SEARCH_RESPONSES
from tasks.stages import Stage

ROWS = [("a", "1"), ("b", None), ("a", "2"), ("c", "3"), ("b", None), ("d", "4"), ("a", "5"), ("e", "6")]


def call(stage: Stage, home: Path, **reads: object) -> StageCall:
    surroundings = Surroundings(OrchestrationConfig(shard_size=2))
    return StageCall(stage.name, stage.version, str(home), "run", 0, 0, surroundings=surroundings, **reads)


def test_every_shard_reads_the_answers_given_to_its_own_prompts(tmp_path):
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": prompt} | ({"response": answer} if answer else {}) for prompt, answer in ROWS]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    home = tmp_path / "home"

    reads = {"files": {"prompts": file_ref(file)}, "config": {"skip_bad": False}}
    prompts = SEARCH_PROMPTS.compute(call(SEARCH_PROMPTS, home, **reads))
    assert [[row.text for row in prompts.read("prompts", part=part)] for part in range(3)] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
    assert [[row.text for row in prompts.read("responses", part=part)] for part in range(3)] == [
        ["1", "2", "5"],
        ["3", "4"],
        ["6"],
    ]
    assert (prompts.manifest().rows_in, prompts.manifest().drops) == (8, {"duplicate": 1})

    responses = SEARCH_RESPONSES.compute(call(SEARCH_RESPONSES, home, inputs={"prompts": prompts}))
    assert [row.text for row in responses.read("responses")] == ["1", "2", "5", "3", "4", "6"]
    assert (responses.manifest().rows_in, responses.manifest().drops) == (5, {"no_actor": 1})
    assert [part.cut for part in responses.manifest().parts] == [part.cut for part in prompts.manifest().parts]
