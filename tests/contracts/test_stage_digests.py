"""No change of a stage's code is overlooked: it raises the version in its key, or is accepted as altering no result."""

from tasks.sources import closure, imported
from tests.contracts.stage_digests import accepted, as_of_now, modules_of, stages, unaccepted


def test_the_code_of_every_stage_is_as_it_was_accepted():
    lines = unaccepted(accepted(), as_of_now())
    assert not lines, (
        "the code of these stages changed:\n"
        + "\n".join(lines)
        + "\nRaise the version of those whose results change, then `make accept-stages`."
    )


def test_a_stage_reaches_what_its_results_come_from():
    found = stages()
    assert {"spar_core.search.scheduler", "spar_core.roles.refiner", "spar_core.constraints.casing"} <= {
        *modules_of(found["trees"])
    }
    assert "spar_core.training.worker" in modules_of(found["train_actor"])  # run in a subprocess, by its name
    assert "spar_core.starter.world" in modules_of(found["eval_refiner"])  # its checkers are imported late, by name
    assert "spar_core.evaluation.llmbar.scoring" in modules_of(found["benchmark_verdicts"])  # plug-ins, found by name
    assert "spar_core.engines.factory" not in modules_of(found["trees"])


def test_a_benchmark_found_by_its_name_is_looked_at_too():
    now = as_of_now()["stages"]
    assert {"benchmark ifeval", "benchmark ifbench", "benchmark followbench", "benchmark llmbar"} <= now.keys()
    assert now["benchmark ifeval"][1] != now["benchmark llmbar"][1]


def test_what_an_import_statement_may_look_like():
    assert "spar_core.evaluation.truth" in imported("tasks.judgements")
    assert closure(["tasks.negatives"], without=["spar_core", "tasks.shards", "tasks.stages"]) == ("tasks.negatives",)


def test_a_changed_stage_is_named_with_what_changed_in_it():
    was = {"modules": {"a": "1", "b": "1"}, "stages": {"cut": [1, "x"], "join": [1, "y"], "old": [1, "z"]}}
    now = {"modules": {"a": "2", "b": "1"}, "stages": {"cut": [1, "x2"], "join": [1, "y"], "new": [1, "z"]}}
    assert unaccepted(was, was) == []
    assert unaccepted(was, now) == ["cut (version 1)", "new: new", "old: gone", "  changed: a"]
    raised = {**was, "stages": {**was["stages"], "cut": [2, "x"]}}
    assert unaccepted(was, raised) == ["cut (version 1 -> 2)"]
