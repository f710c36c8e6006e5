"""One set of weights for both roles, with real parts: who learns what from whom, what is registered, what is shown."""

import json

import pytest
from starlette.testclient import TestClient

from flows.view.app import make_app
from storage.artifacts import ArtifactStore
from storage.catalog import open_catalog
from storage.home import Home
from storage.ledger import Ledger
from storage.row_lineage import Thing, neighbours
from tests.integration.command_line import spar
from tests.integration.conftest import SMOKE

SHARED = (*SMOKE, "--set", "models.shared=true")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "home"
    process = spar(*SHARED, "--home", folder)
    assert process.returncode == 0, process.stderr[-4000:]
    return Home(folder)


def versions(home):
    return {(entry.role, entry.iteration): entry for entry in Ledger(home).models()}


def test_both_roles_have_the_weights_of_two_trainings_one_after_the_other(home):
    made, store = versions(home), ArtifactStore(home)
    for iteration, stages in ((0, ("warm_start_refiner", "warm_start_actor")), (1, ("train_refiner", "train_actor"))):
        actor, refiner = made["actor", iteration], made["refiner", iteration]
        assert actor.digest == refiner.digest
        before, after = (store.get(stage, _key(home, stage)) for stage in stages)
        assert after.manifest().model_digests["start"] == before.model_digest
        assert after.model_digest == actor.digest
        assert actor.train_stage_key == refiner.train_stage_key == after.stage_key
    start = store.get("train_refiner", _key(home, "train_refiner")).manifest().model_digests["start"]
    assert start == made["actor", 0].digest == made["refiner", 1].parent_digest


def _key(home, stage):
    return next(run.stage_key for run in Ledger(home).stages() if run.stage == stage)


def test_a_version_is_made_of_the_rows_of_both_trainings_and_they_know_it(home):
    with open_catalog(home) as catalog:
        for role in ("actor", "refiner"):
            above = neighbours(catalog, Thing("model", f"{role}/2"), "up", 1000).things
            assert {thing.kind for thing in above} == {"model", "pair", "example"}
            assert Thing("model", f"{role}/1") in [thing._replace(said="") for thing in above]
        (pair,) = catalog.rows("SELECT pair_id FROM preference_pairs LIMIT 1")
        (example,) = catalog.rows("SELECT example_id FROM refiner_examples WHERE iteration = 1 LIMIT 1")
        for kind, row in (("pair", pair["pair_id"]), ("example", example["example_id"])):
            below = neighbours(catalog, Thing(kind, row), "down").things
            assert {thing.id for thing in below if thing.kind == "model"} == {"actor/2", "refiner/2"}


def test_the_page_and_the_description_name_both(home):
    from storage.mlflow_store import connect

    page = TestClient(make_app(home), base_url="http://127.0.0.1").get("/models/actor/2").text
    assert "rows of preference_pairs" in page
    assert "rows of refiner_examples" in page
    assert page.index("train_refiner, ") < page.index("train_actor, ")
    said = connect(home).get_model_version("refiner", "2").description
    assert "Trained from `refiner/1` by `train_refiner` on " in said
    assert ", then by `train_actor` on " in said
    tags = connect(home).get_model_version("refiner", "2").tags
    assert {"spar.dataset.pairs", "spar.dataset.refiner_data"} <= set(tags)


def test_running_it_again_makes_nothing(home):
    before = len(Ledger(home).stages())
    again = spar(*SHARED, "--home", home.root)
    assert (again.returncode, again.stderr) == (0, "")
    assert [row["iteration"] for row in json.loads(again.stdout)["iterations"]] == [0, 1]
    assert len(Ledger(home).stages()) == before


def test_two_base_models_cannot_share_weights():
    refused = spar("run", "--set", "models.shared=true", "--set", "models.refiner=elsewhere")
    assert refused.returncode == 2
    assert "leave models.refiner unset" in refused.stderr
