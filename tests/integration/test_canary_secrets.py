"""Canary secrets in every place that takes one, through real commands: none is found in the home (files, databases,
Parquet, logs), in what is printed, or in the list of processes; and each did its work."""

import json
import runpy
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from flows.wiring.request import RunRequest
from spar_core.errors import ConfigError
from tests.chat_server import chat_server
from tests.flows.scripted_teacher import teach
from tests.integration.command_line import ROOT, SCRIPTED, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CANARY = "canary5e1f"  # what every secret below holds
SECRETS = {
    "JUDGE_KEY": f"{CANARY}-judge-key",
    "FIELD_VALUE": f"{CANARY}-of-a-request-field",
    "TRAINING_TOKEN": f"{CANARY}-of-the-training",
    "ENGINE_TOKEN": f"{CANARY}-of-the-engine",
}
_PATIENCE_S = 600
_STAND_IN = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        verdict = "YES" if os.environ["HF_TOKEN"].endswith("of-the-engine") else "NO"
        message = {"role": "assistant", "content": f"Final verdict: {verdict}"}
        choices = [{"index": i, "message": message, "finish_reason": "stop"} for i in range(asked["n"])]
        self.reply({"choices": choices})
    def reply(self, content):
        raw = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
print(sys.argv, flush=True)
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str
    arguments_seen: set[str]
    """Command lines of processes of the machine that held a canary."""
    environments_seen: set[str]
    """Modules whose processes held one in their environment (which only their owner can read)."""


def spar(*arguments: str | Path, **variables: str) -> Ended:
    process = started(*arguments, **variables)
    texts: list[str] = []
    reader = threading.Thread(target=lambda: texts.extend(process.communicate()))
    reader.start()
    told: set[str] = set()
    held: set[str] = set()
    deadline = time.monotonic() + _PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                arguments_of = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                variables_of = (folder / "environ").read_bytes()
            except OSError:
                continue
            if CANARY in arguments_of:
                told.add(arguments_of)
            if b"WANDB_API_KEY=" + SECRETS["TRAINING_TOKEN"].encode() in variables_of:
                held.add(arguments_of)
        time.sleep(0.1)
    if process.poll() is None:
        process.kill()
    reader.join(30)
    return Ended(process.returncode, texts[0], texts[1], told, held)


def finds(home: Path) -> list[str]:
    """Files of a home that hold a canary; Parquet is searched after decompression."""
    found = []
    for file in home.rglob("*"):
        if not file.is_file():
            continue
        if CANARY.encode() in file.read_bytes():
            found.append(str(file))
        if file.suffix == ".parquet" and CANARY in str(pq.read_table(file).to_pylist()):
            found.append(f"{file} (a value)")
    return found


def assert_hidden(ended: Ended, home: Path) -> None:
    assert any(home.rglob("*.json"))
    assert not ended.arguments_seen
    assert CANARY not in ended.out + ended.err
    assert finds(home) == []


def test_a_run_with_a_served_second_voter_and_secrets_of_the_training(tmp_path):
    home = tmp_path / "home"
    with chat_server(lambda _: "Looked at it.\nFinal verdict: NO", token=SECRETS["JUDGE_KEY"]) as server:
        voter = tmp_path / "voter.yaml"
        fields = {"base_urls": [server.url], "model": "m", "api_key_env": "JUDGE_KEY", "max_concurrency": 4}
        voter.write_text(json.dumps({**fields, "extra_body": {"user": {"from_env": "FIELD_VALUE"}}}))
        ended = spar(
            *("run", "--preset", "smoke", "--home", home, *SCRIPTED, "--set", f"method.judging.second_voter={voter}"),
            *("--set", "training.launch.environment.WANDB_API_KEY=$TRAINING_TOKEN"),
            *("--set", "train_refiner=false", "--set", "evaluation.prompts=4", "--set", "prompts.per_iteration=8"),
            **SECRETS,
        )
        assert ended.code == 0, ended.err[-4000:]
        assert server.authorizations == {f"Bearer {SECRETS['JUDGE_KEY']}"}
        votes = [chat for chat in server.chats if chat["n"] > 1]
        assert votes
        assert {chat["user"] for chat in votes} == {SECRETS["FIELD_VALUE"]}
    assert any("spar_core.training.worker" in arguments for arguments in ended.environments_seen)
    assert_hidden(ended, home)
    assert (home.stat().st_mode & 0o777) == 0o700


def test_a_hosted_teacher_and_evolver(tmp_path):
    home, seeds = tmp_path / "home", tmp_path / "seeds.jsonl"
    seeds.write_text("".join(json.dumps({"prompt": f"Name {number} birds."}) + "\n" for number in range(40)))

    def answer(text: str) -> str:
        return f"<new_instruction>Do {hash(text)}.</new_instruction>" if "main type" in text else teach(text)

    with chat_server(answer, token=SECRETS["JUDGE_KEY"]) as server:
        named = f"{server.url}#m&key=JUDGE_KEY"
        ended = spar(
            *("run", "--preset", "smoke", "--iterations", "1", "--home", home, *SCRIPTED),
            *("--set", "warm_start.source=teacher", "--set", f"warm_start.teacher={named}"),
            *("--set", "warm_start.actor_examples=6", "--set", "warm_start.refiner_examples=12"),
            *(
                "--set",
                "prompts.source=taxonomy",
                "--set",
                f"prompts.evolver={named}",
                "--set",
                f"prompts.path={seeds}",
            ),
            *("--set", "prompts.per_iteration=8", "--set", "evaluation.enabled=false"),
            **SECRETS,
        )
        assert ended.code == 0, ended.err[-4000:]
        assert server.authorizations == {f"Bearer {SECRETS['JUDGE_KEY']}"}
    assert "warm start by the teacher" in ended.out
    assert_hidden(ended, home)


