"""Training on given data alone, through the command line: real trainings of the starter, and a hub of our own."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli import invoke
from spar_core.starter.teacher import warm_start_examples
from storage.catalog import open_catalog
from storage.home import Home
from storage.ledger import Ledger
from storage.registry import Registry
from tests.integration.command_line import spar
from tests.spar_core.data import hub_server

pytestmark = pytest.mark.timeout(600)
Cli = Callable[..., Any]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """A command in this process: its exit code, and what it printed (JSON read) or said on stderr."""

    def run(*arguments: str | Path, home: Path | None = None) -> tuple[int, Any, str]:
        capfd.readouterr()
        code = invoke([*map(str, arguments), "--home", str(home or tmp_path / "home"), "--json"])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return code, json.loads(out) if code == 0 else out, err

    return run


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": "assistant" if index % 2 else "user", "content": text} for index, text in enumerate(texts)]


def answers(count: int, role: str = "actor") -> list[dict[str, Any]]:
    """The starter teacher's rows without their kinds: those of exercises would be read as answers."""
    made = [example for example in warm_start_examples(role, 4 * count, 0) if example.kind != "replay"]  # type: ignore[arg-type]
    return [
        {"messages": [{"role": turn.role, "content": turn.content} for turn in row.messages]} for row in made[:count]
    ]


def saved(folder: Path, rows: list[Any], name: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(rows, indent=4), encoding="utf-8")
    return folder / name


def pairs(count: int) -> list[dict[str, Any]]:
    """Pairs of the release's shape, every other with a prompt of several turns."""
    rows, rng = answers(count), random.Random(0)
    found = []
    for index, row in enumerate(rows):
        asked, good = (turn["content"] for turn in row["messages"])
        prompt = turns(asked) if index % 2 else turns("Repeat: apple", "apple", asked)
        bad = " ".join(rng.sample(good.split(), len(good.split()))) + " apple"
        found.append({"messages": prompt, **{k: turns("", v)[1] for k, v in (("chosen", good), ("rejected", bad))}})
    return found


def test_the_actor_learns_from_given_pairs(cli: Cli, tmp_path: Path, prefect_server: str) -> None:
    rows = [*pairs(12), *answers(2), {"prompt": 7, "chosen": "a", "rejected": "b"}]
    source = saved(tmp_path, rows, "pairs.json")
    command = ("train", "actor", "--pairs", source, "--preset", "smoke")
    code, _, told = cli(*command)
    assert code == 1
    assert "pairs.json, line " in told
    assert "column 'prompt' must be text" in told

    code, made, told = cli(*command, "--skip-bad")
    assert code == 0, told
    assert made["data"] == {"rows_in": 15, "rows_out": 12, "drops": {"bad_row": 1, "no_pair": 2}}
    assert made["training"] == {"rows_in": 12, "rows_out": 12, "drops": {}, "steps": 2}
    assert made["settings"] == "training.actor"
    home = Home(tmp_path / "home")
    version = Registry(home).resolve("actor@candidate")
    assert made["model"]["reference"] == f"actor/{version.version}"
    assert Path(made["model"]["folder"]) == version.path
    assert (version.path / "model.safetensors").is_file()
    with open_catalog(home) as catalog:
        parents = catalog.rows("SELECT parent_kind FROM lineage WHERE child_id = ?", [version.digest])
        given = catalog.rows("SELECT source, len(prompt) AS turns FROM given_pairs ORDER BY 2 LIMIT 7")
    assert {row["parent_kind"] for row in parents} == {"artifact", "model"}
    assert [(row["source"], row["turns"]) for row in given] == [("pairs.json", 1)] * 6 + [("pairs.json", 3)]
    stages = Ledger(home).stages(made["run_id"])
    assert [(stage.stage, stage.state) for stage in stages] == [
        ("given_pairs", "completed"),
        ("train_actor", "completed"),
    ]

    moved = saved(tmp_path / "elsewhere", rows, "pairs.json")
    code, again, told = cli("train", "actor", "--pairs", moved, "--preset", "smoke", "--skip-bad")
    assert code == 0, told
    assert again == made, "the same data elsewhere are the same run"
    assert all(stage.cached for stage in Ledger(home).stages(made["run_id"]))


