from dataclasses import replace

import pytest
from finished_records import judgement, node, prompt, response, tree

from spar_core.config.pairs import PairsConfig
from spar_core.data import pairs_from_samples, pairs_from_trees
from spar_core.errors import DataError

CONFIG = PairsConfig()


def test_accepted_rewrite_over_root() -> None:
    trees = [
        tree("t1", "p1", "n1"),
        tree("t2", "p1", None, "depth"),
        tree("t3", "p2", "root3", "root_accepted"),
        tree("t4", "p2", "n4"),
        tree("t5", "p2", "n5"),
    ]
    nodes = [
        node("t1", "root1", None, "wrong", 0.2),
        node("t1", "n0", "root1", "worse", 0.0),
        node("t1", "n1", "root1", "right", 0.8),
        node("t2", "root2", None, "wrong", 0.2),
        node("t2", "n2", "root2", "wrong too", 0.4),
        node("t3", "root3", None, "right", 0.8),
        node("t4", "root4", None, "same ", 0.2),
        node("t4", "n4", "root4", "same", 0.8),
        node("t5", "root5", None, "wrong", 0.2),
        node("t5", "n5", "root5", "half", 0.5),
    ]
    pairs, drops = pairs_from_trees([prompt("p1"), prompt("p2")], trees, nodes, CONFIG, run_seed=0)
    (pair,) = pairs
    assert (pair.prompt_id, pair.tree_id, pair.prompt) == ("p1", "t1", "task p1")
    assert (pair.chosen_id, pair.rejected_id) == ("n1", trees[0].root_response_id)
    assert (pair.chosen, pair.rejected, pair.value) == ("right", "wrong", 0.8)
    assert [(drop.record_id, drop.reason, drop.detail) for drop in drops] == [
        ("t2", "not_accepted", "depth"),
        ("t3", "root_accepted", ""),
        ("t4", "identical", ""),
        ("t5", "low_value", "value 0.5"),
    ]


def test_a_pair_says_which_of_its_texts_were_cut() -> None:
    nodes = [
        replace(node("t1", "root1", None, "wrong", 0.2), finish_reason="length"),
        node("t1", "n1", "root1", "right", 0.8),
    ]
    ((pair,), _) = pairs_from_trees([prompt("p1")], [tree("t1", "p1", "n1")], nodes, CONFIG, run_seed=0)
    assert (pair.chosen_cut, pair.rejected_cut) == (False, True)
    samples = [response("a", "p1"), replace(response("b", "p1"), finish_reason="length")]
    votes = [judgement("a", 1, 4), judgement("b", 4, 1)]
    ((pair,), _) = pairs_from_samples([prompt("p1")], samples, votes, CONFIG, run_seed=0)
    assert (pair.chosen_id, pair.chosen_cut, pair.rejected_cut) == ("b", True, False)


def test_missing_records_are_an_error() -> None:
    nodes = [node("t1", "r", None, "w", 0.2), node("t1", "n", "r", "x", 0.8)]
    with pytest.raises(DataError, match="prompt p1"):
        pairs_from_trees([], [tree("t1", "p1", "n")], nodes, CONFIG, run_seed=0)
    with pytest.raises(DataError, match="root of tree t1"):
        pairs_from_trees([prompt("p1")], [tree("t1", "p1", "n")], [], CONFIG, run_seed=0)
    with pytest.raises(DataError, match="accepted node of tree t1"):
        pairs_from_trees([prompt("p1")], [tree("t1", "p1", "n")], nodes[:1], CONFIG, run_seed=0)


def test_best_over_worst_of_the_samples() -> None:
    prompts = [prompt(f"p{i}") for i in range(1, 6)]
    responses = [
        *(response(f"a{i}", "p1") for i in range(5)),
        *(response(f"b{i}", "p2") for i in range(2)),
        *(response(f"c{i}", "p3") for i in range(2)),
        response("d0", "p4"),
        response("e0", "p5", "same"),
        response("e1", "p5", "same\n"),
    ]
    yes_votes = {"a0": 3, "a1": 1, "a2": 5, "a3": 2, "a4": 4, "b0": 1, "b1": 0, "c0": 5, "c1": 3, "e0": 5, "e1": 0}
    judgements = [judgement(response_id, yes, 5 - yes) for response_id, yes in yes_votes.items()]
    pairs, drops = pairs_from_samples(prompts, responses, judgements, CONFIG, run_seed=0)
    (pair,) = pairs
    assert (pair.chosen, pair.rejected, pair.value, pair.tree_id) == ("text a2", "text a1", 1.0, None)
    assert [(drop.record_id, drop.reason) for drop in drops] == [
        ("p2", "no_passing_response"),
        ("p3", "no_failing_response"),
        ("p4", "not_judged"),
        ("p5", "identical"),
    ]


def test_equal_samples_are_chosen_by_seed_whatever_the_order() -> None:
    responses = [response(name, "p") for name in ("y1", "y2", "n1", "n2")]
    judgements = [judgement("y1", 5, 0), judgement("y2", 5, 0), judgement("n1", 0, 5), judgement("n2", 0, 5)]

    def chosen(seed: int, step: int) -> tuple[str, str]:
        (pair,) = pairs_from_samples([prompt("p")], responses[::step], judgements, CONFIG, run_seed=seed).pairs
        return pair.chosen, pair.rejected

    picks = [chosen(seed, 1) for seed in range(30)]
    assert picks == [chosen(seed, -1) for seed in range(30)]
    assert {c for c, _ in picks} == {"text y1", "text y2"}
    assert {r for _, r in picks} == {"text n1", "text n2"}


def test_methods_compared_under_one_cap_keep_the_same_prompts() -> None:
    prompts = [prompt(f"p{i}") for i in range(12)]
    trees = [tree(f"t{i}", f"p{i}", f"n{i}") for i in range(12)]
    nodes = [
        made
        for i in range(12)
        for made in (node(f"t{i}", f"r{i}", None, "w", 0.2), node(f"t{i}", f"n{i}", f"r{i}", f"x{i}", 0.8))
    ]
    responses = [response(f"{kind}{i}", f"p{i}") for i in range(12) for kind in "yn"]
    judgements = [judgement(f"y{i}", 5, 0) for i in range(12)] + [judgement(f"n{i}", 0, 5) for i in range(12)]
    config = PairsConfig(max_pairs=5)
    searched = pairs_from_trees(prompts, trees, nodes, config, run_seed=3)
    sampled = pairs_from_samples(prompts, responses, judgements, config, run_seed=3)
    assert len(searched.pairs) == 5
    assert [pair.prompt_id for pair in searched.pairs] == [pair.prompt_id for pair in sampled.pairs]
    assert [drop.reason for drop in searched.drops] == ["over_cap"] * 7
    assert {drop.record_id for drop in searched.drops} <= {t.tree_id for t in trees}