def test_a_hosted_judge_and_a_server_that_repeats_the_key(tmp_path):
    home, data = tmp_path / "home", tmp_path / "data"
    folder = ROOT / "tests" / "spar_core" / "evaluation" / "followbench_folder.py"
    runpy.run_path(str(folder))["write_followbench"](data / "followbench")
    scripted = ("--set", "engine.kind=scripted", "--set", "engine.script=tests.flows.scripted_benchmark:answer")
    with chat_server(lambda _: "YES", token=SECRETS["JUDGE_KEY"]) as server:
        judge = ("--judge", f"{server.url}#gpt&key=JUDGE_KEY")
        evaluating = ("eval", "followbench", "--model", "starter", "--language", "en", "--data-dir", data, "--json")
        ended = spar(*evaluating, *judge, *scripted, "--home", home, **SECRETS)
        assert ended.code == 0, ended.err[-4000:]
        assert json.loads(ended.out)["judge"] == "gpt"
        assert_hidden(ended, home)

        # A server that repeats the key it was given, in every refusal.
        wrong = spar(*evaluating, *judge, *scripted, "--home", home, JUDGE_KEY=f"{CANARY}-a-wrong-key")
    assert wrong.code == 1
    assert "JUDGE_KEY" in wrong.err
    assert_hidden(wrong, home)


def test_a_server_that_is_started_with_a_secret(tmp_path):
    home, python = tmp_path / "home", tmp_path / "python"
    (tmp_path / "stand_in.py").write_text(_STAND_IN)
    # Called as: python -m vllm.entrypoints.openai.api_server ARGUMENTS; and before that, with -c, whether it has vLLM.
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exit 0\nshift 2\nexec {sys.executable} {tmp_path}/stand_in.py "$@"\n'
    )
    python.chmod(0o755)
    ended = spar(
        *("refine", "Name three birds.", "--actor", "starter", "--refiner", "starter", "--json", "--home", home),
        *("--set", "engine={kind: vllm, env: {HF_TOKEN: {from_env: ENGINE_TOKEN}}}"),
        *("--set", f"engine.python={python}", "--set", f"engine.log_folder={home / 'logs'}"),
        **SECRETS,
    )
    assert ended.code == 0, ended.err[-4000:]
    assert json.loads(ended.out)["value"] == 1.0
    assert_hidden(ended, home)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--set", f"training.launch.environment.WANDB_API_KEY={CANARY}"),
        ("run", "--set", f"engine={{kind: vllm, env: {{HF_TOKEN: {CANARY}}}}}"),
        ("run", "--set", f"engine={{kind: vllm, extra_args: [--api-key, {CANARY}]}}"),
        ("run", "--set", f"method.judging.second_voter=https://host/v1#m&key={CANARY}"),
        ("run", "--set", "warm_start.source=teacher", "--set", f"warm_start.teacher=https://host/v1#m&key={CANARY}"),
        ("run", "--set", "prompts.source=taxonomy", "--set", f"prompts.evolver=https://me:{CANARY}@host/v1#m"),
        ("refine", "Hi", "--refiner", f"https://me:{CANARY}@host/v1#m"),
        ("search", "--prompts", "p", "--out", "o", "--refiner", f"https://host/v1?key={CANARY}#m"),
        ("eval", "followbench", "--model", "starter", "--judge", f"https://host/v1#m&key={CANARY}"),
    ],
)
def test_a_secret_on_the_command_line_is_refused_at_once(tmp_path, arguments):
    ended = spar(*arguments, "--home", tmp_path / "home")
    assert ended.code == 2
    assert "variable" in ended.err.lower()
    assert CANARY not in ended.err
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "override",
    [
        f"training.launch.environment.WANDB_API_KEY={CANARY}",
        f"training.launch.environment={{WANDB_API_KEY: {CANARY}}}",
        f"method.judging.second_voter=https://me:{CANARY}@host/v1#m",
        "training.launch.environment.X=sk-canary5e1fcanary5e1f",
    ],
)
@pytest.mark.prefect
def test_a_secret_among_the_parameters_of_a_deployment_is_refused_before_it_is_stored(prefect_server, override):
    from prefect import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    from flows.self_play import iteration

    with pytest.raises(ConfigError):
        RunRequest(overrides=[override])
    deployment = iteration.to_deployment("canary")
    identity = deployment.apply(work_pool_name=None)
    with get_client(sync_client=True) as client:
        honest = {"request": {"overrides": ["training.actor.max_steps=2", "method.responses.max_tokens=5"]}}
        assert client.create_flow_run_from_deployment(identity, parameters=honest).parameters["request"]["overrides"]
        with pytest.raises(PrefectHTTPStatusError):
            client.create_flow_run_from_deployment(identity, parameters={"request": {"overrides": [override]}})
        stored = [run.parameters for run in client.read_flow_runs()]
        client.delete_deployment(identity)
    assert CANARY not in str(stored)
