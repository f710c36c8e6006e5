"""The line of a stage in Prefect's log."""

import pytest

from storage.manifest_figures import drop_reasons
from storage.manifests import Manifest
from tasks.calls import StageCall
from tasks.progress import StageProgress, told
from tasks.runtime import SilentReporter


@pytest.fixture
def manifest():
    return Manifest.model_construct(
        rows_in=10,
        rows_out=6,
        drops={"too_long": 1, "unreadable": 3, "empty": 0},
        metrics={"requests": 9, "prompt_tokens": 40.0, "completion_tokens": 2.0},
    )


def test_it_accounts_for_every_row_and_the_cost(manifest):
    assert told(manifest, cached=False, seconds=1.25) == (
        "10 rows in, 6 out, 4 dropped (3 unreadable, 1 too_long); computed in 1.2 s, 42 tokens"
    )
    assert told(manifest, cached=True, seconds=1.25) == (
        "10 rows in, 6 out, 4 dropped (3 unreadable, 1 too_long); cached"
    )


def test_a_stage_that_asks_no_model_and_drops_nothing_is_short(manifest):
    plain = manifest.model_copy(update={"drops": {}, "metrics": {}, "rows_out": 10})
    assert drop_reasons(plain) == ""
    assert told(plain, cached=False, seconds=0.0) == "10 rows in, 10 out, 0 dropped; computed in 0.0 s"


def test_a_stage_outside_of_iterations_such_as_a_champions_measurement_names_none(caplog):
    for iteration, place, title in ((None, "eval_actor", "eval_actor"), (3, "eval_actor, iteration 3", "eval_actor-3")):
        call = StageCall("eval_actor", 1, "/home", "run", iteration, 0)
        assert call.title == title
        StageProgress(call, 1, SilentReporter()).failed(ValueError("disk full"))
        assert caplog.messages[-1] == f"{place} failed: ValueError: disk full"
