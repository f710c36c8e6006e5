"""What a user or a server gets wrong, through the command line: a clear error or a recorded drop, no traceback."""

import functools
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows.cli import invoke
from spar_core.engines.configuration import OpenAIEngineConfig
from spar_core.engines.model_reference import ServerReference
from spar_core.starter import base_model_dir
from storage.catalog import open_catalog
from storage.ledger import Ledger
from tests.integration.command_line import SCRIPTED, spar
from tests.spar_core.engines.misbehaving_server import Reply, answer, choice, serving

REWRITE = "<revised_answer>\nrewritten\n</revised_answer>"


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def printed(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Ended]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: str | Path) -> Ended:
        capfd.readouterr()
        code = invoke([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Ended(code, out, err)

    return run


@pytest.fixture
def search(cli: Cli, tmp_path: Path, prefect_server: str) -> Cli:
    """`spar search` over three prompts; further arguments come last and win."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"prompt": "Name {word}."}}\n' for word in ("one", "two", "three")), encoding="utf-8")
    where = ("--prompts", prompts, "--home", tmp_path / "home", "--out", tmp_path / "out", "--json")
    return functools.partial(cli, "search", *where)


def drops(home: Path) -> list[tuple[str, str]]:
    with open_catalog(home) as catalog:
        rows = catalog.rows("SELECT DISTINCT stage, record_id, reason FROM drops ORDER BY ALL")
    return sorted((row["stage"], row["reason"]) for row in rows)


# Configuration


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "training.actor.lerning_rate=1"], ["training.actor.lerning_rate", "unknown", "learning_rate"]),
        (["--set", "method.search.branch=0"], ["method.search.branch", "greater than or equal to 1", "got 0"]),
        (["--set", "training.actor.learning_rate=fast"], ["training.actor.learning_rate", "number", "'fast'"]),
        (
            ["--set", "method.search.strategy=dijkstra"],
            ["method.search.strategy", "'bfs', 'dfs' or 'chain'", "'dijkstra'"],
        ),
        (["--set", "iterations"], ["key.path=value", "'iterations'"]),
        (["--preset", "smok"], ["'smok'", "smoke", "starter", "llama3-8b"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml", "does not exist"]),
        (["--iterations", "-1"], ["--iterations", "-1"]),
        (["--run-id", "../escape"], ["'../escape'", "letters, digits"]),
    ],
)
def test_a_wrong_configuration_names_key_value_and_what_is_allowed(cli, tmp_path, arguments, told):
    ended = cli("run", "--home", tmp_path / "home", *arguments)
    assert ended.code == 2
    for words in told:
        assert words in ended.err
    assert not (tmp_path / "home").exists()


def test_an_unknown_command_or_option_is_bad_usage(cli):
    assert cli("rum").code == 2
    ended = cli("run", "--presett", "smoke")
    assert ended.code == 2
    assert "--presett" in ended.err


# Models


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("./no/such/folder", ["./no/such/folder", "no such folder", "actor@champion"]),
        ("actor@champion", ["actor@champion", "none"]),
    ],
)
def test_a_missing_model_is_named_with_what_can_be_given(search, model, told):
    ended = search("--actor", model, "--refiner", "starter", *SCRIPTED)
    assert ended.code == 1
    for words in told:
        assert words in ended.err


def test_a_folder_without_weights_is_no_model(cli, tmp_path, prefect_server):
    (tmp_path / "empty").mkdir()
    ended = cli("run", "--preset", "smoke", "--home", tmp_path / "home", "--set", f"models.actor={tmp_path / 'empty'}")
    assert ended.code == 1
    assert f"model folder {tmp_path / 'empty'} holds no config.json" in ended.err


def test_corrupt_weights_are_named(search, tmp_path):
    corrupt = tmp_path / "corrupt"
    shutil.copytree(base_model_dir(), corrupt)
    for file in corrupt.glob("*.safetensors"):
        file.write_bytes(b"not weights")
    ended = search("--actor", corrupt, "--refiner", "starter")
    assert ended.code == 1
    assert str(corrupt) in ended.err


def test_a_prompt_too_long_for_the_context_is_a_recorded_drop(search, tmp_path):
    prompts = tmp_path / "long.jsonl"
    long = "Name a bird. " * 3000
    prompts.write_text(json.dumps({"prompt": long}) + '\n{"prompt": "Name a bird."}\n', encoding="utf-8")
    cheap = ("--set", "method.responses.per_prompt=1", "--set", "method.judging.votes=3", "--node-budget", "1")
    ended = search("--prompts", prompts, "--actor", "starter", "--refiner", "starter", *cheap)
    assert ended.code == 0
    assert ended.printed["rows"]["responses"] == 1
    assert ("responses", "prompt_too_long") in drops(tmp_path / "home")


# Prompts


def test_a_broken_line_is_named_and_can_be_skipped(search, tmp_path):
    prompts = tmp_path / "broken.jsonl"
    prompts.write_text('{"prompt": "Name a bird."}\n{"prompt": "cut o\n{"prompt": "Name a fish."}\n', encoding="utf-8")
    models = ("--prompts", prompts, "--actor", "starter", "--refiner", "starter", *SCRIPTED)

    ended = search(*models)
    assert ended.code == 1
    assert f"{prompts}, line 2" in ended.err

    ended = search(*models, "--skip-bad")
    assert (ended.code, ended.err) == (0, "")
    assert ended.printed["rows"]["prompts"] == 2
    with open_catalog(tmp_path / "home") as catalog:
        (drop,) = catalog.rows("SELECT * FROM drops WHERE reason = 'bad_row'")
    assert f"{prompts}, line 2" in drop["detail"]


def test_a_process_of_its_own_says_it_in_one_line(tmp_path, prefect_server):
    (tmp_path / "broken.jsonl").write_text("not JSON\n", encoding="utf-8")
    where = ("--prompts", tmp_path / "broken.jsonl", "--home", tmp_path / "home", "--out", tmp_path / "out", "--json")
    ended = spar("search", *where, "--actor", "starter", "--refiner", "starter", PREFECT_API_URL=prefect_server)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"spar: {tmp_path / 'broken.jsonl'}, line 1: not a JSON object")
    assert ended.stderr.count("\n") == 1


def test_a_missing_prompts_file_is_named(search, tmp_path):
    ended = search("--prompts", tmp_path / "none.jsonl", "--actor", "starter", "--refiner", "starter", *SCRIPTED)
    assert ended.code == 1
    assert f"{tmp_path / 'none.jsonl'}: no such file" in ended.err


# Servers


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One second instead of ten minutes, two instead of fifteen for a busy server, one retry instead of six."""
    engine = ServerReference.engine

    def patient(server: ServerReference, model: str, **changed: Any) -> OpenAIEngineConfig:
        return engine(server, model, max_retries=1, timeout_s=1.0, max_wait_s=2.0, **changed)

    monkeypatch.setattr(ServerReference, "engine", patient)


def well_behaved(body: dict[str, Any], call: int) -> Reply:
    """Says NO to every answer and YES to every rewrite."""
    text = body["messages"][-1]["content"]
    if text.startswith("A response to an instruction was checked"):
        said = REWRITE
    elif text.startswith("You check"):
        said = f"Final verdict: {'YES' if 'rewritten' in text else 'NO'}"
    else:
        said = "an answer"
    return answer(*(choice(f"{said}", index) for index in range(body["n"])), completion_tokens=3)


def is_answering(body: dict[str, Any], word: str) -> bool:
    """Whether the actor is asked for the prompt with this word."""
    return body["messages"][-1]["content"] == f"Name {word}."


def test_a_server_of_the_users_own_is_searched_with(search, tmp_path):
    with serving(well_behaved) as server:
        ended = search("--actor", f"{server.url}/v1#m", "--refiner", f"{server.url}/v1")
    assert (ended.code, ended.err) == (0, "")
    assert ended.printed["rows"]["trees"] == 3
    with open_catalog(tmp_path / "home") as catalog:
        trees = catalog.rows("SELECT stop_reason, accepted_node_id FROM trees")
    assert all(tree["accepted_node_id"] for tree in trees)
    assert {message["role"] for body in server.requests for message in body["messages"]} == {"user"}  # no system role


def bad_request(**error: Any) -> Reply:
    return Reply(400, {"error": {"message": "refused", "type": "BadRequestError", "code": 400, **error}})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(200, b"<html>it works</html>"), "malformed_answer"),
        (Reply(200, {"choices": "none"}), "malformed_answer"),
        (answer(choice(None)), "empty_choice"),
        (
            bad_request(message="This model's maximum context length is 64 tokens", param="input_tokens"),
            "prompt_too_long",
        ),
        (bad_request(), "http_400"),
        (Reply(422, {"error": {"message": "temperature"}}), "http_422"),
    ],
)
def test_what_a_server_makes_of_one_request_is_a_recorded_drop(search, tmp_path, impatient, reply, reason):
    def behaviour(body: dict[str, Any], call: int) -> Reply:
        return reply if is_answering(body, "two") else well_behaved(body, call)

    with serving(behaviour) as server:
        ended = search("--actor", f"{server.url}/v1", "--refiner", f"{server.url}/v1")
    assert (ended.code, ended.err) == (0, "")
    assert ended.printed["rows"]["trees"] == 2
    assert ("responses", reason) in drops(tmp_path / "home")


