"""A teacher behind a real vLLM server: `spar run` learns from what it writes, and accounts for every row."""

import json
import subprocess
import sys
from pathlib import Path

from spar_core.engines.vllm_server import VllmServer
from spar_core.evaluation.truth import is_right
from storage.catalog import open_catalog
from storage.home import Home
from storage.ledger import Ledger
from tasks.runtime import Runtime
from tests.vllm.vllm_environment import needs_vllm

pytestmark = needs_vllm(1800)


def test_a_served_teacher_warm_starts_both_roles(starter_server: VllmServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "flows", "run", "--preset", "smoke", "--iterations", "0", "--json"]
    settings = ["source=teacher", f"teacher={starter_server.base_url}", "actor_examples=60", "refiner_examples=60"]
    settings += ["tries=4", "min_agreement=0.6"]
    overrides = [part for setting in settings for part in ("--set", f"warm_start.{setting}")]
    done = subprocess.run([*command, *overrides, "--home", str(home)], check=True, stdout=subprocess.PIPE, text=True)
    lessons = {entry["role"]: entry for entry in json.loads(done.stdout)["warm_start"]}
    assert set(lessons) == {"actor", "refiner"}
    stages = {entry.stage: entry for entry in Ledger(Home(home)).stages()}
    assert {"responses-teacher", "responses-base", "judgements-teacher", "trees-teacher"} <= set(stages)
    assert all(entry.rows_in == entry.rows_out + entry.rows_dropped for entry in stages.values())
    for role, lesson in lessons.items():
        assert lesson["examples"] > 0, lessons
        assert lesson["rows"] == lesson["examples"] + sum(lesson["left_out"].values())
        assert f"warm_start_{role}" in stages  # it was trained on them

    # What the actor learns from truly meets every constraint: the rules were on.
    store = Runtime.of(str(Home(home).root)).store
    key = {name: stages[name].stage_key for name in ("prompts-warm_start_actor", "warm_start_examples_actor")}
    prompts = {
        row.text: row
        for row in store.require("prompts-warm_start_actor", key["prompts-warm_start_actor"]).read("prompts")
    }
    for example in store.require("warm_start_examples_actor", key["warm_start_examples_actor"]).read(
        "refiner_examples"
    ):
        request, answer = (message.content for message in example.messages)
        assert is_right(prompts[request], answer)
    with open_catalog(home) as catalog:
        (trained,) = catalog.rows("SELECT count(*) AS n FROM models WHERE iteration = 0")
    assert trained["n"] == 2
