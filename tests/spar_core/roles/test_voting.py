from dataclasses import replace
from itertools import product

import pytest
from pydantic import ValidationError

from spar_core.config.method import JudgingConfig
from spar_core.records import Verdict, Vote
from spar_core.roles.voting import Tally, certain, judgement, span, tally, undecided, worth_asking_again

_VERDICTS = {"Y": Verdict.YES, "N": Verdict.NO, "U": Verdict.UNPARSEABLE}


def votes(letters: str) -> list[Vote]:
    return [Vote("r", i, _VERDICTS[letter], f"{letter}{i}", "stop", 7) for i, letter in enumerate(letters)]


@pytest.mark.parametrize(
    ("letters", "quorum", "reason"),
    [
        ("YYNNN", 3, None),
        ("YUUUU", 3, "quorum"),
        ("YNUUU", 3, "quorum"),
        ("YYNUU", 3, None),
        ("YYNNU", 3, "tie"),
        ("YUUUU", 1, None),
        ("YNUUU", 1, "tie"),
        ("UUUUU", 1, "quorum"),
    ],
)
def test_when_votes_decide(letters: str, quorum: int, reason: str | None) -> None:
    assert undecided(tally(votes(letters)), JudgingConfig(quorum=quorum)) == reason


def test_value_counts_parseable_votes_only_and_the_critique_agrees_with_the_majority() -> None:
    result = judgement("r", votes("UNYYN" + "YU"))
    assert (result.verdict, result.yes_votes, result.no_votes, result.unparseable_votes) == (Verdict.YES, 3, 2, 2)
    assert result.value == 3 / 5
    assert result.critique == "Y2"
    assert judgement("r", votes("YNN")).critique == "N1"


def test_a_tie_is_dropped_at_once_only_where_configured() -> None:
    assert worth_asking_again("tie", JudgingConfig(tie="reask"))
    assert not worth_asking_again("tie", JudgingConfig(tie="drop"))
    assert worth_asking_again("quorum", JudgingConfig(tie="drop"))


def test_tally() -> None:
    assert tally(votes("YNUUY")) == Tally(2, 1, 2, 2.0)


SOFT = JudgingConfig(verdict="continuation", soft_votes=True)


def soft_votes(*probabilities: float) -> list[Vote]:
    return [
        replace(vote, yes_probability=probability)
        for probability, letter in [(share, "Y" if share > 0.5 else "N") for share in probabilities]
        for vote in votes(letter)
    ]


def test_soft_votes_weigh_as_their_probabilities_say() -> None:
    cast = [*soft_votes(0.95, 0.4, 0.45), *votes("U")]
    result = judgement("r", cast, SOFT)
    # Two of three say NO, but the one YES is surer: (0.95 + 0.4 + 0.45) / 3 = 0.6.
    assert (result.verdict, result.yes_votes, result.no_votes, result.unparseable_votes) == (Verdict.YES, 1, 2, 1)
    assert result.value == pytest.approx(0.6)
    assert result.critique == "Y0"
    assert judgement("r", cast, JudgingConfig(verdict="continuation")).verdict is Verdict.NO


def test_a_soft_vote_without_a_probability_counts_whole() -> None:
    assert tally([*soft_votes(0.25), *votes("Y")], SOFT).value == pytest.approx(1.25 / 2)


def test_soft_votes_that_balance_are_a_tie() -> None:
    assert undecided(tally(soft_votes(0.75, 0.25, 0.5), SOFT), SOFT) == "tie"
    assert undecided(tally(soft_votes(0.75, 0.5, 0.5), SOFT), SOFT) is None


def test_soft_votes_need_probabilities() -> None:
    with pytest.raises(ValidationError, match=r"judging\.verdict=continuation"):
        JudgingConfig(soft_votes=True)


@pytest.mark.parametrize(
    ("letters", "left", "quorum", "majority"),
    [
        ("YYY", 2, 3, Verdict.YES),
        ("NNN", 2, 3, Verdict.NO),
        ("YYN", 2, 3, None),
        ("YYY", 3, 3, None),  # three NO would make a tie
        ("YYYU", 2, 3, Verdict.YES),
        ("YYU", 1, 3, None),  # the quorum may be missed
        ("UUU", 2, 3, None),
    ],
)
def test_a_majority_is_certain_once_no_further_vote_can_change_it(letters, left, quorum, majority) -> None:
    assert certain(tally(votes(letters)), left, JudgingConfig(votes=8, quorum=quorum)) is majority


@pytest.mark.parametrize("letters", ["".join(drawn) for n in range(1, 5) for drawn in product("YNU", repeat=n)])
@pytest.mark.parametrize("quorum", [1, 3])
def test_what_is_certain_stays_whatever_the_others_say(letters: str, quorum: int) -> None:
    config, left = JudgingConfig(quorum=quorum), 5 - len(letters)
    ends = [tally(votes(letters + "".join(rest))) for rest in product("YNU", repeat=left)]
    reasons = {undecided(end, config) for end in ends}
    verdicts = (
        {judgement("r", votes(letters + "".join(rest))).verdict for rest in product("YNU", repeat=left)}
        if (reasons == {None})
        else set()
    )
    found = certain(tally(votes(letters)), left, config)
    assert found is (verdicts.pop() if len(verdicts) == 1 else None)
    if found is not None:
        low, high = span(tally(votes(letters)), left)
        assert (low, high) == (min(end.value for end in ends), max(end.value for end in ends))


def test_soft_votes_are_certain_by_their_probabilities() -> None:
    # 0.9 + 0.9 + 0.8 = 2.6 of at most 5: above one half with two further NO; 0.9 + 0.9 + 0.6 = 2.4 is not.
    assert certain(tally(soft_votes(0.9, 0.9, 0.8), SOFT), 2, SOFT) is Verdict.YES
    assert certain(tally(soft_votes(0.9, 0.9, 0.6), SOFT), 2, SOFT) is None
    assert certain(tally(soft_votes(0.1, 0.1, 0.2), SOFT), 2, SOFT) is Verdict.NO


def test_one_more_vote_breaks_a_tie_only_where_all_rounds_count_together() -> None:
    assert worth_asking_again("tie", JudgingConfig(tie="one_more"))
    with pytest.raises(ValidationError, match="reasked=together"):
        JudgingConfig(tie="one_more", reasked="alone")
