"""The stages each method runs, in one home with a scripted model: what they share is computed once."""

from collections.abc import Callable

import pytest
from prefect import flow

from flows.showing.anchoring import anchoring
from flows.wiring.handovers import Data, Models
from flows.wiring.iteration_data import IterationData
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner
from flows.wiring.token_budget import TokenBudget
from spar_core import methods
from spar_core.config.loading import load_config
from spar_core.engines.server_identity import PROBES
from spar_core.errors import ConfigError
from spar_core.methods import registry
from spar_core.prompts import PromptLibrary
from storage.artifacts import ArtifactRef
from storage.disk import read_json
from storage.home import Home
from storage.ledger import Ledger
from tasks.engines import ModelRef
from tasks.runtime import Runtime
from tests.chat_server import chat_server
from tests.integration.command_line import SCRIPT
from tests.spar_core.methods.own_method import plugged_in_example

pytestmark = pytest.mark.usefixtures("prefect_server")
MODELS = Models(ModelRef("actor", "nowhere"), ModelRef("refiner", "nowhere"))
FIRST = Models(ModelRef("first actor", "nowhere"), ModelRef("first refiner", "nowhere"))
COMMON = ["prompts", "responses"]
SEARCHED = [*COMMON, "judgements", "negatives", "trees", "pairs", "refiner_data"]
STAGES = {
    "spar": SEARCHED,
    "single_refine": SEARCHED,
    "iterative_refine": SEARCHED,
    "best_of_n": [*COMMON, "judgements", "pairs", "refiner_data"],
    "random_pairs": [*COMMON, "judgements", "pairs", "refiner_data"],
    "self_rewarding": [*COMMON, "rubric_scores", "pairs"],
    "meta_rewarding": [*COMMON, "rubric_scores", "meta_judgements", "pairs", "judge_pairs"],
}
SMALL = [
    "engine.kind=scripted",
    f"engine.script={SCRIPT}",
    "prompts.per_iteration=8",
    "method.refiner_data.replay_fraction=0",
    "orchestration.shard_size=4",
]

Made = tuple[Data, dict[str, tuple[str, bool]]]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """The data of iteration 1 under some settings, and per stage its key and whether it was there already."""
    home = Home(tmp_path_factory.mktemp("methods"))

    def made(run_id: str, *settings: str) -> Made:
        run = Run(home, run_id, load_config("smoke", overrides=[*SMALL, *settings]))

        @flow(name="data")
        def data() -> Data:
            with Runtime.of(str(home.root)).held():
                return IterationData(run, StageRunner(run)).make(1, MODELS, FIRST)

        found = data()
        return found, {entry.stage: (entry.stage_key, entry.cached) for entry in Ledger(home).stages(run_id)}

    made.home = home  # type: ignore[attr-defined]
    return made


def texts(artifact: ArtifactRef, table: str, column: str) -> list[str]:
    return [getattr(row, column) for row in artifact.read(table)]


def test_each_method_runs_its_stages_and_shares_what_it_has_in_common(make):
    data, keys = {}, {}
    for method, stages in STAGES.items():
        data[method], entries = make(method, f"method.pairs.method={method}")
        assert list(entries) == stages
        keys[method] = {stage: key for stage, (key, _) in entries.items()}
        known = {stage for earlier, own in keys.items() if earlier != method for stage in own.items()}
        assert {stage for stage, (key, cached) in entries.items() if cached} == {
            stage for stage, key in keys[method].items() if (stage, key) in known
        }
    for stage in ("prompts", "responses", "judgements", "negatives", "rubric_scores"):
        assert len({own[stage] for own in keys.values() if stage in own}) == 1
    assert len({own["trees"] for own in keys.values() if "trees" in own}) == 3
    assert len({own["pairs"] for own in keys.values()}) == len(STAGES)

    # The scripted model scores nearly every sample differently, so that every prompt gives a pair.
    assert data["self_rewarding"].pairs.rows["preference_pairs"] == 8
    assert texts(data["self_rewarding"].pairs, "preference_pairs", "chosen") == texts(
        data["meta_rewarding"].pairs, "preference_pairs", "chosen"
    )
    assert data["self_rewarding"].refiner is None
    assert data["random_pairs"].pairs.rows["preference_pairs"] == 8
    assert data["meta_rewarding"].refiner.rows["judge_pairs"] > 0
    asked = texts(data["meta_rewarding"].refiner, "judge_pairs", "prompt")
    assert all("Score:" in chosen for chosen in texts(data["meta_rewarding"].refiner, "judge_pairs", "chosen"))
    assert all("answer" in request for request in asked)
    assert data["spar"].refiner.rows["refiner_examples"] > 0


