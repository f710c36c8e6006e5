"""Strategies of test-time search against one another."""

from pathlib import Path

from flows.experiments.specification import load_experiment
from flows.experiments.strategy_gaps import observed, strategy_gaps, variant_gaps

TEXT = """
name: x
preset: smoke
variants: {a: }
search_curve: {budgets: [3, 1], strategies: [bfs, chain], prompts: 4, iterations: [0, last]}
"""


def item(prompt, metric, value, run="r", iteration=1):
    return {"run_id": run, "cluster": prompt, "metric": metric, "value": value, "iteration": iteration, "source": "s"}


def gaps(tmp_path, rows):
    file = tmp_path / "x.yaml"
    file.write_text(TEXT, encoding="utf-8")
    planned = load_experiment(Path(file), str(tmp_path))
    return list(strategy_gaps(planned, observed({"r": ("a", 0), "s": ("a", 1)}, rows)))


def test_strategies_are_paired_on_the_prompts_whose_first_answer_is_wrong(tmp_path):
    first = {"p": 0.0, "q": 0.0, "right": 1.0}
    rows = [item(prompt, "search_accuracy/none", value) for prompt, value in first.items()]
    rows += [item(prompt, "search_accuracy/bfs/1", 1.0) for prompt in first]
    rows += [item(prompt, "search_accuracy/chain/1", float(prompt == "q")) for prompt in first]
    # The same prompt with another seed: its own first answer decides.
    rows += [item("right", "search_accuracy/none", 0.0, "s")]
    rows += [item("right", f"search_accuracy/{way}/1", 0.0, "s") for way in ("bfs", "chain")]
    (gap,) = gaps(tmp_path, rows)  # budget 3 was not measured
    assert (gap.variant, gap.iteration, gap.budget, gap.strategy, gap.other) == ("a", 1, 1, "bfs", "chain")
    assert (gap.fixed.value, gap.other_fixed.value) == (2 / 3, 1 / 3)
    assert (gap.gap.pooled.value, gap.gap.pooled.n) == (1 / 3, 3)
    assert {seed: change.value for seed, change in gap.gap.by_seed.items()} == {0: 0.5, 1: 0.0}
    assert (gap.gap.over_seeds.value, gap.gap.over_seeds.n) == (0.25, 2)


def test_nothing_is_compared_where_every_first_answer_is_right(tmp_path):
    rows = [item("p", f"search_accuracy/{way}", 1.0) for way in ("none", "bfs/1", "chain/1")]
    assert gaps(tmp_path, rows) == []


def test_variants_are_paired_under_equal_searches(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(TEXT.replace("{a: }", "{a: , b: {seed: 1}}") + "baseline: b\n", encoding="utf-8")
    planned = load_experiment(Path(file), str(tmp_path))
    rows = [item(prompt, f"search_accuracy/{way}", 1.0, "r") for prompt in "pq" for way in ("none", "bfs/1", "bfs/3")]
    rows += [item("p", f"search_accuracy/{way}", value, "s") for way, value in (("none", 1.0), ("bfs/1", 0.0))]
    rows += [item("p", "search_accuracy/none", 1.0, run, 0) for run in "rs"]  # the same models
    found = variant_gaps(planned, observed({"r": ("a", 0), "s": ("b", 0)}, rows))
    # Only p was measured with both, and budget 3 with one alone.
    assert [(gap.strategy, gap.budget, gap.gap.pooled.value, gap.gap.pooled.n) for gap in found] == [
        ("none", 0, 0.0, 1),
        ("bfs", 1, 1.0, 1),
    ]
