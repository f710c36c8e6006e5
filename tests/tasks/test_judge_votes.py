"""The votes of scripted refiners, measured: what is judged, how many, and the figures that come of it."""

from pathlib import Path
from typing import Any

import pytest

from flows.showing.judge_summary import Judge, judge_report, judges
from spar_core.config.method import JudgingConfig, RefinementConfig, SearchConfig
from spar_core.engines.configuration import ScriptedEngineConfig
from spar_core.records import Constraint, Prompt, Response
from storage.artifacts import ArtifactRef, ArtifactStore
from storage.home import Home
from tasks.bookkeeping import LedgerEntry
from tasks.calls import StageCall
from tasks.engines import ModelRef
from tasks.evaluation import EVAL_REFINER, SCORES
from tasks.judge_votes import EVAL_VOTES
from tasks.runtime import Runtime
from tasks.stages import Stage

CALM = (Constraint.create("punctuation:no_comma"),)
PROMPTS = [Prompt.create(f"Say {number}", CALM, "test", "scripted") for number in range(16)]
WRONG = 10  # the first ten answers
JUDGING = JudgingConfig(votes=5).model_dump(mode="json")
SEARCH = SearchConfig(branch=1, beam_width=1, max_depth=1, node_budget=1).model_dump(mode="json")