def test_best_of_n_draws_further_samples_up_to_its_tokens(make):
    _, plain = make("five", "method.pairs.method=best_of_n")
    store = Runtime.of(str(make.home.root)).store
    both = [store.get(name, plain[name][0]) for name in ("responses", "judgements")]
    spent = sum(artifact.manifest().metrics["completion_tokens"] for artifact in both)
    most = int(spent * 1.62)  # 8.1 samples in place of 5, so three more
    data, entries = make("eight", "method.pairs.method=best_of_n", f"method.pairs.tokens={most}")
    further = ["responses-more", "judgements-more"]
    assert list(entries) == [*COMMON, "judgements", *further, "pairs", "refiner_data"]
    assert entries["judgements"] == (plain["judgements"][0], True)
    more = list(store.get(further[0], entries[further[0]][0]).read("responses"))
    assert {response.sample_index for response in more} == {5, 6, 7}
    assert len({response.response_id for artifact in (both[0],) for response in artifact.read("responses")}) == 40
    assert not {response.response_id for response in more} & {r.response_id for r in both[0].read("responses")}
    read = {entry.stage for entry in data.pairs.manifest().inputs}
    assert read == {"prompts", "responses", "judgements", *further}
    assert {entry.stage for entry in data.refiner.manifest().inputs} >= {"judgements", *further}
    used = {pair.chosen_id for pair in data.pairs.read("preference_pairs")}
    used |= {pair.rejected_id for pair in data.pairs.read("preference_pairs")}
    assert used & {response.response_id for response in more}

    _, fewer = make("enough", "method.pairs.method=best_of_n", f"method.pairs.tokens={int(spent)}")
    assert {stage: key for stage, (key, _) in fewer.items()} == {stage: key for stage, (key, _) in plain.items()}


def test_tokens_are_those_of_the_run_that_differs_in_its_method_alone(make):
    def budget(*settings: str) -> TokenBudget:
        return TokenBudget(Run(make.home, "any", load_config("smoke", overrides=[*SMALL, *settings])))

    matching = ["method.pairs.method=best_of_n", "method.pairs.tokens=spar", "seed=3"]
    with pytest.raises(ConfigError, match=r"no run with the settings.*method\.pairs\.method=spar whose iteration 1"):
        budget(*matching).check()
    config = load_config("smoke", overrides=[*SMALL, "seed=3", "preset=mine"])  # written out in a file, say
    Ledger(make.home).open_run("searched", config.model_dump(mode="json"))
    _, entries = make("searched", "seed=3")
    store = Runtime.of(str(make.home.root)).store
    written = [store.get(name, entries[name][0]).manifest().metrics for name in ("responses", "judgements", "trees")]
    budget(*matching).check()
    assert budget(*matching).of(1) == sum(metrics["completion_tokens"] for metrics in written)
    assert budget("method.pairs.method=grpo", "method.pairs.tokens=spar", "seed=3").of(1) == budget(*matching).of(1)
    for other in ("seed=4", "method.search.node_budget=3"):
        with pytest.raises(ConfigError, match="run it first"):
            budget(*matching, other).check()
    assert budget("method.pairs.method=grpo").of(1) is None
    assert budget(*matching[:1], "method.pairs.tokens=1000").further_samples(1, 500.0, 5) == 5
    with pytest.raises(ConfigError, match="64 is the most"):
        budget(*matching[:1], "method.pairs.tokens=100000").further_samples(1, 500.0, 5)


def test_grpo_makes_nothing_but_prompts(make):
    data, entries = make("rewards", "method.pairs.method=grpo")
    assert list(entries) == ["prompts"]
    assert (data.pairs, data.refiner, data.trees) == (None, None, None)
    assert data.prompts.rows["prompts"] == 8


def test_spar_then_grpo_takes_turns_and_shares_the_stages_of_spar(make):
    _, searched = make("spar-alone")
    before, entries = make("turns", "method.pairs.method=spar_then_grpo", "iterations=3")
    assert entries == {stage: (key, True) for stage, (key, _) in searched.items()}
    assert before.refiner is not None
    method = load_config("starter", overrides=["method.pairs.method=spar_then_grpo"]).method
    assert [method.at(number).name for number in (1, 2, 3, 4)] == ["spar", "spar", "grpo", "grpo"]


