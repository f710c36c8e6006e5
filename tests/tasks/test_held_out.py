"""What is measured on is not trained on, whatever the prompts of self-play come from."""

import json
from pathlib import Path
from typing import Any

from flows.wiring.stage_calls import file_ref
from spar_core.config.prompts import PromptsConfig
from spar_core.synthesis import seed_prompts
from storage.artifacts import ArtifactRef
from storage.home import Home
from tasks.bookkeeping import LedgerEntry
from tasks.calls import FileRef, StageCall
from tasks.evaluation import EVAL_PROMPTS
from tasks.prompts import PROMPTS
from tasks.runtime import Runtime
from tasks.stages import Stage


def made(home: Path, stage: Stage, files: dict[str, FileRef] | None = None, **config: Any) -> ArtifactRef:
    call = StageCall(
        stage.name, stage.version, str(Home(home).root), "run", 1, 0, config=config, files=files or {}, engines={}
    )
    entry = LedgerEntry(Runtime.of(call.home).ledger, call)
    artifact = stage.compute(call)
    entry.completed(artifact, cached=False)
    return artifact


def self_play_prompts(home: Path, files: dict[str, FileRef] | None = None, **settings: Any) -> ArtifactRef:
    prompts = PromptsConfig(per_iteration=20, **settings).model_dump(mode="json")
    return made(home, PROMPTS, files, prompts=prompts, iteration=1)


def test_held_out_prompts_are_of_their_split_and_half_of_them_like_training(tmp_path):
    for split in ("dev", "test"):
        prompts = made(tmp_path, EVAL_PROMPTS, source="verifiable", split=split, count=10).read("eval_prompts")
        found = list(prompts)
        assert [prompt.source for prompt in found] == ["verifiable/iid", "verifiable/heldout"] * 5
        assert all(any(prompt.text.startswith(text) for text in seed_prompts(split)) for prompt in found)
    trained = list(self_play_prompts(tmp_path, source="verifiable").read("prompts"))
    assert len(trained) == 20
    assert all(any(prompt.text.startswith(text) for text in seed_prompts("train")) for prompt in trained)


def test_a_prompt_of_a_user_that_holds_a_held_out_instruction_is_a_drop(tmp_path):
    held_out = next(text for text in seed_prompts("test") if len(text.split()) > 8)
    rows = [f"{held_out} Use no commas.", "Write a poem about a lamp that is never lit."]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows))
    artifact = self_play_prompts(tmp_path / "home", {"prompts": file_ref(file)}, source="file", path=str(file))
    assert [prompt.text for prompt in artifact.read("prompts")] == rows[1:]
    (drop,) = artifact.read("drops")
    assert (drop.reason, drop.detail.partition(":")[0]) == ("benchmark_overlap", "held-out instructions")
