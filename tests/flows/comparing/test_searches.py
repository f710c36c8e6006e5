"""Two prompt sets or search settings: what their searches are measured by, and what a command line asks for."""

import contextlib
import json
from dataclasses import replace

import pytest

from flows.cli import invoke
from flows.comparing.searches import observations
from flows.search import SearchTables
from spar_core.errors import SparError
from spar_core.evaluation.comparison import Observation
from spar_core.records import Constraint, Judgement, Prompt, Response, Tree, Verdict, Vote
from spar_core.starter.world import generate_prompts
from storage.home import Home
from tests.flows.view.made_home import Maker, _node
from tests.integration.command_line import spar

_NO_COMMA = (Constraint("punctuation:no_comma"),)


def test_the_items_of_a_search(tmp_path):
    home = Home(tmp_path)
    home.settle()
    maker = Maker(home, "")
    maker.ledger.open_run("run-1", {})
    texts = {"a": ("p", "x, y"), "b": ("p", "fine"), "c": ("free", "anything")}
    answers = [
        Response(name, prompt, 0 if name == "a" else 1, text, "stop", 1, 1, "m", 0)
        for name, (prompt, text) in texts.items()
    ]
    votes = [Vote("a", 0, Verdict.NO, "", "stop", 0), Vote("a", 1, Verdict.UNPARSEABLE, "", "stop", 0)]
    votes += [Vote("b", 0, Verdict.NO, "", "stop", 0), Vote("c", 0, Verdict.UNPARSEABLE, "", "stop", 0)]
    judged = [Judgement(name, Verdict.NO, 0, 1, 0, 0.0, "") for name in "ab"]
    trees = [Tree("t", "p", "a", "bfs", "accepted", 1, "n", 1.0)]
    nodes = [
        _node("a", None, 0, 0, "x, y", "", failure=None),
        _node("n", "a", 1, 1, "x y", "", accepted=True, value=1.0),
    ]
    artifacts = {
        "prompts": maker.put("prompts", prompts=[Prompt("p", "ruled", _NO_COMMA), Prompt("free", "free")]),
        "responses": maker.put("responses", responses=answers),
        "judgements": maker.put("judgements", judgements=judged, votes=votes),
        "trees": maker.put("trees", trees=trees, tree_nodes=[replace(node, tree_id="t") for node in nodes]),
    }
    items = observations(SearchTables(run_id="r", artifacts=artifacts))
    a, b, c = ("p", 0, ""), ("p", 1, ""), ("free", 1, "")
    assert {name: {item.key: item.value for item in found} for name, found in items.items()} == {
        "readable": {a: 0.5, b: 1.0, c: 0.0},
        "approved": {a: 0.0, b: 0.0, c: 0.0},
        "mended": {"p": 1.0},
        "judge": {("p", 0, "NO"): 1.0, ("p", 1, "YES"): 0.0},
        "right": {a: 1.0, b: 1.0},
    }
    assert items["judge"][1] == Observation(("p", 1, "YES"), "p", 0.0, "YES")


@pytest.fixture
def asked(monkeypatch):
    """The requests of the searches; each ends at once."""
    requests = []

    def end(name, request):
        requests.append((name, request))
        if len(requests) == 2:
            raise SparError("asked")

    monkeypatch.setattr("flows.checks.preflight.preflight", lambda _work: None)
    monkeypatch.setattr("flows.comparing.searches.searched_side", end)
    monkeypatch.setattr("flows.wiring.session.session", lambda *_, **__: contextlib.nullcontext())
    return requests


def test_each_side_has_its_own_settings_beside_the_common_ones(asked, tmp_path):
    own = tmp_path / "mine: a set"
    own.mkdir()
    place = ["--prompts", "p.jsonl", "--refiner", "starter", "--home", str(tmp_path), "--set", "method.search.branch=3"]
    invoke(["compare", "plain", str(own), "--set-b", "method.judging.votes=3", *place])
    assert [name for name, _ in asked] == ["plain", f"{own} method.judging.votes=3"]
    first, second = (request.configuration().method for _, request in asked)
    assert (first.prompt_set, first.search.branch) == ("plain", 3)
    assert (second.prompt_set, second.search.branch, second.judging.votes) == (str(own), 3, 3)
    asked.clear()
    file = tmp_path / "own.yaml"
    file.write_text("extends: starter\nmethod: {search: {node_budget: 7}}\n")
    invoke(["compare", "--set-b", "method.search.strategy=dfs", "--config", str(file), *place])
    assert [name for name, _ in asked] == ["as configured", "method.search.strategy=dfs"]
    assert [request.configuration().method.search.node_budget for _, request in asked] == [7, 7]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["default", "nowhere", "--prompts", "p"], "neither a shipped set"),
        (["default", "plain"], "--prompts FILE"),
        (["default", "--prompts", "p"], "name two prompt sets"),
        (["plain", "plain", "--prompts", "p"], "the same settings"),
        (["default", "plain", "--prompts", "p", "--benchmark", "ifeval"], "--benchmark compares what was measured"),
        (["--prompts", "p", "--set-a", "method.search.branch=0"], "branch"),
    ],
)
def test_what_cannot_be_searched_is_told_before_anything_starts(asked, capsys, tmp_path, arguments, said):
    assert invoke(["compare", *arguments, "--refiner", "starter", "--home", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert not asked


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["default", "plain", "--set-a", "seed=1"], "with --refiner"), (["actor/1"], "name two sides")],
)
def test_searching_needs_a_refiner(capsys, tmp_path, arguments, said):
    assert invoke(["compare", *arguments, "--home", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_prompt_set_that_the_starter_does_not_know_is_worse(tmp_path):
    rows = [
        {"prompt": prompt.text, "constraints": [{"id": c.kind, "kwargs": c.kwargs} for c in prompt.constraints]}
        for prompt in generate_prompts(8, 7, "dev")
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    where = ("--prompts", tmp_path / "p.jsonl", "--home", tmp_path / "home", "--set", "method.responses.per_prompt=1")
    command = ("compare", "starter", "default", "--actor", "starter", "--refiner", "starter", "--json", *where)
    ended = spar(*command, "--gate", "readable>=0", timeout=1200)
    assert ended.returncode == 1, ended.stderr
    told = json.loads(ended.stdout)
    readable = next(entry for entry in told["metrics"] if entry["metric"] == "readable")
    assert (readable["before"]["value"], readable["after"]["value"]) == (1.0, 0.0)
    assert told["settings"] == {"method.prompt_set": ["starter", "default"]}
    assert told["failed"] == ["readable>=0.0"]
    again = json.loads(spar(*command, timeout=1200).stdout)
    assert again["metrics"] == told["metrics"]