def test_a_second_voter_gives_two_of_five_votes_and_counts_by_its_weights(make):
    _, entries = make("two-voters", "method.judging.second_voter=first")
    store = Runtime.of(str(make.home.root)).store
    judgements = store.get("judgements", entries["judgements"][0])
    assert judgements.manifest().model_digests == {"refiner": "refiner", "second_voter": "first refiner"}
    votes = [vote for vote in judgements.read("votes") if vote.vote_index < 5]
    assert [vote.voter for vote in votes] == [1, 1, 1, 2, 2] * 40
    assert store.get("trees", entries["trees"][0]).manifest().model_digests["second_voter"] == "first refiner"
    assert not entries["judgements"][1]  # other judgements than those of the refiner alone


def test_a_served_second_voter_is_asked_with_its_key_and_counts_by_its_answers(make, monkeypatch):
    monkeypatch.setenv("VOTER_KEY", "right")
    with chat_server(lambda _: "Looked at it.\nFinal verdict: YES", token="right") as server:
        _, entries = make("served", f"method.judging.second_voter={server.url}#m&key=VOTER_KEY")
        asked = [chat["n"] for chat in server.chats if chat["messages"][-1]["content"] not in PROBES]
        server.answer = lambda _: "Looked at it.\nFinal verdict: NO"  # new weights behind the old name
        _, later = make("served-later", f"method.judging.second_voter={server.url}#m&key=VOTER_KEY")
    assert set(asked) == {2}
    judgements = Runtime.of(str(make.home.root)).store.get("judgements", entries["judgements"][0])
    votes = [vote for vote in judgements.read("votes") if vote.vote_index < 5]
    assert {vote.verdict.value for vote in votes if vote.voter == 2} == {"YES"}
    (identity,) = (
        key for key, entry in read_json(make.home.models / "servers.json").items() if "YES" in entry["answers"][0][0]
    )
    assert judgements.manifest().model_digests == {"refiner": "refiner", "second_voter": identity}
    assert entries["judgements"][0] != later["judgements"][0]


def test_the_anchor_reads_the_prompts_and_is_recorded(make):
    _, voted = make("voted")
    data, entries = make("anchored", "method.judging.anchor=verifier")
    assert not any(cached for stage, (_, cached) in entries.items() if stage not in COMMON)
    runtime = Runtime.of(str(make.home.root))
    trees = runtime.store.get("trees", entries["trees"][0])
    assert {entry.stage for entry in trees.manifest().inputs} == {"negatives", "prompts"}
    assert trees.manifest().config["judging"]["anchor"] == "verifier"
    plain = runtime.store.get("trees", voted["trees"][0])
    assert {entry.stage for entry in plain.manifest().inputs} == {"negatives"}

    # The script's answers name no items, so that every one of them truly fails, whatever the votes said.
    judgements = list(runtime.store.get("judgements", entries["judgements"][0]).read("judgements"))
    assert {(entry.verdict.value, entry.value) for entry in judgements} == {("NO", 0.0)}
    assert any(entry.yes_votes > entry.no_votes for entry in judgements)
    assert data.pairs.rows["preference_pairs"] == 0
    told = anchoring(make.home, "anchored")
    assert (told.judgements, told.judgements_in_all) == (40, 40)
    assert told.nodes == told.nodes_in_all > 0
    assert anchoring(make.home, "voted").judgements == 0


def test_rules_that_say_no_ask_no_votes_and_are_recorded(make):
    _, entries = make("ruled", "method.judging.anchor=rules_then_votes")
    store = Runtime.of(str(make.home.root)).store
    judgements = store.get("judgements", entries["judgements"][0])
    assert {(row.anchored, row.value) for row in judgements.read("judgements")} == {("rule", 0.0)}
    assert list(judgements.read("votes")) == []
    nodes = [node for node in store.get("trees", entries["trees"][0]).read("tree_nodes") if node.value is not None]
    assert {node.anchored for node in nodes} == {"rule"}
    told = anchoring(make.home, "ruled", "rules_then_votes")
    assert (told.judgements, told.judgements_in_all) == (40, 40)
    assert "judging.anchor = rules_then_votes" in told.shown()


