import json

from test_example_files import ANSWER, CRITIQUE, JUDGEMENT, PAIR, REFINEMENT, chat

from spar_core.data.inspection import inspect_source


def test_what_a_folder_shaped_like_the_release_holds_is_told_per_file(tmp_path):
    good = {"messages": chat("Judge this.", CRITIQUE.replace("No", "Yes"))}
    files = {"sft.json": [ANSWER, JUDGEMENT, good, REFINEMENT], "dpo.json": [PAIR, {**PAIR, "chosen": None}, {"a": 1}]}
    for name, rows in files.items():
        (tmp_path / name).write_text(json.dumps(rows, indent=4))
    (tmp_path / "test.json").write_text("[]")
    found = inspect_source(str(tmp_path)).plain()
    dpo, sft = found["files"]
    assert sft["uses"] == {"answer": 1, "judgement": 2, "refinement": 1}
    assert sft["verdicts"] == {"NO": 1, "YES": 1}
    assert sft["turns"] == {"2": 3, "4": 1}
    assert sft["shapes"] == {"messages": 4}
    assert dpo["uses"] == {"pair": 1, "unusable": 2}
    assert [problem["rows"] for problem in dpo["problems"]] == [1, 1]
    assert dpo["problems"][0]["message"].startswith("a pair needs both chosen and rejected; chosen is missing")
    assert "dpo.json, line " in dpo["problems"][0]["first"]
    assert found["left_out"] == ["test.json"]
    assert found["lacking"] == []
    assert found["commands"] == [
        f"spar train actor --examples {tmp_path}",
        f"spar train actor --pairs {tmp_path}",
        f"spar train refiner --examples {tmp_path}",
    ]


def test_what_is_lacking_is_said(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([JUDGEMENT]))
    found = inspect_source(str(path))
    assert [said.partition(":")[0] for said in found.lacking()] == [
        "no answers",
        "no preference pairs",
        "no refinements",
    ]
    assert found.commands() == [f"spar train refiner --examples {path}"]


def test_a_file_that_cannot_be_read_is_one_of_the_findings(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([ANSWER]))
    (tmp_path / "b.json").write_text('[{"messages": ')
    whole, broken = inspect_source(str(tmp_path)).files
    assert whole.uses == {"answer": 1}
    assert "the array is broken here" in broken.worst()[0].message
