from dataclasses import replace

import pytest
from finished_records import judgement, node, prompt, response, tree

from spar_core.config.method import RefinerDataConfig
from spar_core.data import IterationRecords
from spar_core.data.taught import Trust, taught_answers, taught_quotas, taught_refiner, taught_roots
from spar_core.errors import DataError
from spar_core.evaluation.truth import rule_verifier
from spar_core.prompts import PromptLibrary
from spar_core.records import Constraint, Prompt
from spar_core.roles import format_rewrite

LIBRARY = PromptLibrary.load("starter")
NO_COMMA = (Constraint.create("punctuation:no_comma"),)


def checkable(name: str) -> Prompt:
    return replace(prompt(name), constraints=NO_COMMA)


def eight() -> RefinerDataConfig:
    return taught_quotas(RefinerDataConfig(), 8)


def reasons(drops) -> dict[str, str]:
    return {drop.record_id: drop.reason for drop in drops}


def test_the_first_answer_that_is_whole_and_breaks_no_rule_is_kept():
    prompts = [checkable("p1"), prompt("p2"), checkable("p3")]
    answers = [
        replace(response("a", "p1", "whole but"), finish_reason="length"),
        response("b", "p1", "one, two"),
        response("c", "p1", "one and two"),
        response("d", "p1", "two and one"),
        response("e", "p2", "any, comma"),  # nobody can check it
        response("f", "p3", " \n"),
    ]
    made = taught_answers(prompts, answers, rule_verifier(prompts))
    assert [[(m.role, m.content) for m in example.messages] for example in made.examples] == [
        [("user", "task p1"), ("assistant", "one and two")],
        [("user", "task p2"), ("assistant", "any, comma")],
    ]
    assert {(example.kind, example.source) for example in made.examples} == {("answer", "teacher")}
    assert reasons(made.drops) == {"a": "truncated", "b": "rule_broken", "d": "spare_answer", "f": "empty_answer"}
    assert len(answers) == len(made.examples) + len(made.drops)
    unchecked = taught_answers(prompts, answers)
    assert unchecked.examples[0].messages[1].content == "one, two"


def test_an_answer_without_its_prompt_is_an_error():
    with pytest.raises(DataError, match="p9"):
        taught_answers([prompt("p1")], [response("a", "p9")])


@pytest.mark.parametrize(
    ("yes", "no", "text", "least", "doubt"),
    [
        (5, 0, "a b", 1.0, None),
        (4, 1, "a b", 1.0, "votes_split"),
        (4, 1, "a b", 0.8, None),
        (3, 2, "a b", 0.8, "votes_split"),
        (5, 0, "a, b", 1.0, "rules_disagree"),
        (0, 5, "a b", 1.0, "rules_disagree"),
        (1, 4, "a, b", 0.8, None),
    ],
)
def test_votes_must_agree_with_one_another_and_with_the_rules(yes, no, text, least, doubt):
    trust = Trust(least, rule_verifier([checkable("p")]))
    assert trust.doubt("task p", text, judgement("r", yes, no)) == doubt
    assert Trust(least).doubt("task p", text, judgement("r", yes, no)) == (None if doubt == "rules_disagree" else doubt)


def test_what_a_checker_cannot_decide_is_left_to_the_votes():
    unknown = replace(prompt("p"), constraints=(*NO_COMMA, Constraint.create("made:up")))
    trust = Trust(0.8, rule_verifier([unknown]))
    assert trust.doubt("task p", "a b", judgement("r", 5, 0)) is None
    assert trust.doubt("task p", "a b", judgement("r", 0, 5)) is None
    assert trust.doubt("task p", "a, b", judgement("r", 5, 0)) == "rules_disagree"


def test_only_failures_the_teacher_is_trusted_in_are_mended():
    prompts = [prompt("p1"), prompt("p2"), prompt("p3"), checkable("p4"), prompt("p5")]
    answers = [response(f"r{n}", f"p{n}", "fine words") for n in range(1, 6)]
    said = [judgement("r1", 0, 5), judgement("r2", 2, 3), judgement("r3", 5, 0), judgement("r4", 0, 5)]
    made = taught_roots(prompts, answers, said, Trust(0.8, rule_verifier(prompts)), run_seed=0)
    assert [root.response_id for root in made.roots] == ["r1"]
    assert {(drop.record_id, drop.reason, drop.detail) for drop in made.drops} == {
        ("p2", "not_judged", "votes_split"),
        ("p3", "no_failing_response", ""),
        ("p4", "not_judged", "rules_disagree"),
        ("p5", "not_judged", ""),  # refused or undecided: the judgements' own drops say which
    }
    assert len(prompts) == len(made.roots) + len(made.drops)


