"""Our choices where the published method is silent or different, each on a tree derived by hand."""

import pytest
from scripted_trees import Table, children, node, outcome, root_of, texts, truncated

from spar_core.engines.base import Completion
from spar_core.engines.scripted import ScriptedEngine
from spar_core.errors import EngineUnavailableError, RequestRejectedError
from spar_core.records import Verdict

FAILING = dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "NNNNN")


def test_ties_go_to_the_text_closest_to_the_root() -> None:
    # edits from "one two": a 2, b 1, c 3 -> b; all at 0.8
    rewrites = {"one two": ["one twoxx", "one twox", "one twoxxx"]}
    votes = dict.fromkeys(rewrites["one two"], "YYYYN")
    assert outcome(Table(rewrites, votes).search(root=root_of("one two"))) == ("accepted", "one twox")
    earliest = Table(rewrites, votes).search(root=root_of("one two"), tie_break="earliest")
    assert outcome(earliest) == ("accepted", "one twoxx")


def test_a_tie_in_closeness_goes_to_the_earliest() -> None:
    assert outcome(Table(children("R:abc"), dict.fromkeys("abc", "YYYYY")).search()) == ("accepted", "a")


def test_closeness_never_beats_value() -> None:
    rewrites = {"one two": ["one twox", "three"]}
    votes = {"one twox": "YYYNN", "three": "YYYYN"}
    assert outcome(Table(rewrites, votes).search(root=root_of("one two"), branch=2)) == ("accepted", "three")


def test_duplicates_are_recorded_but_neither_judged_nor_kept() -> None:
    # R -> R (its parent), a, a (its sibling): only a is judged; the beam is a alone
    table = Table(children("R:Raa", "a:def"), FAILING | {"d": "YYYYY"})
    result = table.search()
    assert outcome(result) == ("accepted", "d")
    assert texts(result) == "RRaadef"
    root, copy, first, second, *_ = result.nodes
    assert (copy.duplicate_of, first.duplicate_of, second.duplicate_of) == (root.node_id, None, first.node_id)
    assert (copy.value, copy.failure, second.value) == (None, None, None)
    assert next(ask for ask in table.asked if ask[0] == "judge") == ("judge", "a", 5)
    assert result.tree.nodes_expanded == 6


def test_a_third_copy_points_at_the_first() -> None:
    result = Table(children("R:aaa"), FAILING).search(max_depth=1)
    assert [n.duplicate_of for n in result.nodes[2:]] == [result.nodes[1].node_id] * 2


def test_a_cousin_with_the_same_text_is_no_duplicate() -> None:
    # a -> d, b -> d: different parents
    result = Table(children("R:ab", "a:de", "b:df"), FAILING).search(branch=2, max_depth=2)
    assert [n.duplicate_of for n in result.nodes] == [None] * 7


def test_only_duplicates_exhaust_the_tree() -> None:
    result = Table(children("R:RRR"), {}).search()
    assert (result.tree.stop_reason, result.tree.nodes_expanded, result.best.response) == ("exhausted", 3, "R")


def test_a_truncated_rewrite_is_never_judged_and_costs_budget() -> None:
    missing_end = Completion("<revised_answer>\nb", "stop", 9)
    table = Table({"R": [truncated("a"), missing_end, "c"], "c": "def"}, FAILING)
    result = table.search(node_budget=5)
    assert [n.failure for n in result.nodes] == [None, "truncated", "truncated", None, None, None]
    assert texts(result) == "Rabcde"  # 3 of the budget spent at level 1, though only c is usable
    assert result.tree.stop_reason == "budget"
    assert [response for kind, response, _ in table.asked if kind == "judge"] == ["c", "d", "e"]
    assert node(result, "a").finish_reason == "length"


def test_a_rewrite_without_answer_is_a_failed_expansion() -> None:
    rewrites = {"R": [Completion("sorry", "stop", 1), Completion("<revised_answer></revised_answer>", "stop", 1), "c"]}
    result = Table(rewrites, FAILING).search(max_depth=1)
    assert [n.failure for n in result.nodes] == [None, "no_answer", "empty_answer", None]


