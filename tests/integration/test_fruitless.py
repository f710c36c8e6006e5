"""A run whose refiner cannot be read: it stops within its first shard, says why, and keeps what it has."""

import json

from storage.catalog import open_catalog
from tests.integration.command_line import SCRIPT, spar

MUTE = SCRIPT.replace(":answer", ":mute")


def test_a_run_in_which_no_vote_can_be_read(tmp_path):
    run = ("run", "--preset", "smoke", "--set", "warm_start.source=none", "--set", "evaluation.enabled=false")
    judge = ("--set", "engine.kind=scripted", "--set", f"engine.script={MUTE}", "--home", tmp_path / "home")
    log = tmp_path / "asked"
    process = spar(*run, *judge, "--json", SCRIPT_LOG=str(log))
    assert process.returncode == 1
    assert "votes cannot be read" in process.stderr
    assert "no verdict line" in process.stderr
    assert "method.prompt_set" in process.stderr
    assert "Traceback" not in process.stderr
    with open_catalog(tmp_path / "home") as catalog:
        stages = {row["stage"]: row["state"] for row in catalog.rows("SELECT stage, state FROM stages")}
    assert stages == {"prompts": "completed", "responses": "completed", "judgements": "failed"}


def test_a_search_of_which_every_request_is_refused_fails(tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Say {n}", "response": "no"}) + "\n" for n in range(2)))
    engine = ("--set", "engine.kind=scripted", "--set", "engine.script=tests.integration.scripted_model:refuse")
    where = ("--out", tmp_path / "out", "--home", tmp_path / "home")
    process = spar("search", "--prompts", prompts, "--refiner", "starter", *where, *engine)
    assert process.returncode == 1
    assert "the engine refused every request (2 http_400)" in process.stderr
