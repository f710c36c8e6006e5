"""A warm start by a teacher behind a real HTTP server: what it is asked, what is kept, and that nothing is lost."""

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect import flow

from flows.showing.lessons import taught
from flows.wiring.iteration_data import IterationData
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner
from spar_core.config.loading import load_config
from spar_core.engines.server_identity import PROBES
from spar_core.errors import ConfigError, EngineError, FruitlessError
from spar_core.prompts import PromptLibrary
from spar_core.roles import format_rewrite
from storage.artifacts import ArtifactRef
from storage.home import Home
from storage.ledger import Ledger
from tasks.runtime import Runtime
from tests.chat_server import ChatServer, chat_server
from tests.flows.scripted_teacher import MENDED, teach
from tests.integration.command_line import SCRIPT
from tests.integration.scripted_model import kind_of_text

pytestmark = pytest.mark.usefixtures("prefect_server")
ROWS = 40
SMALL = [
    "engine.kind=scripted",
    f"engine.script={SCRIPT}",
    "prompts.source=file",
    "prompts.per_iteration=8",
    "warm_start.source=teacher",
    "warm_start.actor_examples=6",
    "warm_start.refiner_examples=12",
    "orchestration.shard_size=4",
]
NO_COMMA = [{"id": "punctuation:no_comma", "kwargs": {}}]
Examples = dict[str, ArtifactRef]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server(teach) as running:
        yield running


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Tasks 0, 2, 4, ... hold a constraint that no text of the two models breaks, and that their own words cannot."""
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"Task {n}"} | ({} if n % 2 else {"constraints": NO_COMMA}) for n in range(ROWS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def run(tmp_path: Path, prompts: Path) -> Callable[..., Run]:
    def made(*settings: str, home: str = "home") -> Run:
        overrides = [*SMALL, f"prompts.path={prompts}", *settings]
        return Run(Home(tmp_path / home), "taught", load_config("smoke", overrides=overrides))

    return made


def examples(run: Run) -> Examples:
    return within(run, lambda data: data.warm_start_examples())


def within(run: Run, work: Callable):
    @flow(name="warm start")
    def working():
        with Runtime.of(str(run.home.root)).held():
            return work(IterationData(run, StageRunner(run)))

    return working()


def asked(server: ChatServer) -> list[str]:
    return [prompt for prompt in server.prompts if prompt not in PROBES]


def task_of(request: str) -> int:
    return int(re.search(r"Task (\d+)", request).group(1))


def stages(run: Run) -> dict[str, object]:
    return {entry.stage: entry for entry in Ledger(run.home).stages(run.run_id)}


def test_what_a_teacher_writes_becomes_the_examples_of_both_roles(run, server):
    teaching = run(f"warm_start.teacher={server.url}#m", "warm_start.check_rules=false")
    made = examples(teaching)
    answers = [[m.content for m in example.messages] for example in made["actor"].read("refiner_examples")]
    assert answers == [[f"Task {n}", f"taught: Task {n}"] for n in range(6)]

    library = PromptLibrary.load("starter")
    kinds = Counter()
    for example in made["refiner"].read("refiner_examples"):
        request, said = (message.content for message in example.messages)
        kinds[example.kind] += 1
        assert 6 <= task_of(request) < 18
        if example.kind == "refinement":
            assert request.startswith(library.text("refine").partition("{{")[0])
            assert said.startswith(format_rewrite(MENDED)[:20])
        else:
            assert said == teach(request)  # what it said, to just the request it will be asked with
    assert kinds == {"refinement": 6, "judgement": 6}

    done = stages(teaching)
    assert list(done) == [
        *("prompts-warm_start_actor", "responses-teacher", "warm_start_examples_actor"),
        *("prompts-warm_start_refiner", "responses-base", "judgements-teacher", "warm_start_roots", "trees-teacher"),
        "warm_start_examples_refiner",
    ]
    for entry in done.values():
        assert entry.iteration == 0
        assert entry.rows_in == entry.rows_out + entry.rows_dropped
    store = Runtime.of(str(teaching.home.root)).store
    made_by = {
        name: store.get(name, entry.stage_key).manifest().model_digests.get(role)
        for name, role in (
            ("responses-teacher", "actor"),
            ("judgements-teacher", "refiner"),
            ("trees-teacher", "refiner"),
            ("responses-base", "actor"),
        )
        for entry in [done[name]]
    }
    assert made_by["responses-teacher"] == made_by["judgements-teacher"] == made_by["trees-teacher"]
    assert made_by["responses-base"] != made_by["responses-teacher"]
    told = {entry.role: entry for entry in taught(teaching.home, teaching.run_id)}
    assert (told["actor"].examples, told["actor"].rows, told["actor"].left_out) == (6, 6, {})
    assert told["refiner"].rows == told["refiner"].examples + sum(told["refiner"].left_out.values())


def test_self_play_gets_the_rows_after_the_teachers(run, server):
    teaching = run(f"warm_start.teacher={server.url}#m", "warm_start.check_rules=false")

    def both(data: IterationData) -> list[list[str]]:
        data.warm_start_examples()
        return [[row.text for row in data._prompts.of_iteration(n).read("prompts")] for n in (1, 2)]

    first, second = within(teaching, both)
    assert first == [f"Task {n}" for n in range(18, 26)]
    assert second == [f"Task {n}" for n in range(26, 34)]


def test_rules_filter_by_name_and_are_in_the_manifest(run, server):
    """The checker approves of every base answer to an even task, and of no answer of the teacher's with a comma."""
    server.answer = lambda text: teach(text).replace("taught:", "taught,")
    teaching = run(f"warm_start.teacher={server.url}#m")
    made = examples(teaching)
    assert [e.messages[0].content for e in made["actor"].read("refiner_examples")] == ["Task 1", "Task 3", "Task 5"]
    assert {row.reason: row.detail != "" for row in made["actor"].read("drops")} == {"rule_broken": True}
    assert made["actor"].manifest().config["check_rules"] is True
    lost = Counter(row.reason for row in made["refiner"].read("drops"))
    assert lost["rules_disagree"] > 0
    judged = [example.messages for example in made["refiner"].read("refiner_examples") if example.kind == "judgement"]
    assert {task_of(request.content) % 2 for request, said in judged if said.content.endswith("NO")} == {1}
    without = run(f"warm_start.teacher={server.url}#m", "warm_start.check_rules=false")
    assert examples(without)["actor"].rows["refiner_examples"] == 6


