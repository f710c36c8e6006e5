"""What `spar eval --items` and `--report` write of a model's items: prompt, answers, verdicts, a judge's words."""

import json
import re

import pytest

from flows.benchmarking.item_rows import ItemAnswer, ItemRow, item_rows
from flows.benchmarking.item_tables import publish_items
from flows.benchmarks import result_of, scores_of
from flows.cli import EXIT_USAGE, invoke
from flows.showing.evaluation_page import MOST_ITEMS, evaluation_page
from storage.catalog import open_catalog
from storage.home import Home
from storage.mlflow_store import connect
from tasks.runtime import Runtime
from tests.flows.test_benchmarks import bench, folder  # noqa: F401 - fixtures
from tests.flows.view.made_home import HOSTILE

SCRIPT = "engine.script=tests.flows.scripted_settings:answer"


def _rows(home, run):
    with open_catalog(Home(home)) as catalog:
        return list(item_rows(catalog, run.run_id))


def test_instructions_answers_and_reasons(bench, tmp_path):  # noqa: F811
    run = bench("ifeval", script=SCRIPT, samples=2, temperature=0.5)
    scores_of(run, "ifeval")
    first, second, third = _rows(tmp_path / "home", run)
    assert [row.key for row in (first, second, third)] == ["0", "1", "2"]
    assert (first.prompt, json.loads(first.settings)["samples"]) == ("Say hi", 2)
    plain, quoted = first.answers
    assert (plain.response, plain.finish_reason, plain.right) == ("hello", "stop", False)
    assert (quoted.response, quoted.right) == ('"hello"', True)
    assert [(part.kind, part.verdicts["strict"]) for part in plain.instructions] == [
        ("punctuation:no_comma", 1.0),
        ("startend:quotation", 0.0),
    ]
    assert plain.verdicts == {"prompt_loose": 0.0, "prompt_strict": 0.0}
    (refused, _) = third.answers
    assert (refused.response, refused.right, refused.detail) == (None, None, "prompt_too_long")
    row = json.loads(json.dumps(first.plain()))
    assert row["answers"][0]["instructions"][1] == {
        "kind": "startend:quotation",
        "verdicts": {"loose": 0.0, "strict": 0.0},
        "reason": "",
    }


def test_mlflow_has_them_as_a_table_in_place_of_the_one_before(bench, tmp_path):  # noqa: F811
    run = bench("ifeval", script=SCRIPT, samples=2, temperature=0.5)
    scores_of(run, "ifeval")
    home = Home(tmp_path / "home")
    publish_items(home, run.run_id)
    publish_items(home, run.run_id)
    tracker = Runtime.of(str(home.root)).tracking.tracker
    client, mlflow_run = connect(home), tracker.open_run(run.run_id)
    logged = json.loads(client.get_run(mlflow_run).data.tags["mlflow.loggedArtifacts"])
    assert logged == [{"path": "items/ifeval.json", "type": "table"}]
    with open(client.download_artifacts(mlflow_run, "items/ifeval.json"), encoding="utf-8") as file:
        table = json.load(file)
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["item"] for row in rows] == ["0", "0", "1", "1", "2", "2"]
    assert [row["answer"] for row in rows[:2]] == ["hello", '"hello"']
    assert [(row["right"], row["prompt_strict"], row["broken"]) for row in rows[:2]] == [
        (False, 0.0, "startend:quotation"),
        (True, 1.0, ""),
    ]


def test_a_judges_text(bench, tmp_path):  # noqa: F811
    run = bench("followbench", script=SCRIPT, judge="starter", languages=("en",))
    scores_of(run, "followbench")
    rows = {row.key: row for row in _rows(tmp_path / "home", run)}
    (answer,) = rows["en/content/2/2"].answers
    assert (answer.judge_text, answer.verdicts) == ("YES", {"hard": None, "soft": None})
    assert answer.detail["reason"] == "judge_not_in_form"
    assert rows["en/content/2/2"].prompt.startswith("content 2 wish")


def test_held_out_answers_stand_with_their_prompt(bench, tmp_path):  # noqa: F811
    run = bench("starter", samples=2)
    scores_of(run, "starter")
    rows = _rows(tmp_path / "home", run)
    assert len(rows) == 4
    assert {len(row.answers) for row in rows} == {2}
    assert {answer.response for row in rows for answer in row.answers} == {"hello"}
    assert {row.benchmark for row in rows} == {"starter"}


def test_the_page_shows_texts_as_text(bench):  # noqa: F811
    run = bench("ifeval", script=SCRIPT, system=HOSTILE.replace("\ud800", ""))
    scores = scores_of(run, "ifeval")
    result = result_of(run, scores)
    answer = ItemAnswer(0, "r", HOSTILE, HOSTILE, "length", {"prompt_strict": 0.0}, (), HOSTILE, {"said": HOSTILE})
    item = ItemRow("ifeval", "actor", "m", "", HOSTILE, "p", HOSTILE, (answer,))
    page = evaluation_page(result.plain(run.request), result.rows(), [item])
    assert len(re.findall("<script", page)) == 1
    assert "<img" not in page
    assert "{{ 7 * 7 }}" in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 4
    assert 'data-marks="wrong cut"' in page
    assert "http" not in re.sub(r"Content-Security-Policy|http-equiv", "", page.split("<main>")[0])


def test_a_page_of_many_items_says_what_it_left_out(bench):  # noqa: F811
    run = bench("ifeval", script=SCRIPT)
    result = result_of(run, scores_of(run, "ifeval"))
    item = ItemRow("ifeval", "actor", "m", "", "k", None, None, ())
    many = [replace_key(item, number) for number in range(MOST_ITEMS * 2)]
    page = evaluation_page(result.plain(run.request), result.rows(), many)
    assert page.count('<details class="item"') == MOST_ITEMS
    assert "2,000 of 4,000 items, evenly chosen" in page


def replace_key(item: ItemRow, number: int) -> ItemRow:
    return item._replace(key=f"k{number}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ifeval", "--model", "starter", "--items", "no/such/folder/x.jsonl"], "there is no folder"),
        (["ifeval", "--responses", "x.jsonl", "--report", "x.html"], "--report is for --model"),
        (["ifeval", "--model", "starter", "--system", "@no-such-file"], "--system: cannot read no-such-file"),
        (["ifeval", "--model", "starter", "--chat-template", "no/file.jinja"], "there is no file no/file.jinja"),
        (["ifeval", "--model", "starter", "--chat-template", "README.md"], "README.md is no chat template"),
        (["ifeval", "--model", "starter", "--temperature", "3"], "3"),
    ],
)
def test_bad_options_are_told_at_once(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("# nothing to fill in")
    assert invoke(["eval", *arguments, "--home", str(tmp_path / "home")]) == EXIT_USAGE
    assert said in capsys.readouterr().err
    assert not (tmp_path / "home" / "runs").exists()