@pytest.mark.parametrize(
    ("trouble", "told"), [("http_500", "HTTP 500"), ("http_503", "HTTP 503"), ("hangs", "Timeout")]
)
def test_a_server_that_goes_down_stops_the_search_and_loses_nothing(search, tmp_path, impatient, trouble, told):
    healthy = threading.Event()
    patience = threading.Event()

    def behaviour(body: dict[str, Any], call: int) -> Reply:
        if healthy.is_set() or not body["messages"][-1]["content"].startswith("You check"):
            return well_behaved(body, call)
        if trouble == "hangs":
            patience.wait(2.0)
        return Reply(int(trouble[-3:]) if trouble != "hangs" else 500, {"error": {"message": "out of memory"}})

    with serving(behaviour) as server:
        arguments = ("--actor", f"{server.url}/v1", "--refiner", f"{server.url}/v1")
        ended = search(*arguments, "--set", "orchestration.shard_retries=0")
        patience.set()
        assert ended.code == 1
        assert told in ended.err
        assert server.url in ended.err
        assert "run again: finished work is kept" in ended.err
        stages = {stage.stage: stage.state for stage in Ledger(home_of(tmp_path)).stages()}
        assert stages["search_responses"] == "completed"
        assert stages["judgements"] == "failed"

        healthy.set()
        server.requests.clear()
        ended = search(*arguments, "--set", "orchestration.shard_retries=0")
        assert ended.code == 0
        assert len(ended.err.splitlines()) == 1
        assert "m at " in ended.err
        assert " reused (identity " in ended.err
        assert not any(is_answering(body, word) for body in server.requests for word in ("one", "two", "three"))


