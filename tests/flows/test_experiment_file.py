"""The file of an experiment: what it means, and what a wrong one is told."""

from pathlib import Path

import pytest

from flows.cli import EXIT_USAGE, invoke
from flows.experiments.specification import load_experiment
from spar_core.errors import ConfigError

ROOT = Path(__file__).parents[2]
MINIMAL = "name: x\npreset: smoke\nvariants: {a: , b: {train_refiner: false}}\n"


@pytest.fixture
def loaded(tmp_path):
    def load(text, **given):
        file = tmp_path / "x.yaml"
        file.write_text(text, encoding="utf-8")
        return load_experiment(file, str(tmp_path / "home"), **given)

    return load


def test_every_variant_runs_with_every_seed_those_of_one_seed_together(loaded):
    planned = loaded(MINIMAL + "seeds: [3, 5]\n")
    assert [(run.variant, run.seed) for run in planned.runs] == [("a", 3), ("b", 3), ("a", 5), ("b", 5)]
    assert [run.run.config.seed for run in planned.runs] == [3, 3, 5, 5]
    assert [run.run.config.train_refiner is False for run in planned.runs] == [False, True, False, True]
    assert [(run.variant, run.seed) for run in loaded(MINIMAL, seeds=[7]).runs] == [("a", 7), ("b", 7)]


def test_a_variant_may_need_fewer_seeds(loaded):
    text = MINIMAL + "seeds: [3, 5]\nonly_seeds: {b: [5]}\n"
    assert [(run.variant, run.seed) for run in loaded(text).runs] == [("a", 3), ("a", 5), ("b", 5)]
    assert [(run.variant, run.seed) for run in loaded(text, seeds=[3]).runs] == [("a", 3)]
    with pytest.raises(ConfigError, match="only_seeds leaves no run"):
        loaded(MINIMAL + "seeds: [3, 5]\nonly_seeds: {a: [5], b: [5]}\n", seeds=[3])


def test_a_variants_value_lies_above_the_command_lines_and_that_above_the_files(loaded):
    text = (
        "name: x\npreset: smoke\nset: {iterations: 5, prompts.per_iteration: 9}\n"
        "variants: {a: {iterations: 2, train_refiner: false}, b: }\n"
    )
    planned = loaded(text, overrides=["iterations=3"])
    assert [run.run.config.iterations for run in planned.runs] == [2, 3]
    assert {run.run.config.prompts.per_iteration for run in planned.runs} == {9}


def test_dotted_keys_may_hold_sections_and_numbers_in_any_form(loaded):
    text = (
        "name: x\npreset: smoke\nvariants:\n  a: {method.search: {branch: 2, beam_width: 1}}\n"
        "  b: {training.actor.learning_rate: 1e-6}\n"
    )
    first, second = (run.run.config for run in loaded(text).runs)
    assert (first.method.search.branch, first.method.search.beam_width, first.method.search.max_depth) == (2, 1, 3)
    assert second.training.actor.learning_rate == 1e-6


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", [("a", "b"), ("a", "c")]),
        ("baseline: b\n", [("a", "b"), ("c", "b")]),
        ("compare: [[c, a]]\n", [("c", "a")]),
        ("baseline: b\ncompare: [[c, a], [a, b]]\n", [("a", "b"), ("c", "b"), ("c", "a")]),
    ],
)
def test_what_is_compared(loaded, more, expected):
    text = (
        "name: x\npreset: smoke\nvariants: {a: , b: {train_refiner: false}, c: {training.actor.learning_rate: 1e-6}}\n"
        + more
    )
    assert loaded(text).specification.comparisons == expected


def test_the_same_experiment_has_the_same_id_and_another_another(loaded):
    assert loaded(MINIMAL).run_id == loaded(MINIMAL + "description: other words\n").run_id
    ids = {
        loaded(MINIMAL + more).run_id for more in ("", "seeds: [1]\n", "search_curve: {}\n", "set: {iterations: 1}\n")
    }
    assert len(ids) == 3  # smoke's iterations are 1 already


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "expected key: value lines"),
        ("name: [\n", "cannot be read as YAML"),
        ("name: x\n", "variants: is missing"),
        ("name: a b\nvariants: {a: }\n", r"name: String should match pattern .* got 'a b'"),
        (MINIMAL + "seed: 3\n", r"seed: unknown key; allowed here: baseline, compare, .* seeds, set"),
        (MINIMAL + "seeds: [1, 1]\n", "holds a seed twice"),
        (MINIMAL + "only_seeds: {c: [0]}\n", "only_seeds: there is no variant 'c'"),
        (MINIMAL + "only_seeds: {a: [1]}\n", r"only_seeds.a: \[1\] is no choice of the seeds \[0\]"),
        (MINIMAL + "only_seeds: {a: []}\n", "only_seeds.a: .* is no choice"),
        (MINIMAL + "seeds: [x]\n", r"seeds.0: .*got 'x'"),
        (MINIMAL + "baseline: z\n", "baseline: there is no variant 'z'; the variants are a, b"),
        (MINIMAL + "compare: [[a, a]]\n", "'a' is compared with itself"),
        (MINIMAL + "search_curve: {budget: [1]}\n", r"search_curve.budget: unknown key; allowed here: budgets"),
        (MINIMAL + "search_curve: {budgets: [0]}\n", r"search_curve.budgets.0: .*got 0"),
        (MINIMAL + "search_curve: {iterations: [4]}\n", "names 4, but variant 'a' ends with 1"),
        (MINIMAL + "set: {evaluation.enabled: false}\n", "variant 'a': evaluation.enabled is false"),
        (MINIMAL + "set: {method.pears.method: x}\n", "variant 'a': .*method.pears: unknown key"),
        (
            "name: x\nvariants: {a: , b: {iterations: 1}}\n",
            "'a' and 'b' differ only in .* fitted to the hardware",
        ),
        ("name: x\nvariants: {a: {iterations: -1}}\n", "variant 'a': .*iterations"),
        ("name: x\npreset: nope\nvariants: {a: }\n", "variant 'a': unknown preset 'nope'"),
    ],
)
def test_a_wrong_file_is_told_where_it_is_wrong(loaded, text, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        loaded(text)


def test_a_wrong_file_is_told_without_the_secrets_in_it(loaded):
    with pytest.raises(ConfigError, match=r"variants: Input should be .*'HF_TOKEN': '\*\*\*'") as refused:
        loaded("name: x\npreset: smoke\nvariants: [{name: a, HF_TOKEN: canary-7f3a91d2}]\n")
    assert "canary" not in str(refused.value)


def test_the_command_line_refuses_before_anything_is_started(tmp_path, capsys):
    assert invoke(["experiment", str(tmp_path / "none.yaml"), "--home", str(tmp_path / "home")]) == EXIT_USAGE
    assert "does not exist" in capsys.readouterr().err
    assert invoke(["experiment", "x.yaml", "--seeds", "one"]) == EXIT_USAGE
    assert "0,1,2" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_shipped_files_are_valid_and_no_two_variants_are_the_same_run(file, tmp_path):
    planned = load_experiment(file, str(tmp_path))
    assert len({run.run.run_id for run in planned.runs}) == len(planned.runs)
    assert not tmp_path.exists() or not list(tmp_path.iterdir())