def test_a_teacher_that_is_gone_is_not_needed_any_more_and_missed_by_others(run, caplog):
    with chat_server(teach) as server:
        setting = f"warm_start.teacher={server.url}#m"
        first = examples(run(setting, "warm_start.check_rules=false"))
    with caplog.at_level(logging.WARNING):
        again = examples(run(setting, "warm_start.check_rules=false"))
    assert again == first
    assert "need not be" in caplog.text
    with pytest.raises(EngineError, match="no OpenAI-compatible server answers"):
        examples(run(setting, "warm_start.check_rules=false", home="another"))


def test_a_teacher_that_moves_is_known_by_its_answers(run, server):
    first = examples(run(f"warm_start.teacher={server.url}#m", "warm_start.check_rules=false"))
    with chat_server(teach) as moved:
        again = examples(run(f"warm_start.teacher={moved.url}#m", "warm_start.check_rules=false"))
        assert again == first
        assert asked(moved) == []


def test_a_teacher_that_breaks_down_is_asked_nothing_twice(run, server):
    setting = (f"warm_start.teacher={server.url}#m&retries=0", "warm_start.check_rules=false")
    calls = Counter()

    def breaking(text: str) -> str:
        kind = kind_of_text(text)
        calls[kind] += 1
        if calls["refine"] > 2 or (kind == "judge" and calls["judge"] == 7):
            raise RuntimeError("out of memory")
        return teach(text)

    server.answer = breaking
    with pytest.raises(EngineError):
        examples(run(*setting, "orchestration.shard_retries=0"))
    server.answer = teach
    calm = examples(run(*setting))
    requests = [json.dumps(chat, sort_keys=True) for chat in server.chats]
    requests = [text for text in requests if not any(json.dumps(probe) in text for probe in PROBES)]
    assert len(requests) == len(set(requests))
    with chat_server(teach) as other:
        expected = examples(run(f"warm_start.teacher={other.url}#m", "warm_start.check_rules=false", home="calm"))
    assert {role: ref.content_digest for role, ref in calm.items()} == {
        role: ref.content_digest for role, ref in expected.items()
    }


def test_a_teacher_that_nothing_can_be_learnt_from_stops_the_run(run, server):
    server.answer = lambda _text: " "
    with pytest.raises(FruitlessError, match=r"empty_answer.*name a stronger warm_start\.teacher"):
        examples(run(f"warm_start.teacher={server.url}#m"))


def test_a_warm_start_without_its_teacher_says_what_to_name(run):
    with pytest.raises(ConfigError, match=r"name one .*warm_start\.source=none"):
        examples(run())


def test_a_role_without_examples_is_left_as_it_is(run, server):
    made = examples(run(f"warm_start.teacher={server.url}#m", "warm_start.refiner_examples=0"))
    assert set(made) == {"actor"}
    assert {kind_of_text(prompt) for prompt in asked(server)} == {"answer"}