def home_of(folder: Path) -> Any:
    from storage.home import Home

    return Home(folder / "home")


def test_nothing_answers_at_the_address(search):
    with serving() as server:
        address = f"{server.url}/v1"
    ended = search("--actor", address, "--refiner", address)
    assert ended.code == 1
    assert address in ended.err
    assert "start it" in ended.err


def test_a_server_without_that_model_says_which_it_has(search):
    def behaviour(body: dict[str, Any], call: int) -> Reply:
        return Reply(404, {"error": {"message": f"no model {body['model']!r}"}})

    with serving(behaviour) as server:
        ended = search("--actor", f"{server.url}/v1#other", "--refiner", f"{server.url}/v1#other")
    assert ended.code == 1
    assert "'other'" in ended.err
    assert "'m'" in ended.err


# The disk


def test_a_full_disk_is_named_and_what_was_finished_stays(search, tmp_path, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    log = tmp_path / "asked.log"
    monkeypatch.setenv("SCRIPT_LOG", str(log))
    models = ("--actor", "starter", "--refiner", "starter", *SCRIPTED)

    def full(path: Path) -> Any:
        return Path("/dev/full").open("wb") if "stage=judgements" in str(path) else path.open("wb")

    with monkeypatch.context() as patch:
        patch.setattr("storage.parts._open", full)
        ended = search(*models)
    assert ended.code == 1
    assert "no space left on the disk" in ended.err
    assert "finished work is kept" in ended.err
    before = set(log.read_text(encoding="utf-8").splitlines())
    log.unlink()

    ended = search(*models)
    assert (ended.code, ended.err) == (0, "")
    assert before.isdisjoint(log.read_text(encoding="utf-8").splitlines())
