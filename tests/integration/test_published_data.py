"""From a folder shaped like the published data to a refiner whose votes and rewrites are read, in one command."""

import json
import random
from pathlib import Path

import pytest

from spar_core.records import Verdict
from spar_core.roles.rewrite import FAILURES
from spar_core.roles.verdict import parse_verdict
from spar_core.starter.teacher import answer_example
from spar_core.starter.world import generate_prompts
from storage.catalog import open_catalog
from tests.integration import published_shape as published
from tests.integration.command_line import spar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
# Measured: 106 of 125 votes read, 40 of 72 rewrites usable. At 5e-4 the new words are not learned, and none is.
RATES = {"epochs": 3, "learning_rate": "2e-3", "loss_turns": "all"}


def test_a_refiner_trained_on_rows_of_the_published_shape_is_read(tmp_path: Path) -> None:
    texts = published.write_prompt_set(tmp_path / "texts")
    rows = published.write_data(tmp_path / "data", texts, 1000)
    base = published.write_base(tmp_path / "base")
    where = ("--home", tmp_path / "home", "--json")
    method = ("--preset", "starter", "--set", f"method.prompt_set={texts}")
    rates = [word for key, value in RATES.items() for word in ("--set", f"training.warm_start_refiner.{key}={value}")]
    made = spar(
        "train", "refiner", "--examples", tmp_path / "data", "--model", base, *method, *rates, *where, timeout=1200
    )
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    refiners = rows["judgement_sft.json"] + rows["refinement_sft.json"]
    assert told["data"]["rows_in"] == sum(rows.values())
    assert told["data"]["rows_out"] == refiners
    assert told["data"]["drops"] == {"other_role": rows["actor_sft.json"]}
    assert told["training"]["rows_out"] + sum(told["training"]["drops"].values()) == refiners

    rng = random.Random(8)
    held_out = [answer_example(prompt, rng).messages for prompt in generate_prompts(24, 8, "test")]
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps([{"prompt": asked.content, "response": said.content} for asked, said in held_out]))
    refiner = told["model"]["reference"]
    # No configuration is named: the refiner is asked in the form of the run that trained it.
    asked = ("search", "--prompts", answers, "--refiner", refiner, "--out", tmp_path / "out", "--node-budget", "3")
    searched = spar(*asked, *where, timeout=600)
    assert searched.returncode == 0, searched.stderr
    with open_catalog(tmp_path / "home") as catalog:
        votes = catalog.rows("SELECT verdict, critique FROM votes")
        rewrites = catalog.rows("SELECT failure FROM tree_nodes WHERE depth > 0")
    readable = [vote for vote in votes if vote["verdict"] != "UNPARSEABLE"]
    usable = [node for node in rewrites if node["failure"] not in FAILURES]
    print(f"{len(readable)} of {len(votes)} votes read, {len(usable)} of {len(rewrites)} rewrites usable")  # noqa: T201
    assert len(votes) >= 24 * 5
    assert len(readable) >= 0.7 * len(votes)
    assert {vote["verdict"] for vote in readable} == {"YES", "NO"}
    assert len(rewrites) >= 12
    assert len(usable) >= 0.4 * len(rewrites)
    # The prompt set's format is what makes them readable, not the good will of the reader.
    assert {parse_verdict(vote["critique"], "stop") for vote in readable[:20]} == {Verdict.UNPARSEABLE}
