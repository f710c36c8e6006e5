"""`spar compare`: pairs, flips, gates and the rates they promise."""

import json
from random import Random

import pytest

from flows.cli import invoke
from flows.comparing.differences import Gate, changed_settings, compare, parse_gate
from flows.comparing.sides import Side
from spar_core.errors import ConfigError
from spar_core.evaluation.comparison import Observation
from spar_core.evaluation.estimate import Estimate
from spar_core.records import EvalItem
from tests.flows.view.made_home import RUN, Maker, made_home


def _side(name, values, metric="right"):
    return Side(name, {metric: [Observation(key, key, value) for key, value in values.items()]}, {}, {})


def test_only_common_items_count_and_flips_are_named():
    before = _side("a", {"x": 1.0, "y": 0.0, "z": 1.0, "only": 0.0})
    after = _side("b", {"x": 0.0, "y": 1.0, "z": 1.0})
    (found,) = compare(before, after)
    assert (found.before.value, found.after.value) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (found.change.value, found.change.n) == (0.0, 3)
    assert (found.better, found.worse) == (["y"], ["x"])


def test_nothing_in_common_is_said():
    with pytest.raises(ConfigError, match="no measured item in common"):
        compare(_side("a", {"x": 1.0}), _side("b", {"y": 1.0}))
    with pytest.raises(ConfigError, match="no measured item in common"):
        compare(_side("a", {"x": 1.0}), _side("b", {"x": 1.0}, "other"))


@pytest.mark.parametrize(
    ("high", "bound", "passes"), [(-0.02, -0.01, False), (-0.01, -0.01, True), (0.0, 0.0, True), (-0.001, 0.0, False)]
)
def test_a_gate_fails_where_the_whole_interval_lies_below_it(high, bound, passes):
    assert Gate("right", bound).passes(Estimate(high - 0.01, high - 0.02, high, 100)) is passes


@pytest.mark.parametrize("text", ["right", "right>-1", "right>=", ">=0", "right>=x"])
def test_a_gate_out_of_form_is_refused(text):
    with pytest.raises(ConfigError, match="METRIC>=BOUND"):
        parse_gate(text)


def _failures(repeats=100, prompts=541):
    """In how many repeats of an equal pair a gate at 0 fails: 75 % right, a tenth of the prompts answered anew."""
    failed = 0
    for seed in range(repeats):
        rng = Random(seed)
        before = {key: float(rng.random() < 0.75) for key in range(prompts)}
        after = {key: float(rng.random() < 0.75) if rng.random() < 0.1 else value for key, value in before.items()}
        (found,) = compare(_side("a", before), _side("b", after))
        failed += not parse_gate("right>=0").passes(found.change)
    return failed


def test_an_equal_pair_is_let_through_at_the_promised_rate():
    # At most 2.5 of 100 on average; more than 7 have a chance of 1 in 200 then.
    assert _failures() <= 7


def test_a_gate_says_what_it_catches_and_when_the_items_are_too_few():
    # Of 100 items three flip either way: reach 2.80 = 1.96 + 0.84, drop**2 = 0.0785 * design * (0.06 + drop - drop**2).
    before = {key: float(key % 2) for key in range(100)}
    after = {key: 1 - value if key < 6 else value for key, value in before.items()}
    (found,) = compare(_side("a", before), _side("b", after))
    assert (found.change.value, len(found.better), len(found.worse)) == (0.0, 3, 3)
    drop = found.sensitivity.detectable
    assert 0.07 < drop < 0.13
    narrow, wide, none = (parse_gate(f"right>={bound}") for bound in (-0.01, -0.5, 0))
    assert narrow.promise(found.sensitivity).fails_at == pytest.approx(-0.01 - drop)
    assert not narrow.promise(found.sensitivity).enough
    assert wide.promise(found.sensitivity).enough
    assert none.promise(found.sensitivity).needed is None
    needed = narrow.promise(found.sensitivity).needed
    assert needed > 4000
    assert f"too few for a margin of 1.0 points, which needs about {needed:,}" in narrow.told(found)
    assert "too few" not in wide.told(found) + none.told(found)
    assert narrow.plain(found) == {
        "metric": "right", "bound": -0.01, "passed": True, "power": 0.8, "items": 100,
        "fails_at": pytest.approx(-0.01 - drop), "needed": needed, "enough": False,
    }  # fmt: skip


