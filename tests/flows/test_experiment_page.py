"""An experiment's outcome in words, tables, plots and files."""

import json

import pytest

from flows.experiments import plots
from flows.experiments.document import Code, Heading, Picture, Points, Table, Text, as_html, as_markdown
from flows.experiments.outcome import (
    Comparison,
    CurvePoint,
    Difference,
    ExperimentOutcome,
    IterationOutcome,
    RunOutcome,
    StrategyGap,
    VariantOutcome,
)
from flows.experiments.own_mistakes import own_mistakes
from flows.experiments.page import accuracy_table, comparison_table, write_page
from flows.experiments.wording import answers, change, interval, notes
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.statistics import wilson


def estimate(value, spread=0.02):
    return Estimate(value=value, ci_low=value - spread, ci_high=value + spread, n=100)


def difference(metric, value, spread=0.02, seeds=0.04):
    """Three seeds; `over_seeds` is as wide as `spread` says for prompts unless told otherwise."""
    by_seed = dict.fromkeys(range(3), estimate(value, spread))
    over_seeds = Estimate(value, value - seeds, value + seeds, 3)
    return Difference(metric=metric, pooled=estimate(value, spread), by_seed=by_seed, over_seeds=over_seeds)


def iteration(number, accuracy, **more):
    scores = {"accuracy": estimate(accuracy), "judge_balanced_accuracy": estimate(0.9), "pair_truth": estimate(0.8)}
    scores |= {f"judge_reliability/{share}": estimate(share) for share in (0.0, 0.4, 1.0)}
    return IterationOutcome(iteration=number, scores=scores, pairs=64 * number, dpo_steps=8 * number, **more)


def run(variant, last, **more):
    iterations = (iteration(0, 0.25), iteration(1, last, tokens=5000, accepted_by_depth={1: 6, 2: 3, 4: 1}))
    return RunOutcome(variant=variant, seed=0, run_id=f"{variant}-1", complete=True, iterations=iterations, **more)


def variant(name, last):
    means = tuple(entry.scores for entry in run(name, last).iterations)
    gains = (difference("accuracy", last - 0.25), difference("judge_balanced_accuracy", 0.0))
    return VariantOutcome(name=name, overrides={"train_refiner": name == "a"}, means=means, gains=gains)


@pytest.fixture
def outcome():
    curve = [CurvePoint(variant="a", iteration=1, strategy="none", budget=0, accuracy=estimate(0.7))]
    curve += [
        CurvePoint(
            variant="a", iteration=1, strategy=way, budget=budget, accuracy=estimate(0.7 + gain),
            gain=difference("search_accuracy", gain),
            tokens=100.0 * budget, by_source={"iid": 0.9},
        )
        for way, gain in (("bfs", 0.1), ("dfs", 0.05))
        for budget in (1, 15)
    ]  # fmt: skip
    broken = RunOutcome(variant="c", seed=0, run_id="c-1", complete=False, reason="no such folder\nmore")
    uneven = "seed 0, iteration 1, a against b: pairs 64 against 60"
    return ExperimentOutcome(
        experiment_id="experiment-x-1", name="x", title="A & B", description="Why?", file="x.yaml", file_text="name: x",
        home="/home", overrides=("k=v",), seeds=(0, 1, 2), shared={"preset": "smoke"},
        variants=(variant("a", 0.70), variant("b", 0.60), VariantOutcome(name="c", overrides={}, means=(), gains=())),
        runs=(run("a", 0.70), run("b", 0.60), broken),
        comparisons=(
            Comparison(variant="a", baseline="b", differences=(difference("accuracy", 0.10),), warnings=(uneven,)),
            Comparison(variant="b", baseline="a", differences=(difference("accuracy", -0.10),)),
            Comparison(variant="a", baseline="c", differences=(difference("accuracy", 0.01),)),
        ),
        curve=tuple(curve),
        strategy_gaps=(
            StrategyGap(
                variant="a", iteration=1, budget=15, strategy="bfs", other="dfs",
                fixed=estimate(0.6), other_fixed=estimate(0.5), gap=difference("search_accuracy", 0.1),
            ),
        ),
    )  # fmt: skip


