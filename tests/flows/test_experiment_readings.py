"""What an experiment reads of a run's judged texts: each refiner's own, and the pool that all of them judge."""

import json
from datetime import UTC, datetime

from flows.experiments.readings import POOL, UNPAIRED, Readings
from spar_core.records import EvalItem
from storage.artifacts import ArtifactStore
from storage.catalog import open_catalog
from storage.entries import StageRun
from storage.home import Home
from storage.ledger import Ledger


def judged(metric, text, right, said, depth=0):
    detail = json.dumps({"source": "starter/iid", "truth": right, "depth": depth})
    return EvalItem(
        "self_play", "refiner", "w", f"{metric}-{text}", f"prompt of {text}", metric, float(said == right), detail,
        response_id=text,
    )  # fmt: skip


def put(home, iteration, items):
    store, key = ArtifactStore(home), f"{iteration:032d}"
    with store.part("eval_refiner", key, 0) as part:
        part.write("eval_items", items)
    ref = store.commit("eval_refiner", key, rows_in=1, rows_out=1)
    stage = {"stage": "eval_refiner", "stage_key": key, "state": "completed", "artifact_uri": ref.uri}
    Ledger(home).record_stage(StageRun(run_id="r", iteration=iteration, started=datetime.now(UTC), **stage))


def test_the_pool_is_the_first_models_texts_and_the_first_refiners_votes_are_those_of_its_search(tmp_path):
    home = Home(tmp_path)
    Ledger(home).open_run("r", {})
    first = [judged("judge", "a", True, True), judged("judge_rewrite", "w1", False, True, depth=1)]
    put(home, 0, [*first, judged("judge_rewrite", "w2", False, False, depth=2)])
    later = [judged("judge", "a", True, False), judged("judge_first_rewrite", "w1", False, False, depth=1)]
    put(home, 1, [*later, judged("judge_rewrite", "v1", True, True, depth=1), judged("judge_own", "b", True, True)])
    with open_catalog(home) as catalog:
        readings = Readings(home, catalog, ["r"])
    before, after = (readings.observations("r", 7, number) for number in (0, 1))
    assert {item.key: item.value for item in before[POOL]} == {(7, "a"): 1.0, (7, "w1"): 0.0}
    assert {item.key: item.value for item in after[POOL]} == {(7, "a"): 0.0, (7, "w1"): 1.0}
    assert {item.cluster for item in after[POOL]} == {"prompt of a", "prompt of w1"}
    own, rewrites = "judge_balanced_accuracy_own", "judge_balanced_accuracy_rewrites"
    assert {own, rewrites} == UNPAIRED
    assert [item.key for item in after[own]] == [(7, "b")]
    assert [item.key for item in before[rewrites]] == [(7, "w1"), (7, "w2")]
    assert own not in before


def test_a_pool_of_right_texts_alone_is_none(tmp_path):
    home = Home(tmp_path)
    Ledger(home).open_run("r", {})
    put(home, 0, [judged("judge", "a", True, True), judged("judge", "b", True, False)])
    with open_catalog(home) as catalog:
        assert POOL not in Readings(home, catalog, ["r"]).observations("r", 7, 0)


def test_what_a_refiner_mends_when_rules_tell_it_what_is_wrong_pairs_over_iterations(tmp_path):
    home = Home(tmp_path)
    Ledger(home).open_run("r", {})
    put(home, 0, [mended("a", 0.0), mended("b", 1.0)])
    put(home, 1, [mended("a", 1.0), mended("b", 1.0)])
    with open_catalog(home) as catalog:
        readings = Readings(home, catalog, ["r"])
    found = [readings.observations("r", 7, number)["fix_rate_in_use"] for number in (0, 1)]
    assert [[item.value for item in items] for items in found] == [[0.0, 1.0], [1.0, 1.0]]
    assert [item.key for item in found[0]] == [item.key for item in found[1]]


def mended(text, value):
    detail = json.dumps({"source": "verifiable/iid", "accepted": bool(value), "depth": 1 if value else None})
    return EvalItem("self_play", "refiner", "w", f"fix-{text}", f"prompt of {text}", "fix_in_use", value, detail)
