"""What commands import, and when: what is wrong is told at once, and Prefect comes after its server."""

import subprocess
import sys

import pytest

from tests.integration.command_line import environment

_LIGHT = """
import sys
from flows.cli import invoke
code = invoke(sys.argv[1:])
heavy = {"torch", "transformers", "prefect", "mlflow", "nltk", "datasets"} & set(sys.modules)
print(code, sorted(heavy))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--set", "prompts.source=file", "--set", "prompts.path=/no/such.jsonl"),
        ("run", "--set", "models.actor=/no/model"),
        ("run", "--set", "engine.kind=vllm", "--set", "engine.python=/no/python"),
        ("search", "--prompts", "/no/such.jsonl", "--actor", "starter", "--refiner", "starter", "--out", "out"),
        ("refine", "hello", "--actor", "/no/model"),
        ("eval", "starter", "--model", "/no/model"),
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_commands_fail_before_anything_slow_is_imported_or_made(tmp_path, arguments):
    command = [sys.executable, "-c", _LIGHT, *arguments, "--home", str(tmp_path / "home")]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=tmp_path, check=True)
    assert ended.stdout.splitlines()[-1] == "1 []"
    assert ended.stderr.startswith("spar: ")
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


_AT_THE_SERVER = """
import sys
import flows.wiring.session
from flows.cli import invoke
from spar_core.errors import SparError

def running_server(*_):
    raise SparError(f"a server would start, with {sorted({'prefect', 'mlflow'} & set(sys.modules))}")

flows.wiring.session.running_server = running_server
sys.exit(invoke(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--preset", "smoke"),
        ("eval", "ifeval", "--model", "starter", "--prompts", "given.jsonl"),
        ("search", "--prompts", "given.jsonl", "--actor", "starter", "--refiner", "starter", "--out", "out"),
        ("compare", "starter", "default", "--prompts", "given.jsonl", "--actor", "starter", "--refiner", "starter"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_prefect_is_imported_only_once_its_server_is_known(tmp_path, arguments, request):
    """It reads the server's address when it is imported, and else starts another one for the run to be lost in."""
    if arguments[0] == "eval":
        request.getfixturevalue("benchmark_data")  # IFEval's rules need NLTK's
    (tmp_path / "given.jsonl").write_text('{"prompt": "Name three birds."}\n', encoding="utf-8")
    command = [sys.executable, "-c", _AT_THE_SERVER, *arguments, "--home", str(tmp_path / "home")]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=tmp_path, check=False)
    assert "a server would start, with []" in ended.stderr


_IMPORTED_BEFORE = """
import sys
import prefect
from flows.serving.prefect_server import running_server
from storage.home import Home

with running_server(Home(sys.argv[1])) as server:
    print(prefect.settings.PREFECT_API_URL.value() == server.api_url)
print(prefect.settings.PREFECT_API_URL.value())
"""


def test_prefect_that_was_imported_before_is_told_of_the_server(tmp_path):
    command = [sys.executable, "-c", _IMPORTED_BEFORE, str(tmp_path / "home")]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=tmp_path, check=True)
    assert ended.stdout.splitlines() == ["True", "None"]