def test_a_refiner_that_nobody_asks_to_judge_learns_no_judgements(make):
    """Under `rules_only` they were nine of ten of what it learned, and no request it would ever get."""
    both, _ = make("ruled", "method.judging.anchor=rules_then_votes")
    alone, _ = make("alone", "method.judging.anchor=rules_only")
    assert "judgement" in texts(both.refiner, "refiner_examples", "kind")
    assert "judgement" not in texts(alone.refiner, "refiner_examples", "kind")
    assert texts(alone.refiner, "drops", "reason").count("over_quota") > 0  # a row each


def test_a_prompt_set_of_ones_own_asks_about_each_constraint(make, tmp_path):
    _, voted = make("voted")
    starter = PromptLibrary.load("starter")
    texts = {name: starter.text(name) for name in ("judge", "refine")}
    texts |= {"judge_task": texts["judge"], "judge_constraint": texts["judge"] + "\nOnly this rule: {{constraint}}"}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    (tmp_path / "format.yaml").write_text("judge: per_constraint")
    each = ("warm_start.source=none", f"method.prompt_set={tmp_path}", "method.judging.max_reasks=0")
    data, entries = make("each", *each)
    assert [entries[stage] for stage in COMMON] == [(voted[stage][0], True) for stage in COMMON]
    store = Runtime.of(str(make.home.root)).store
    trees = store.get("trees", entries["trees"][0])
    assert {entry.stage for entry in trees.manifest().inputs} == {"negatives", "prompts"}
    asked = {prompt.prompt_id: len(prompt.constraints) for prompt in data.prompts.read("prompts")}
    responses = {
        row.response_id: row.prompt_id for row in store.get("responses", entries["responses"][0]).read("responses")
    }
    judgements = store.get("judgements", entries["judgements"][0])
    votes = list(judgements.read("votes"))
    assert len(votes) == 40 * 5
    assert all(len(vote.by_constraint) == 1 + asked[responses[vote.response_id]] for vote in votes)
    for judgement in judgements.read("judgements"):
        own = [vote for vote in votes if vote.response_id == judgement.response_id]
        met = [vote for vote in own if all(part.verdict.value == "YES" for part in vote.by_constraint)]
        assert judgement.value == len(met) / 5
    assert any(vote.by_constraint for vote in trees.read("tree_votes"))
    judged = [row for row in data.refiner.read("refiner_examples") if row.kind == "judgement"]
    assert judged
    known = {part.critique for vote in votes for part in vote.by_constraint}
    assert all(row.messages[-1].content in known for row in judged)


def test_a_method_of_ones_own_runs_what_it_reads(make, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    methods.register(plugged_in_example())
    data, entries = make("own", "method.pairs.method=longer_over_shorter")
    assert list(entries) == [*COMMON, "pairs"]
    assert data.refiner is None
    assert data.pairs.rows["preference_pairs"] > 0
    assert all(len(pair.chosen) >= len(pair.rejected) for pair in data.pairs.read("preference_pairs"))


FREE = [f"method.refiner_data.{quota}=0" for quota in ("tree_yes", "tree_no", "response_yes", "response_no")]
FEWER = "method.search.votes_asked=until_decided"


def test_fewer_votes_make_the_same_pairs(make):
    store = Runtime.of(str(make.home.root)).store
    every, asked = make("every", *FREE)
    fewer, spared = make("fewer", *FREE, FEWER)
    assert fewer.pairs.rows["preference_pairs"] > 0
    assert fewer.pairs.content_digest == every.pairs.content_digest
    assert texts(fewer.refiner, "refiner_examples", "messages") == texts(every.refiner, "refiner_examples", "messages")
    for name in ("judgements", "trees"):
        both = [
            store.get(name, entries[name][0]).manifest().metrics["completion_tokens"] for entries in (asked, spared)
        ]
        assert both[1] < both[0]
    roots = [list(store.get("negatives", entries["negatives"][0]).read("roots")) for entries in (asked, spared)]
    assert [(r.response_id, r.critique) for r in roots[0]] == [(r.response_id, r.critique) for r in roots[1]]


def test_where_the_refiner_learns_from_split_votes_all_are_asked(make):
    store = Runtime.of(str(make.home.root)).store
    every, asked = make("every-learned")
    fewer, spared = make("fewer-learned", FEWER)
    assert spared["judgements"] == (asked["judgements"][0], True)
    both = [store.get("trees", entries["trees"][0]) for entries in (asked, spared)]
    assert both[0].content_digest == both[1].content_digest
    assert (fewer.pairs.stage_key, fewer.refiner.stage_key) == (every.pairs.stage_key, every.refiner.stage_key)