def test_settings_that_differ_are_named():
    one, other = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}
    assert changed_settings(one, other) == {"a.c": (2, 4), "d": (3, None), "e": (None, 5)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return made_home(tmp_path_factory.mktemp("compare") / "home", "a text")


def test_models_and_runs_of_a_home(home, capsys):
    place = ["--home", str(home.root)]
    assert invoke(["compare", "actor/1", "actor/2", "--json", *place]) == 0
    told = json.loads(capsys.readouterr().out)
    (metric,) = told["metrics"]
    assert (metric["metric"], metric["change"]["value"], metric["better"]) == ("accuracy", 1.0, [["q1", ""]])
    assert invoke(["compare", f"{RUN}:1", f"{RUN}:0", "--gate", "accuracy>=0", *place]) == 0  # one item tells nothing
    capsys.readouterr()
    assert invoke(["compare", f"{RUN}:1", f"{RUN}:0", "--gate", "accuracy>=1.5", *place]) == 1
    assert "gate failed: accuracy changed by -100.0" in capsys.readouterr().err
    assert invoke(["compare", f"{RUN}:0", RUN, "--gate", "accuracy>=-0.01", *place]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["actor/1", "actor/9"], "there is no model actor/9"),
        (["actor/1", "nothing"], "no run here; runs: run-1"),
        ([RUN, f"{RUN}:7"], "no models of iteration 7"),
        (["actor/1", "actor/2", "--benchmark", "ifeval"], "measured there: self_play"),
        (["actor/1", "actor/2", "--gate", "speed>=0"], "no metric speed"),
        (["actor/1", "actor/2", "--gate", "speed"], "METRIC>=BOUND"),
    ],
)
def test_what_cannot_be_compared_is_a_clear_error(home, capsys, arguments, said):
    assert invoke(["compare", *arguments, "--home", str(home.root)]) == 2
    assert said in capsys.readouterr().err


def test_two_files_of_answers(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prompts = [
        {"key": key, "prompt": f"Say {key}", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
        for key in range(4)
    ]
    answers = [{"key": row["key"], "response": "plain words"} for row in prompts]
    worse = [{**answers[0], "response": "a, comma"}, *answers[1:]]
    for name, rows in (("input_data", prompts), ("one", answers), ("other", worse)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = ["compare", "one.jsonl", "other.jsonl", "--json", "--benchmark", "ifeval", "--prompts", "input_data.jsonl"]
    assert invoke(asked) == 0
    told = json.loads(capsys.readouterr().out)
    strict = next(metric for metric in told["metrics"] if metric["metric"] == "prompt_strict")
    assert (strict["before"]["value"], strict["change"]["value"], strict["worse"]) == (1.0, -0.25, [0])
    assert invoke(["compare", "one.jsonl", "other.jsonl"]) == 2
    assert "--benchmark ifeval" in capsys.readouterr().err
    assert invoke(["compare", "one.jsonl", "actor/1"]) == 2


def test_what_was_measured_under_equal_settings_is_compared_and_named(tmp_path, capsys):
    other = made_home(tmp_path / "home", "a text")
    maker = Maker(other, "a text")

    def measured(benchmark, **settings):
        items = [
            EvalItem(benchmark, "actor", model, "i1", "i1", "prompt_strict", value, "", said)
            for model, (value, said) in settings.items()
        ]
        maker.put(f"eval_{benchmark}", eval_items=items)

    measured("ifeval", old=(0.0, '{"max_tokens": 9}'), new=(1.0, '{"max_tokens": 9}'))
    measured("ifbench", old=(0.0, '{"max_tokens": 9}'), new=(1.0, ""))
    maker.ledger.close_run(RUN, "completed", "a text")
    place = ["--home", str(other.root)]
    assert invoke(["compare", "actor/1", "actor/2", "--benchmark", "ifeval", *place]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "at most 9 tokens" in shown or "max_tokens 9" in shown
    assert "tokens written" in shown
    assert invoke(["compare", "actor/1", "actor/2", "--benchmark", "ifbench", *place]) == 2
    assert "under other settings" in capsys.readouterr().err


def test_two_runs_of_spar_eval_are_compared_by_what_they_measured(tmp_path, capsys):
    other = made_home(tmp_path / "home", "a text")
    maker = Maker(other, "a text")
    for run_id, model, value in (("eval-1", "one", 0.0), ("eval-2", "two", 1.0)):  # no model of theirs is registered
        maker.ledger.open_run(run_id, {})
        items = [
            EvalItem("ifeval", "actor", model, name, "i1", metric, worth, "")
            for name, metric, worth in (
                ("i1", "prompt_strict", value),
                ("i1#0", "instruction_strict/a:a", value),
                ("i1#1", "instruction_strict/b:b", 1.0),
            )
        ]
        maker.put(f"measures-{run_id}", run_id=run_id, eval_items=items)
        maker.ledger.close_run(run_id, "completed", "")
    place = ["--home", str(other.root)]
    assert invoke(["compare", "eval-1", "eval-2", "--benchmark", "ifeval", "--json", *place]) == 0
    found = {metric["metric"]: metric for metric in json.loads(capsys.readouterr().out)["metrics"]}
    assert found["prompt_strict"]["change"]["value"] == 1.0
    whole = found["instruction_strict"]  # of all kinds, which are kept one by one
    assert (whole["before"]["value"], whole["after"]["value"], whole["better"]) == (0.5, 1.0, [["i1#0 a:a", ""]])
    maker.ledger.open_run("empty", {})
    assert invoke(["compare", "eval-1", "empty", "--benchmark", "ifeval", *place]) == 2
    assert "run empty has no models of any iteration" in capsys.readouterr().err