def test_a_trained_refiner_goes_on_learning_and_serves_a_run(cli: Cli, tmp_path: Path, prefect_server: str) -> None:
    source = saved(tmp_path / "data", answers(16, "refiner"), "refiner.json").parent
    saved(source, answers(3), "sft.json")
    code, made, told = cli("train", "refiner", "--examples", source, "--preset", "smoke")
    assert code == 0, told
    assert made["data"]["rows_out"] + sum(made["data"]["drops"].values()) == made["data"]["rows_in"] == 19
    assert set(made["data"]["drops"]) == {"other_role"}
    assert made["settings"] == "training.warm_start_refiner"
    with open_catalog(tmp_path / "home") as catalog:
        kinds = {row["kind"] for row in catalog.rows("SELECT DISTINCT kind FROM refiner_examples")}
    assert kinds == {"judgement", "refinement"}
    # The warm start of a run on the same examples is that training.
    files = ("--set", "warm_start.source=file", "--set", f"warm_start.refiner_file={source}")
    small = ("--iterations", "0", "--set", "evaluation.enabled=false")
    code, run, told = cli("run", "--preset", "smoke", *files, *small)
    assert code == 0, told
    (stage,) = (s for s in Ledger(Home(tmp_path / "home")).stages(run["run_id"]) if s.stage == "warm_start_refiner")
    assert stage.cached


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["actor"], 2, "--pairs (learned from by DPO) or --examples"),
        (["actor", "--pairs", "a.json", "--examples", "b.json"], 2, "either"),
        (["critic", "--pairs", "a.json"], 2, "critic"),
        (["actor", "--pairs", "absent.json"], 1, "absent.json: no such file or folder"),
        (["actor", "--pairs", "x#y=1"], 2, "after # come"),
        (["actor", "--pairs", "nobody/nothing", "--model", "http://127.0.0.1:1/v1"], 2, "needs its weights"),
        (["actor", "--examples", "{empty}"], 1, "no example for the actor in 0 rows"),
        (["actor", "--examples", "{empty}", "--set", "training.actor.beta=-1"], 2, "training.actor.beta"),
    ],
)
def test_what_cannot_be_trained_on_is_told_before_anything_starts(cli, tmp_path, arguments, code, told):
    empty = saved(tmp_path, [], "empty.json")
    ended, _, said = cli("train", *(argument.format(empty=empty) for argument in arguments))
    assert ended == code
    assert told in said
    assert not (tmp_path / "home" / "runs").exists()


def test_a_data_set_of_the_hub_is_read_by_its_name_and_again_offline(tmp_path: Path) -> None:
    files = {
        "README.md": b"# no data",
        "SFT/actor_sft.json": json.dumps(answers(3), indent=4).encode(),
        "DPO/iter_1.json": json.dumps(pairs(2), indent=4).encode(),
        "DPO/test.json": json.dumps(pairs(1)).encode(),
    }
    asked: list[str] = []
    with hub_server.serving("CCCCCC/SPaR", files, asked) as address:
        reached = hub_server.environment(address, tmp_path)
        first = spar("inspect", "CCCCCC/SPaR", "--json", **reached)
        assert first.returncode == 0, first.stderr
        absent = spar("inspect", "nobody/nothing", **reached)
        assert absent.returncode == 1
        assert "neither a file or folder here nor a data set that can be loaded from the hub" in absent.stderr
    found = json.loads(first.stdout)
    assert found["uses"] == {"answer": 3, "pair": 2}
    assert [file["file"] for file in found["files"]] == [
        "CCCCCC/SPaR: DPO/iter_1.json",
        "CCCCCC/SPaR: SFT/actor_sft.json",
    ]
    assert found["left_out"] == ["DPO/test.json"]
    assert not any("README" in path for path in asked)
    whole = spar("inspect", "CCCCCC/SPaR", "--json", **{**reached, "HF_HUB_OFFLINE": "1"})
    assert json.loads(whole.stdout) == found