def test_judgements_and_accepted_rewrites_become_the_chats_of_self_play():
    records = IterationRecords(
        [prompt("p1"), prompt("p2"), prompt("p3")],
        [response("a", "p1"), response("b", "p2"), response("c", "p3")],
        [judgement("a", 0, 5), judgement("b", 5, 0), judgement("c", 2, 3)],
        [tree("t1", "p1", "n1")],
        [node("t1", "r1", None, "text a", 0.0), node("t1", "n1", "r1", "Mended", 1.0, reflection="said so")],
    )
    made = taught_refiner(records, LIBRARY, Trust(0.8), eight(), run_seed=0)
    found = {example.source: example for example in made.examples}
    assert set(found) == {"teacher/tree_refinement", "teacher/response_no", "teacher/tree_yes"} or set(found) == {
        "teacher/tree_refinement",
        "teacher/response_no",
        "teacher/response_yes",
    }
    request, answer = found["teacher/tree_refinement"].messages
    assert request.content == LIBRARY.fill("refine", prompt="task p1", response="text a", critique="critique r1")
    assert answer.content == format_rewrite("Mended", "said so")
    request, answer = found["teacher/response_no"].messages
    assert request.content == LIBRARY.fill("judge", prompt="task p1", response="text a")
    assert answer.content == "critique a NO"
    assert reasons(made.drops)["c"] == "votes_split"
    assert sorted(reasons(made.drops).values()) == ["unbalanced", "votes_split"]  # two YES to one NO
    assert made.rows_in == len(made.examples) + len(made.drops) == 3 + 1 + 1


def test_the_best_rewrite_that_is_trusted_is_taken():
    """n1 is accepted by its votes but breaks the rule, n2 is split, n3 is right: a search of three tries."""
    prompts = [checkable("p1"), checkable("p2")]
    records = IterationRecords(
        prompts,
        [response("a", "p1", "x, y"), response("b", "p2", "x, y")],
        [judgement("a", 0, 5), judgement("b", 0, 5)],
        [tree("t1", "p1", "n1"), tree("t2", "p2", "m1")],
        [
            node("t1", "r1", None, "x, y", 0.0),
            node("t1", "n1", "r1", "still, one", 1.0),
            node("t1", "n2", "r1", "split", 0.6),
            node("t1", "n3", "r1", "x and y", 0.8),
            node("t2", "r2", None, "x, y", 0.0),
            node("t2", "m1", "r2", "no, again", 1.0),
        ],
    )
    made = taught_refiner(records, LIBRARY, Trust(0.8, rule_verifier(prompts)), eight(), run_seed=0)
    (refinement,) = [example for example in made.examples if example.kind == "refinement"]
    assert refinement.messages[1].content == format_rewrite("x and y", "")
    found = {drop.record_id: (drop.reason, drop.detail) for drop in made.drops}
    assert found["n1"] == ("not_judged", "rules_disagree")
    assert found["n2"] == ("not_judged", "votes_split")
    assert found["t2"] == ("not_accepted", "rules_disagree")
    assert made.rows_in == len(made.examples) + len(made.drops) == 2 + 2 + 4


def test_quotas_hold_and_verdicts_balance():
    count = 40
    prompts = [prompt(f"p{n}") for n in range(count)]
    answers = [response(f"a{n}", f"p{n}") for n in range(count)]
    said = [judgement(f"a{n}", *((5, 0) if n % 4 == 0 else (0, 5))) for n in range(count)]
    failing = [n for n in range(count) if n % 4]
    trees = [tree(f"t{n}", f"p{n}", f"n{n}" if n % 2 else None) for n in failing]
    nodes = [
        entry
        for n in failing
        for entry in (
            node(f"t{n}", f"r{n}", None, f"text a{n}", 0.0),
            node(f"t{n}", f"n{n}", f"r{n}", f"mended {n}", 1.0 if n % 2 else 0.0),
        )
    ]
    records = IterationRecords(prompts, answers, said, trees, nodes)
    made = taught_refiner(records, LIBRARY, Trust(0.8), taught_quotas(RefinerDataConfig(), 21), run_seed=3)
    kinds = [example.kind for example in made.examples]
    assert kinds.count("refinement") == 10
    says = [example.messages[1].content.endswith("NO") for example in made.examples if "response" in example.source]
    no = sum(says)
    assert no == 5
    assert kinds.count("judgement") - no == 5
    assert made.rows_in == len(made.examples) + len(made.drops) == 40 + 30 + 30
    again = taught_refiner(records, LIBRARY, Trust(0.8), taught_quotas(RefinerDataConfig(), 21), run_seed=3)
    assert again.examples == made.examples


def test_one_that_never_judges_is_taught_rewrites_alone():
    quotas = taught_quotas(RefinerDataConfig(), 9, judges=False)
    assert quotas.refinements == 9
    assert quotas.tree_yes == quotas.tree_no == quotas.response_no == quotas.response_yes == 0