def test_unparseable_votes_are_asked_again_and_all_rounds_count() -> None:
    # a: 1 parseable vote of 5, then 4 more: Y, Y Y N Y -> 4 of 5. b: a tie 2:2, then N -> 2 of 7.
    votes = {"a": "UUYUU YYNYU", "b": "YYNNU NNNUU", "c": "NNNNN"}
    table = Table(children("R:abc"), votes)
    result = table.search()
    assert outcome(result) == ("accepted", "a")
    counts = [(n.yes_votes, n.no_votes, n.unparseable_votes, n.value) for n in result.nodes[1:]]
    assert counts == [(4, 1, 5, 4 / 5), (2, 5, 3, 2 / 7), (0, 5, 0, 0.0)]
    own = [vote for vote in result.votes if vote.response_id == result.nodes[1].node_id]
    assert [vote.vote_index for vote in own] == list(range(10))
    assert len({vote.seed for vote in own[:5]}) == 1
    assert own[0].seed != own[5].seed


def test_a_child_without_majority_is_never_accepted_and_takes_no_beam_slot() -> None:
    # a: quorum missed three times; b: three ties; c fails -> the beam is c alone
    votes = FAILING | {"a": "YYUUU UUUUU UUUUU", "b": "YYNNU YYNNU YYNNU", "d": "YYYYY"}
    table = Table(children("R:abc", "c:def"), votes | {"a": "YYUUU UUUUU UUUUU"})
    result = table.search()
    assert outcome(result) == ("accepted", "d")
    assert [(n.response, n.value, n.failure) for n in result.nodes[1:3]] == [
        ("a", None, "judge:quorum"),
        ("b", None, "judge:tie"),
    ]
    assert (result.nodes[2].yes_votes, result.nodes[2].no_votes, result.nodes[2].unparseable_votes) == (6, 6, 3)
    assert sum(vote.verdict is Verdict.UNPARSEABLE for vote in result.votes) == 13 + 3


def test_no_child_with_a_majority_exhausts_the_tree() -> None:
    votes = dict.fromkeys("abc", "UUUUU UUUUU UUUUU")
    result = Table(children("R:abc"), votes).search()
    assert (result.tree.stop_reason, result.tree.nodes_expanded) == ("exhausted", 3)


def test_a_refused_request_is_an_outcome() -> None:
    refusal = RequestRejectedError("prompt too long", reason="prompt_too_long")
    result = Table({"R": [refusal, "b", "c"]}, FAILING).search()
    assert result.tree.stop_reason == "refiner_unavailable"
    assert [n.failure for n in result.nodes[1:]] == ["prompt_too_long"] * 3
    assert result.tree.nodes_expanded == 3


def test_a_refused_vote_leaves_the_child_without_value() -> None:
    def answer(request: object, index: int) -> Exception | str:
        content = request.messages[-1].content  # type: ignore[attr-defined]
        if content.startswith("Check"):
            return RequestRejectedError("too long", reason="prompt_too_long")
        return f"<revised_answer>{index}</revised_answer>"

    table = Table({}, {})
    table.engine = ScriptedEngine(answer)  # type: ignore[arg-type]
    result = table.search()
    assert result.tree.stop_reason == "exhausted"
    assert [n.failure for n in result.nodes[1:]] == ["judge:prompt_too_long"] * 3


def test_an_unavailable_engine_stops_the_search() -> None:
    with pytest.raises(EngineUnavailableError):
        Table({"R": [EngineUnavailableError("gone")] * 3}, {}).search()


def test_proportional_selection_follows_its_seed_and_the_values() -> None:
    # Values a 0.4, b 0, c 0.2: b is never drawn, the beam is always {a, c}, best first.
    votes = FAILING | {"a": "YYNNN", "c": "YNNNN"}
    table = children("R:abc", "a:def", "c:ghi")
    for run_seed in range(5):
        assert (
            texts(Table(table, votes).search(selection="proportional", max_depth=2, run_seed=run_seed)) == "Rabcdefghi"
        )
    # With one slot, a is drawn about twice as often as c, and equal seeds draw alike.
    drawn = []
    for run_seed in range(60):
        result = Table(table, votes).search(selection="proportional", beam_width=1, max_depth=2, run_seed=run_seed)
        drawn.append(texts(result)[4:])
    again = Table(table, votes).search(selection="proportional", beam_width=1, max_depth=2, run_seed=59)
    assert texts(again)[4:] == drawn[59]
    assert set(drawn) == {"def", "ghi"}
    assert 25 <= drawn.count("def") <= 55  # expected 40 of 60, five standard deviations would be 18


def test_proportional_selection_among_zeros_draws_evenly() -> None:
    table = children("R:abc", "a:def", "b:ghi", "c:jkl")
    drawn = {
        texts(Table(table, FAILING).search(selection="proportional", beam_width=1, max_depth=2, run_seed=seed))[4]
        for seed in range(30)
    }
    assert drawn == {"d", "g", "j"}
