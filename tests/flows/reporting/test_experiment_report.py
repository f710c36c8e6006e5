"""The report of an experiment: its lines drawn, its result page and trees of its runs in one file."""

import re

import pytest

from flows.cli import invoke
from flows.experiments.outcome import Comparison, Difference, ExperimentOutcome, RunOutcome, VariantOutcome
from spar_core.evaluation.estimate import Estimate
from tests.flows.reporting.grown_home import RUN, Grown, grown_home

_HOSTILE = "A & B <script>alert(1)</script>"


def _of(value):
    return {"accuracy": Estimate(value, value - 0.02, value + 0.02, 100)}


@pytest.fixture
def home(tmp_path):
    home = grown_home(tmp_path / "home", [Grown("one", ("a, b", "a and b"), True, 1)])
    change = Estimate(0.1, 0.08, 0.12, 100)
    outcome = ExperimentOutcome(
        experiment_id="experiment-mine-1",
        name="mine",
        title=_HOSTILE,
        description=f"Why? {_HOSTILE}",
        file="mine.yaml",
        file_text=f"name: mine # {_HOSTILE}",
        home="/home",
        overrides=(),
        seeds=(0,),
        shared={"preset": "smoke"},
        variants=tuple(
            VariantOutcome(name=name, overrides={}, means=(_of(0.25), _of(last)), gains=())
            for name, last in (("learns", 0.7), ("frozen", 0.6))
        ),
        runs=(RunOutcome(variant="learns", seed=0, run_id=RUN, complete=True),),
        comparisons=(
            Comparison(
                variant="learns",
                baseline="frozen",
                differences=(Difference(metric="accuracy", pooled=change, by_seed={0: change}),),
            ),
        ),
    )
    folder = home.root / "experiments" / "folder"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(outcome.model_dump_json())
    return home


@pytest.mark.parametrize("name", ["mine", "experiment-mine-1", "folder"])
def test_it_is_known_by_name_id_and_folder(home, tmp_path, capsys, name):
    assert invoke(["report", name, "--home", str(home.root), "--out", str(tmp_path / "x.html")]) == 0
    assert "1 trees" in capsys.readouterr().out


def test_lines_words_and_trees_are_in_the_file_and_texts_are_text(home, tmp_path):
    assert invoke(["report", "mine", "--home", str(home.root), "--out", str(tmp_path / "x.html")]) == 0
    html = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert html.count("<script>") == 1
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3
    assert html.count("<polyline") == 2  # accuracy alone was measured, of two variants
    assert "learns, iteration 1: 70.0 [68.0, 72.0] (n = 100)" in html
    text = re.sub(r"<[^>]+>", " ", html)
    assert re.search(r"learns - frozen\s+\+10\.0 \[8\.0, 12\.0\]", text)
    assert "Prompt of one" in text
