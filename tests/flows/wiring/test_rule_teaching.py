"""A warm start by rules inside a flow: whose answers it learns from, what it is called, and what it leaves alone."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import flow

from flows.showing.lessons import taught
from flows.wiring.iteration_data import IterationData
from flows.wiring.models import ModelFinder
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner
from spar_core.config.loading import load_config
from spar_core.errors import FruitlessError
from storage.home import Home
from storage.ledger import Ledger
from tasks.runtime import Runtime
from tests.chat_server import chat_server
from tests.flows.scripted_teacher import teach

pytestmark = pytest.mark.usefixtures("prefect_server")
SCRIPT = "tests.flows.scripted_writer:answer"
SMALL = [
    "engine.kind=scripted",
    f"engine.script={SCRIPT}",
    "prompts.source=file",
    "prompts.per_iteration=8",
    "warm_start.source=rules",
    "warm_start.actor_examples=6",
    "warm_start.refiner_examples=12",
    "orchestration.shard_size=4",
    "method.prompt_set=plain",
]
NO_COMMA = [{"id": "punctuation:no_comma", "kwargs": {}}]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Task {n}", "constraints": NO_COMMA}) + "\n" for n in range(40)))

    def made(*settings: str) -> Run:
        return Run(
            Home(tmp_path / "home"),
            "ruled",
            load_config("smoke", overrides=[*SMALL, f"prompts.path={file}", *settings]),
        )

    return made


def within(run: Run, work: Callable):
    @flow(name="warm start by rules")
    def working():
        with Runtime.of(str(run.home.root)).held():
            return work(IterationData(run, StageRunner(run)))

    return working()


def stages(run: Run) -> dict[str, object]:
    return {entry.stage: entry for entry in Ledger(run.home).stages(run.run_id)}


def test_the_refiner_alone_learns_from_the_base_actors_own_answers(run):
    ruled = run()
    made = within(ruled, lambda data: data.warm_start_examples())
    assert set(made) == {"refiner"}
    done = stages(ruled)
    assert list(done) == ["prompts-warm_start_refiner", "responses-rules_refiner", "rule_examples_refiner"]
    for entry in done.values():
        assert entry.iteration == 0
        assert entry.rows_in == entry.rows_out + entry.rows_dropped
    store = Runtime.of(str(ruled.home.root)).store
    read = store.get("prompts-warm_start_refiner", done["prompts-warm_start_refiner"].stage_key).manifest().config
    assert "constraints" not in read["prompts"]  # a key that came later: what it was not set for keeps its key
    asked = store.get("responses-rules_refiner", done["responses-rules_refiner"].stage_key)
    base = ModelFinder(ruled.home, ruled.config.engine).base(ruled).actor.digest
    assert asked.manifest().model_digests["actor"] == base
    own = {row.response_id: row for row in asked.read("responses")}
    assert len(own) == 12 * ruled.config.warm_start.samples
    examples = list(made["refiner"].read("refiner_examples"))
    assert Counter(example.kind for example in examples) == {"refinement": 6, "judgement": 6}
    assert {own[example.text_id].prompt_id == example.prompt_id for example in examples} == {True}
    (told,) = taught(ruled.home, ruled.run_id)
    assert (told.teacher, told.role, told.examples) == ("rules", "refiner", 12)
    assert told.left_out["truncated"] > 0
    assert told.rows == told.examples + sum(told.left_out.values())


def test_the_actor_learns_too_where_that_is_asked_for(run):
    ruled = run("warm_start.actor_by_rules=true")
    made = within(ruled, lambda data: data.warm_start_examples())
    answers = list(made["actor"].read("refiner_examples"))
    assert [(example.kind, example.messages[0].content) for example in answers] == [
        ("answer", f"Task {n}") for n in range(6)
    ]
    assert not any("," in example.messages[-1].content for example in answers)

    def prompts(data: IterationData) -> list[str]:
        return [row.text for row in data._prompts.of_iteration(1).read("prompts")]

    assert within(ruled, prompts) == [f"Task {n}" for n in range(18, 26)]  # none of those rules taught with


def test_a_teachers_examples_are_learnt_beside_those_of_rules(run):
    with chat_server(teach) as server:
        both = run(f"warm_start.teacher={server.url}#m", "method.prompt_set=starter")
        made = within(both, lambda data: data.warm_start_examples())
    sources = Counter(example.source.partition("/")[0] for example in made["refiner"].read("refiner_examples"))
    assert sources["rules"] == 12
    assert sources["teacher"] > 0
    assert {example.source for example in made["actor"].read("refiner_examples")} == {"teacher"}
    entry = stages(both)["rule_examples_refiner"]
    assert entry.rows_in == entry.rows_out + entry.rows_dropped


def test_prompts_without_rules_stop_the_run_with_the_remedy(run, tmp_path):
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps({"prompt": f"Task {n}"}) + "\n" for n in range(40)))
    with pytest.raises(FruitlessError, match=r"no_rules.*prompts\.source=verifiable"):
        within(run(f"prompts.path={tmp_path / 'bare.jsonl'}"), lambda data: data.warm_start_examples())


def test_repairs_make_the_pairs_of_the_comparator_and_the_refiner_stays(run):
    upper = run("method.pairs.method=programmatic_refine", "warm_start.source=none")

    def make(data: IterationData):
        base = ModelFinder(upper.home, upper.config.engine).base(upper)
        return data.make(1, base, base)

    made = within(upper, make)
    assert made.refiner is None
    assert list(stages(upper)) == ["prompts", "responses", "pairs"]
    pairs = list(made.pairs.read("preference_pairs"))
    assert pairs
    assert all("," in pair.rejected and "," not in pair.chosen for pair in pairs)
