"""Traces in a real MLflow database: a tree of steps, logged once."""

from datetime import UTC, datetime

import pytest

from storage.addresses import known_port
from storage.home import Home
from storage.mlflow_store import connect, experiment_id
from storage.other_pages import OtherPages, tree_pages
from storage.traces import Step, Trace, Traces
from storage.tracking import Tracker

_VOTES = (Step("vote 1", "EVALUATOR", made={"verdict": "NO"}), Step("vote 2", "EVALUATOR", made={"verdict": "YES"}))
_TREE = Step(
    "search",
    "AGENT",
    {"prompt": "Name three birds", "failing answer": "two"},
    {"accepted": None},
    {"nodes": 2},
    (
        Step("root", "CHAIN", made={"answer": "two"}, within=_VOTES),
        Step("rewrite", "LLM", {"reflection": "x" * 30_000}, failed="no markers"),
    ),
)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def _found(home):
    client = connect(home)
    return client.search_traces(locations=[experiment_id(client, home)])


def test_a_trace_holds_its_steps_below_one_another(home):
    run = Tracker(home).open_run("r1")
    begun = datetime(2026, 1, 2, tzinfo=UTC)
    Traces(home).log(Trace("r1/1/t", _TREE, begun, 5.0, {"tree_id": "t"}), run)
    (trace,) = _found(home)
    spans = {span.name: span for span in trace.data.spans}
    assert {name: span.parent_id for name, span in spans.items()} == {
        "search": None,
        "root": spans["search"].span_id,
        "vote 1": spans["root"].span_id,
        "vote 2": spans["root"].span_id,
        "rewrite": spans["search"].span_id,
    }
    assert spans["search"].inputs == {"prompt": "Name three birds", "failing answer": "two"}
    assert spans["search"].attributes["nodes"] == 2
    assert spans["vote 2"].outputs == {"verdict": "YES"}
    assert spans["rewrite"].status.description == "no markers"
    assert len(spans["rewrite"].inputs["reflection"]) < 21_000
    starts = [spans[name].start_time_ns for name in ("search", "root", "vote 1", "vote 2", "rewrite")]
    assert [(start - starts[0]) / 1e9 for start in starts] == [0, 1, 2, 3, 4]
    assert spans["root"].end_time_ns == spans["rewrite"].start_time_ns
    assert spans["search"].end_time_ns - starts[0] == 5_000_000_000
    assert trace.info.request_preview == "Name three birds"
    assert trace.info.tags["spar.tree_id"] == "t"
    assert trace.info.trace_metadata["mlflow.sourceRun"] == run


def test_a_trace_is_logged_once(home):
    begun = datetime.now(UTC)
    first = Traces(home).log(Trace("r1/1/t", _TREE, begun, 1.0))
    assert Traces(home).log(Trace("r1/1/t", _TREE, begun, 1.0)) == first
    assert Traces(home).log(Trace("r2/1/t", _TREE, begun, 1.0)) != first
    assert len(_found(home)) == 2


def test_a_tree_leads_to_its_own_trace(home):
    assert tree_pages(home, "r1", "t") == OtherPages()  # no database yet
    port = known_port(home, "mlflow")
    run = Tracker(home).open_run("r1")
    name = Traces(home).log(
        Trace("r1/1/t", _TREE, datetime(2026, 1, 2, tzinfo=UTC), 5.0, {"tree_id": "t", "run_id": "r1"}), run
    )
    page = tree_pages(home, "r1", "t").mlflow
    place = f"http://127.0.0.1:{port}/#/experiments/{Tracker(home).experiment}/traces"
    assert page == f"{place}?selectedEvaluationId={name}&traceId={name}&startTimeLabel=ALL"
    assert tree_pages(home, "r1", "other") == tree_pages(home, "r2", "t") == OtherPages()
