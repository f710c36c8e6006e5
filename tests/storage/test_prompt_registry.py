"""Prompts in a real MLflow registry: a version per wording."""

import pytest

from storage.home import Home
from storage.mlflow_store import connect
from storage.prompt_registry import log_prompts
from storage.tracking import Tracker


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_every_wording_is_kept_once(home):
    run = Tracker(home).open_run("r1")
    first = {"judge": "Does {{ response }} do it?", "refine": "Mend {{ response }}"}
    assert log_prompts(home, "mine", first, run) == {"judge": 1, "refine": 1}
    assert log_prompts(home, "mine", first | {"judge": "Is {{ response }} right?"}, run) == {"judge": 2, "refine": 1}
    assert log_prompts(home, "mine", first, run) == {"judge": 1, "refine": 1}
    prompt = connect(home).load_prompt("prompts:/mine.judge/2")
    assert (prompt.template, prompt.variables) == ("Is {{ response }} right?", {"response"})


def test_a_set_in_a_folder_goes_by_its_name(home, tmp_path):
    run = Tracker(home).open_run("r1")
    log_prompts(home, str(tmp_path / "my prompts"), {"judge": "{{ prompt }}"}, run)
    assert connect(home).get_prompt("my-prompts.judge") is not None