class Bench:
    """A home with held-out answers, and stages run one after another without Prefect."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.prompts = self._stored("eval_prompts", PROMPTS)
        self.answers = self._stored("eval_responses", [self._answer(*numbered) for numbered in enumerate(PROMPTS)])

    def run(self, stage: Stage, refiner: str, inputs: dict[str, ArtifactRef], **config: Any) -> ArtifactRef:
        models = {"refiner": ModelRef(refiner, ""), "actor": ModelRef("the actor", "")}
        engines = {"refiner": ScriptedEngineConfig(script=f"tests.tasks.fond_judge:{refiner}")}
        call = StageCall(
            stage.name,
            stage.version,
            str(self.home.root),
            "run",
            1,
            0,
            {"prompts": self.prompts, "answers": self.answers, **inputs},
            models,
            config,
            engines=engines,
        )
        entry = LedgerEntry(Runtime.of(call.home).ledger, call)
        artifact = stage.compute(call)
        entry.completed(artifact, cached=False)
        return artifact

    def repairs(self, refiner: str, **in_use: Any) -> ArtifactRef:
        refinement = RefinementConfig().model_dump(mode="json")
        asked = {"judging": JUDGING, "refinement": refinement, "search": SEARCH, **in_use}
        reads = {name: value for name, value in asked.items() if value is not None}
        return self.run(EVAL_REFINER, refiner, {}, items=16, **reads)

    def votes(self, items: int, **inputs: ArtifactRef) -> ArtifactRef:
        return self.run(EVAL_VOTES, "second", inputs, items=items, judging=JUDGING)

    def _stored(self, table: str, rows: list[Any]) -> ArtifactRef:
        store = ArtifactStore(self.home)
        with store.part(table, "k", 0) as part:
            part.write(table, rows)
            if table == "eval_responses":
                part.write("eval_items", ())
            part.account(rows_in=len(rows), rows_out=len(rows))
        return store.commit(table, "k")

    def _answer(self, number: int, prompt: Prompt) -> Response:
        text = "bad, of course" if number < WRONG else "fine"
        return Response(f"answer {number}", prompt.prompt_id, 0, text, "stop", 1, 1, "the actor", 0)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home")


def counts(artifact: ArtifactRef) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in artifact.read("eval_items"):
        found[item.metric] = found.get(item.metric, 0) + 1
    return found


def test_half_of_the_own_answers_are_wrong_ones(bench):
    items = list(bench.votes(6).read("eval_items"))
    assert [(item.metric, '"truth": true' in item.detail) for item in items] == [("judge_own", False)] * 3 + [
        ("judge_own", True)
    ] * 3


def test_the_first_refiners_rewrites_are_judged_by_the_later_one_up_to_the_number_asked_for(bench):
    first = bench.repairs("first")
    assert counts(first) == {"judge": 16, "fix": 10, "judge_rewrite": 10}
    assert counts(bench.votes(6, first=first)) == {"judge_own": 6, "judge_first_rewrite": 6}
    assert {item.model_digest for item in bench.votes(6, first=first).read("eval_items")} == {"second"}


def test_where_rules_judge_it_is_also_measured_what_a_refiner_mends_when_they_do(bench):
    in_use = JudgingConfig(votes=5, anchor="rules_only").model_dump(mode="json")
    found = bench.repairs("blind", judging_in_use=in_use)
    values = [(item.metric, item.value) for item in found.read("eval_items") if item.metric.startswith("fix")]
    assert values == [("fix", 0.0)] * 10 + [("fix_in_use", float(number % 2)) for number in range(WRONG)]
    assert "fix_in_use" not in counts(bench.repairs("first"))


def test_a_refiner_whose_votes_nobody_asks_for_is_measured_by_what_it_mends_alone(bench):
    in_use = JudgingConfig(votes=5, anchor="rules_only").model_dump(mode="json")
    alone = bench.repairs("first", judging=None, judging_in_use=in_use)
    assert counts(alone) == {"fix_in_use": WRONG}
    assert fixes(alone) == fixes(bench.repairs("first", judging_in_use=in_use))
    assert [tree.accepted_node_id is not None for tree in alone.read("eval_trees")] == [
        bool(value) for value in fixes(alone)
    ]
    assert not any(node.yes_votes + node.no_votes for node in alone.read("eval_tree_nodes"))


def fixes(artifact: ArtifactRef) -> list[float | None]:
    return [item.value for item in artifact.read("eval_items") if item.metric == "fix_in_use"]


@pytest.fixture
def judge(bench) -> Judge:
    inputs = {"refiner": bench.repairs("second"), "votes": bench.votes(10, first=bench.repairs("first"))}
    bench.run(SCORES, "second", {"actor": bench.answers, **inputs})
    (found,) = judges(bench.home, "run")
    return found


def test_the_figures_of_a_judge_that_is_fond_of_its_own_texts(judge):
    values = {metric: pytest.approx(score.value) for metric, score in judge.scores.items()}
    assert values["judge_balanced_accuracy"] == values["judge_balanced_accuracy_own"] == 1.0
    assert judge.scores["judge_recall_own"].n == judge.scores["judge_specificity_own"].n == 5
    assert "judge_precision_own" not in values
    # Its own: five right with 5 of 5 votes, five wrong with 2 of 5. The first refiner's: 4 of 5 and 1 of 5.
    assert values["self_evaluation_bias/first_refiner"] == 0.2
    # The first actor's: right ones 5 of 5, wrong ones none.
    assert values["self_evaluation_bias/answers"] == (0.0 + 0.4) / 2
    # All others, right: six with 1 and five with 0.8; wrong: ten with 0 and five with 0.2.
    assert values["self_evaluation_bias/right"] == 1 - (6 + 5 * 0.8) / 11
    assert values["self_evaluation_bias/wrong"] == 0.4 - 5 * 0.2 / 15
    assert values["self_evaluation_bias"] == (1 - 10 / 11 + 0.4 - 1 / 15) / 2
    assert values["judge_reliability_rewrites/0.4"] == 0.0
    assert values["judge_calibration_error_rewrites"] == 5 * 0.4 / 10
    assert values["judge_overlooked/punctuation:no_comma"] == 0.0
    assert judge.missing == {}


def test_a_judge_is_shown_with_intervals_and_signs(judge):
    assert judge.cells()[0] == "1"
    assert judge.cells()[-1].startswith("+21.2 [")
    report = judge_report(judge)
    assert "| balanced accuracy | 100.0 [" in report
    assert "| 0.4 |  | - | ░░░░░░░░░░ | 0.0 [0.0, " in report
    assert "`punctuation:no_comma`" in report


def test_what_cannot_be_measured_is_shown_with_its_reason(bench):
    bench.run(SCORES, "second", {"actor": bench.answers, "votes": bench.votes(1)})
    (judge,) = judges(bench.home, "run")
    assert judge.missing["judge_specificity_own"] == "no right text was judged"
    assert judge.cells()[4] == "-"
    assert judge.reasons() == ["iteration 1: no judge_balanced_accuracy_own: no right text was judged"]
