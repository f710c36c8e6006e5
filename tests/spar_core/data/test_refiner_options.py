"""Named options of the refiner's data: hard cases first, as many YES as NO, and judgements a checker decided."""

from dataclasses import replace
from typing import Literal

import pytest
from finished_records import judgement, node, prompt, response, tree

from spar_core.config.method import RefinerDataConfig
from spar_core.data import IterationRecords, RefinerData, build_refiner_data
from spar_core.errors import DataError
from spar_core.prompts import PromptLibrary
from spar_core.records import Judgement

LIBRARY = PromptLibrary.load("starter")


def of_responses(*judgements: Judgement) -> IterationRecords:
    responses = [response(entry.response_id, "p") for entry in judgements]
    return IterationRecords([prompt("p")], responses, judgements, [], [])


def build(records: IterationRecords, **config: object) -> RefinerData:
    made = build_refiner_data([records], LIBRARY, RefinerDataConfig(**config), run_seed=0)  # type: ignore[arg-type]
    assert made.rows_in == len(made.examples) + len(made.drops)
    return made


def kept(made: RefinerData) -> set[str]:
    """The ids the test critiques name."""
    return {example.messages[-1].content.split()[1] for example in made.examples}


def reasons(made: RefinerData) -> dict[str, str]:
    return {drop.record_id: drop.reason for drop in made.drops}


def test_cases_near_the_vote_boundary_come_first() -> None:
    votes = {"a": (9, 1), "b": (6, 4), "c": (8, 2), "d": (7, 3), "e": (10, 0), "f": (1, 9), "g": (4, 6)}
    records = of_responses(*(judgement(name, *counts) for name, counts in votes.items()))
    made = build(records, order="boundary", unanimous=True, response_yes=2, response_no=1)
    assert kept(made) == {"b", "d", "g"}
    four = build(records, order="boundary", unanimous=True, response_yes=5, response_no=1)
    assert kept(four) == {"b", "d", "c", "a", "e", "g"}  # the unanimous one fills what is left


def test_of_a_tree_the_closest_node_is_taken() -> None:
    values = {"n1": 0.8, "n2": 0.6, "n3": 0.2, "n4": 0.4}
    nodes = [node("t", "r", None, "R", 0.2), *(node("t", n, "r", f"x {n}", value) for n, value in values.items())]
    made = build(IterationRecords([prompt("p")], [], [], [tree("t", "p", None)], nodes), order="boundary")
    assert kept(made) == {"n2", "n4"}


def test_as_many_yes_as_no_over_trees_and_responses() -> None:
    nodes = [node("t", "r", None, "R", 0.2), node("t", "n", "r", "x", 0.4)]
    judgements = [judgement(name, 4, 1) for name in "abcde"] + [judgement("z", 2, 3)]
    records = of_responses(*judgements)._replace(trees=[tree("t", "p", None)], nodes=nodes)
    made = build(records, balance=True)
    sources = sorted(example.source for example in made.examples)
    assert sources == ["response_no", "response_yes", "response_yes", "tree_no"]
    assert sorted(reasons(made).values()) == ["not_accepted"] + ["unbalanced"] * 3
    assert len(build(records).examples) == 7


def anchored(
    name: str, value: float, yes: int, no: int, how: Literal["verdict", "verdict_and_critique"] = "verdict"
) -> Judgement:
    made = replace(judgement(name, 5, 0) if value else judgement(name, 0, 5), yes_votes=yes, no_votes=no, anchored=how)
    assert made.value == value
    return made


def test_of_anchored_judgements_the_votes_say_what_was_contested() -> None:
    records = of_responses(
        anchored("agreed", 1.0, 5, 0),
        anchored("split", 1.0, 3, 2),
        anchored("overruled", 0.0, 5, 0),
        anchored("silent", 0.0, 0, 0, "verdict_and_critique"),
    )
    made = build(records)
    assert kept(made) == {"split", "overruled"}
    assert reasons(made) == {"agreed": "unanimous", "silent": "critique_by_rule"}
    assert {example.source for example in made.examples} == {"response_yes", "response_no"}


def test_what_a_checker_overruled_is_the_hardest_case() -> None:
    records = of_responses(anchored("near", 1.0, 3, 2), anchored("overruled", 1.0, 1, 4), anchored("far", 1.0, 4, 1))
    assert kept(build(records, order="boundary", response_yes=1)) == {"overruled"}
    assert kept(build(records, order="boundary", response_yes=2)) == {"overruled", "near"}


def refined_tree() -> IterationRecords:
    """R (fails, 1 of 5) -> A (2 of 5) -> B, accepted: a refinement of A, and judgements of A and B."""
    nodes = [
        node("t", "r", None, "R", 0.2),
        node("t", "a", "r", "A", 0.4),
        replace(
            node("t", "b", "a", "B", 0.8, reflection="Why."),
            rewrite="  Why.\n<revised_answer> B </revised_answer>\nThat is it.",
        ),
    ]
    return IterationRecords([prompt("p")], [], [], [tree("t", "p", "b")], nodes)


def test_the_target_is_rendered_or_the_models_own_text_to_the_letter() -> None:
    def target(value: str) -> str:
        (refinement,) = (e for e in build(refined_tree(), target=value).examples if e.kind == "refinement")
        return refinement.messages[-1].content

    assert target("rendered") == "Why.\n\n<revised_answer>\nB\n</revised_answer>"
    assert target("verbatim") == "  Why.\n<revised_answer> B </revised_answer>\nThat is it."
    records = refined_tree()
    older = records._replace(nodes=[replace(entry, rewrite="") for entry in records.nodes])
    with pytest.raises(DataError, match=r"node b lacks the refiner's own text.*target=rendered"):
        build(older, target="verbatim")


def test_after_the_quota_a_judgement_goes_where_a_refinement_of_the_same_response_stands() -> None:
    # published: rows are the same where their first user messages are, whatever comes after them
    def sources(**config: object) -> list[str]:
        return [example.source for example in build(refined_tree(), **config).examples]

    assert sources() == ["tree_refinement", "tree_yes", "tree_no"]
    for prompt_set in ("starter", "published"):
        library = PromptLibrary.load(prompt_set)
        config = RefinerDataConfig(deduplicate="after_quota")
        made = build_refiner_data([refined_tree()], library, config, run_seed=0)
        assert [example.source for example in made.examples] == ["tree_refinement", "tree_yes"]
        assert reasons(made) == {"a": "duplicate"}
        assert made.rows_in == len(made.examples) + len(made.drops)
    # ... but not where the quota left no room for the refinement
    assert sources(deduplicate="after_quota", refinements=0) == ["tree_yes", "tree_no"]


def test_a_critique_that_a_checker_wrote_is_never_a_turn_of_the_refiner() -> None:
    records = refined_tree()
    by_rule = [replace(n, anchored="verdict_and_critique") if n.node_id == "a" else n for n in records.nodes]
    made = {
        name: build_refiner_data(
            [records._replace(nodes=by_rule)], PromptLibrary.load(name), RefinerDataConfig(), run_seed=0
        )
        for name in ("starter", "published")
    }
    assert [example.source for example in made["starter"].examples] == ["tree_refinement", "tree_yes"]
    assert [example.source for example in made["published"].examples] == ["tree_yes"]
    assert reasons(made["published"]) == {"t": "critique_by_rule", "a": "critique_by_rule"}