def test_only_what_both_intervals_carry_is_called_a_difference(outcome):
    found = answers(outcome)
    both = "[43.0, 47.0] over prompts, [41.0, 49.0] over 3 seeds"
    assert found[0] == f"**a**: accuracy 25.0 to 70.0 %: +45.0 points, {both}."
    both = "[8.0, 12.0] over prompts, [6.0, 14.0] over 3 seeds"
    assert f"**a** is ahead of **b**: +10.0 points, {both} (uneven, see the note)." in found
    both = "[-12.0, -8.0] over prompts, [-14.0, -6.0] over 3 seeds"
    assert f"**b** is behind **a**: -10.0 points, {both}." in found
    both = "[-1.0, 3.0] over prompts, [-3.0, 5.0] over 3 seeds"
    assert (
        f"A difference between **a** and **c** is not shown: it lies between -3.0 and 5.0; +1.0 points, {both}."
    ) in found
    both = "[-2.0, 2.0] over prompts, [-4.0, 4.0] over 3 seeds"
    nothing = "a change is not shown: it lies between -4.0 and 4.0"
    assert f"The refiner of **a**: judging the first actor's answers +0.0 points, {both} ({nothing})." in found
    # 1500 tokens a prompt for 10 points: 150 each
    searched = (
        "Test-time search of **a**, iteration 1, BFS with 15 nodes: +10.0 points over the first answers, "
        "[8.0, 12.0] over prompts, [6.0, 14.0] over 3 seeds"
    )
    assert f"{searched}, 150 tokens per prompt and point." in found


def test_what_one_interval_leaves_open_is_no_difference(outcome):
    """The judge of the published methods page: +5.2 [3.4, 7.0] over prompts, but [-7.8, 18.2] over seeds."""
    wide = difference("accuracy", 0.052, spread=0.018, seeds=0.13)
    (sentence,) = answers(
        outcome.model_copy(
            update={
                "comparisons": (Comparison(variant="a", baseline="b", differences=(wide,)),),
                "variants": (VariantOutcome(name="a", overrides={}, means=(), gains=()),),
                "curve": (),
            }
        )
    )
    assert sentence == (
        "A difference between **a** and **b** is not shown for other seeds: it lies between -7.8 and 18.2; "
        "+5.2 points, [3.4, 7.0] over prompts, [-7.8, 18.2] over 3 seeds."
    )
    assert not wide.is_shown
    # Seeds alone are not enough either, nor is one seed.
    assert not difference("accuracy", 0.05, spread=0.06, seeds=0.01).is_shown
    alone = difference("accuracy", 0.05).model_copy(update={"over_seeds": None})
    assert not alone.is_shown
    assert difference("accuracy", 0.05).is_shown
    assert difference("accuracy", -0.05).is_shown


def test_what_is_broken_or_uneven_is_said(outcome):
    assert notes(outcome) == [
        "c, seed 0 is not complete: no such folder",
        "uneven comparison: seed 0, iteration 1, a against b: pairs 64 against 60",
        *(f"{name} was run with 1 of 3 seeds: [0]" for name in "abc"),
        "3 seeds: intervals over seeds are Student's t with 2 degree(s) of freedom; "
        "take 5 seeds or more where a seed is the unit",
    ]
    one_seed = notes(outcome.model_copy(update={"seeds": (0,)}))
    assert one_seed[-1] == "one seed: nothing is known of other seeds, so no difference is called one"


