"""Pairs by rubric scores, and random pairs."""

import random

from finished_records import prompt, response

from spar_core.config.pairs import PairsConfig
from spar_core.data import pairs_from_scores, random_pairs
from spar_core.records import Response, RubricScore

CONFIG = PairsConfig()


def score(response_id: str, value: float) -> RubricScore:
    return RubricScore(response_id, value, 0.0, 5, 0)


def test_highest_over_lowest_score() -> None:
    responses = [
        *(response(name, "p1") for name in "abc"),
        *(response(name, "p2") for name in "de"),
        response("f", "p3"),
        response("g", "p4", "same"),
        response("h", "p4", "same "),
    ]
    scores = [score("a", 0.4), score("b", 0.9), score("c", 0.2), score("d", 0.6), score("e", 0.6)]
    scores += [score("g", 0.1), score("h", 0.2)]
    prompts = [prompt(name) for name in ("p1", "p2", "p3", "p4")]
    pairs, drops = pairs_from_scores(prompts, responses, scores, CONFIG, run_seed=0)
    (pair,) = pairs
    assert (pair.prompt_id, pair.tree_id, pair.prompt) == ("p1", None, "task p1")
    assert (pair.chosen, pair.rejected, pair.value) == ("text b", "text c", 0.9)
    assert [(drop.record_id, drop.reason) for drop in drops] == [
        ("p2", "equal_scores"),
        ("p3", "not_scored"),
        ("p4", "identical"),
    ]


def test_length_control_takes_the_shortest_of_the_best_over_the_longest_of_the_worst() -> None:
    texts = {"a": ("long and good", 1.0), "b": ("good", 0.92), "c": ("so", 0.5), "d": ("bad", 0.0)}
    texts |= {"e": ("long and bad", 0.08), "f": ("b", 0.89)}
    responses = [response(name, "p1", text) for name, (text, _) in texts.items()]
    scores = [score(name, value) for name, (_, value) in texts.items()]

    def chosen(control: float | None) -> tuple[str, str, float]:
        config = PairsConfig(method="self_rewarding", length_control=control)
        (pair,) = pairs_from_scores([prompt("p1")], responses, scores, config, run_seed=0).pairs
        return pair.chosen, pair.rejected, pair.value

    assert chosen(None) == chosen(0.0) == ("long and good", "bad", 1.0)
    assert chosen(0.1) == ("good", "long and bad", 0.92)  # within a tenth of 1.0 and of 0.0
    assert chosen(0.2) == ("b", "long and bad", 0.89)


def test_random_pairs_are_two_different_samples() -> None:
    prompts = [prompt("p1"), prompt("p2"), prompt("p3")]
    responses = [response("a", "p1", "same"), response("b", "p1", " same"), response("c", "p1", "other")]
    responses += [response("d", "p2", "same"), response("e", "p2", "same")]
    pairs, drops = random_pairs(prompts, responses, CONFIG, run_seed=0)
    (pair,) = pairs
    assert {pair.chosen.strip(), pair.rejected.strip()} == {"same", "other"}
    assert pair.value == 0.5
    assert [(drop.record_id, drop.reason) for drop in drops] == [("p2", "identical"), ("p3", "no_response")]


def test_random_pairs_have_a_random_order_that_follows_from_the_seed_alone() -> None:
    prompts = [prompt(f"p{number}") for number in range(200)]
    responses: list[Response] = [
        response(f"{entry.prompt_id}-{index}", entry.prompt_id) for entry in prompts for index in range(5)
    ]
    first = random_pairs(prompts, responses, CONFIG, run_seed=0)
    shuffled = random.Random(1).sample(responses, len(responses))
    assert random_pairs(prompts, shuffled, CONFIG, run_seed=0) == first
    assert random_pairs(prompts, responses, CONFIG, run_seed=1) != first
    earlier = sum(int(pair.chosen[-1]) < int(pair.rejected[-1]) for pair in first.pairs)
    assert 70 < earlier < 130  # of 200: an even coin stays within 4 standard deviations (7.1)


def test_a_cap_keeps_pairs_of_the_same_prompts_whatever_the_method() -> None:
    prompts = [prompt(f"p{number}") for number in range(20)]
    responses = [response(f"{entry.prompt_id}-{index}", entry.prompt_id) for entry in prompts for index in range(2)]
    scores = [score(entry.response_id, float(entry.response_id[-1])) for entry in responses]
    capped = PairsConfig(max_pairs=7)
    by_score = pairs_from_scores(prompts, responses, scores, capped, run_seed=0)
    by_chance = random_pairs(prompts, responses, capped, run_seed=0)
    assert len(by_score.pairs) == 7
    assert [pair.prompt_id for pair in by_score.pairs] == [pair.prompt_id for pair in by_chance.pairs]
