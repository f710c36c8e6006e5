"""Prompts that follow the model: harder where it passes, easier where it does not, by kind as it learns."""

import pytest

from spar_core.config.following import FollowingConfig
from spar_core.config.loading import build_config
from spar_core.constraints.splits import TRAIN_KINDS
from spar_core.data.pass_rates import PassRate, pass_rates
from spar_core.errors import ConfigError
from spar_core.records import Constraint, Judgement, Prompt, Response, Verdict
from spar_core.synthesis import seed_prompts, verifiable_prompts
from spar_core.synthesis.following import Drawing, next_drawing

SOMETIMES, NEVER, ALWAYS = "punctuation:no_comma", "startend:end_checker", "keywords:existence"


def asking(name: str, *kinds: str) -> Prompt:
    return Prompt(name, name, tuple(Constraint(kind, "{}") for kind in kinds))


PROMPTS = [asking("a", SOMETIMES), asking("b", NEVER), asking("c", ALWAYS)]


@pytest.mark.parametrize(
    ("passed", "counts", "then"),
    [
        (6, (1, 2), (2, 3)),  # 60 %
        (5, (1, 2), (1, 2)),
        (1, (2, 4), (2, 4)),  # 10 %
        (0, (2, 4), (1, 3)),
        (0, (1, 1), (1, 1)),
        (10, (4, 6), (5, 6)),
        (10, (6, 6), (6, 6)),
        (10, (7, 8), (8, 8)),  # as the user began: never fewer because of the limit
    ],
)
def test_prompts_get_harder_or_easier_by_the_share_that_passes(passed, counts, then):
    drawn = next_drawing(Drawing(counts), PROMPTS[:1], {"a": PassRate(passed, 10)}, FollowingConfig())
    assert drawn.counts == then


def test_kinds_that_pass_now_and_then_are_drawn_most():
    rates = {"a": PassRate(2, 4), "b": PassRate(0, 4), "c": PassRate(4, 4)}
    drawn = next_drawing(Drawing((1, 2)), PROMPTS, rates, FollowingConfig())
    assert drawn.weights == {SOMETIMES: 1.0, NEVER: 0.2, ALWAYS: 0.2}
    assert Drawing.of(drawn.plain()) == drawn
    assert next_drawing(Drawing((1, 2)), PROMPTS, rates, FollowingConfig(weigh_kinds=False)).weights == {}


def test_without_judgements_all_stays_as_it_was():
    before = Drawing((1, 2), {NEVER: 0.5})
    assert next_drawing(before, PROMPTS, {}, FollowingConfig()) is before


def test_kinds_are_drawn_by_their_weights_and_none_is_lost():
    def share(weights):
        drawn = verifiable_prompts(seed_prompts(), range(3000), 0, "train", (1, 1), weights)
        return sum(prompt.constraints[0].kind == NEVER for prompt in drawn) / 3000

    even, others = 1 / len(TRAIN_KINDS), len(TRAIN_KINDS) - 1
    assert share({}) == pytest.approx(even, abs=0.015)
    assert share({NEVER: 0.2}) == pytest.approx(0.2 / (others + 0.2), abs=0.008)
    assert 0 < share({NEVER: 0.2}) < share({}) < share({NEVER: 5.0})


def test_the_pass_rate_of_a_prompt_counts_its_decided_answers():
    answers = [Response(name, name[0], 0, "", "stop", 1, 1, "m", 0) for name in ("a1", "a2", "a3", "b1", "c1")]
    said = {"a1": Verdict.YES, "a2": Verdict.NO, "b1": Verdict.NO}
    judged = [Judgement(name, verdict, 1, 0, 0, 1.0, "") for name, verdict in said.items()]
    assert pass_rates(answers, judged) == {"a": PassRate(1, 2), "b": PassRate(0, 1)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pass_above": 0.7}, "no share lies above"),
        ({"easier_below": 0.6}, "less than harder_from"),
        ({"pass_above": 2}, "less than or equal to 1"),
    ],
)
def test_limits_that_exclude_each_other_are_said(given, said):
    with pytest.raises(ConfigError, match=said):
        build_config({"prompts": {"source": "verifiable", "following": given}})


def test_following_is_off_unless_asked_for_and_then_part_of_the_runs_name():
    plain = build_config({"prompts": {"source": "verifiable"}})
    assert "following" not in plain.model_dump(mode="json")["prompts"]
    following = build_config({"prompts": {"source": "verifiable", "following": {}}})
    assert following.default_run_id() != plain.default_run_id()