def test_tables_leave_out_what_was_not_measured(outcome):
    assert [row[:2] for row in accuracy_table(outcome).rows] == [["**all**", "a"], ["", "b"]]
    assert [row[0] for row in comparison_table(outcome).rows] == ["a - b", "b - a", "a - c"]
    assert [row[-1] for row in comparison_table(outcome).rows] == ["no", "yes", "yes"]
    assert (change(None), interval(None)) == ("-", "-")


def test_the_page_holds_everything_in_one_file(outcome, tmp_path):
    pytest.importorskip("matplotlib")
    written = write_page(outcome, tmp_path / "out")
    assert {file.name for file in written.files} == {
        *("report.html", "README.md", "results.json"),
        *("accuracy.png", "pair-truth.png", "reliability.png", "search-curve.png"),
    }
    page = written.page.read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 4
    assert "A &amp; B" in page
    assert "60.0 / 30.0 / 10.0" in page  # six, three and one of ten accepted rewrites at depth 1, 2 and deeper
    assert "BFS - DFS" in page
    assert "spar experiment x.yaml --home /home --seeds 0,1,2 --set k=v" in page
    kept = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert ExperimentOutcome.model_validate(kept) == outcome


def test_without_matplotlib_the_page_says_what_to_install(outcome, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    written = write_page(outcome, tmp_path)
    assert written.problem == plots.MISSING
    assert plots.MISSING in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "<img" not in written.page.read_text(encoding="utf-8")


def test_blocks_are_escaped_and_marked_up(tmp_path):
    (tmp_path / "p.png").write_bytes(b"png")
    blocks = [
        Heading("a < b", 1),
        Text("**so** `x<y`"),
        Points(["careful"], "warning"),
        Table(["what", "n"], [["x", "1"]]),
        Picture(tmp_path / "p.png", "p"),
        Code("k: v\n", "yaml"),
    ]
    page = as_html("t<", blocks)
    assert "<title>t&lt;</title>" in page
    assert "<h1>a &lt; b</h1>" in page
    assert "<p><strong>so</strong> <code>x&lt;y</code></p>" in page
    assert '<ul class="warning"><li>careful</li></ul>' in page
    assert "<td>x</td><td class=n>1</td>" in page
    assert "data:image/png;base64,cG5n" in page
    assert as_markdown(blocks) == (
        "# a < b\n\n**so** `x<y`\n\n- **Note:** careful\n\n| what | n |\n| --- | ---: |\n| x | 1 |\n\n"
        "![p](p.png)\n\np\n\n```yaml\nk: v\n```\n"
    )


def test_mistakes_of_the_final_actor_are_pooled_over_seeds_by_kind(outcome):
    def with_kinds(seed, **scores):
        last = iteration(1, 0.7)
        found = {name.replace("__", "/"): wilson(value * n, n) for name, (value, n) in scores.items()}
        entries = (iteration(0, 0.25), last.model_copy(update={"scores": last.scores | found}))
        return run("a", 0.7).model_copy(update={"seed": seed, "iterations": entries})

    assert own_mistakes(outcome) == []
    runs = (
        with_kinds(0, judge_recall_own__title=(0.5, 10), judge_overlooked_own__title=(1.0, 1)),
        with_kinds(1, judge_recall_own__title=(1.0, 30), judge_recall_own__quotes=(0.0, 6)),
        with_kinds(2, judge_recall_own__title=(0.0, 99)).model_copy(update={"complete": False}),
    )
    heading, _, table = own_mistakes(outcome.model_copy(update={"runs": runs}))
    assert "own actor's mistakes" in heading.text
    assert table.rows == [
        # Wilson for 0 of 6 ends at 3.8415 / 9.8415.
        ["quotes", "6", "6", "0.0 [0.0, 39.0] of 6", "-", "-"],
        # 5 of 10 [23.66, 76.34] and 30 of 30 [88.65, 100], by their sizes; 1 of 1 begins at 1 / 4.8415.
        ["title", "40", "5", "87.5 [72.4, 94.1] of 40", "100.0 [20.7, 100.0] of 1", "-"],
    ]
