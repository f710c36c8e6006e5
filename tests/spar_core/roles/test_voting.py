import pytest

from spar_core.config.method import JudgingConfig
from spar_core.records import Verdict, Vote
from spar_core.roles.voting import Tally, judgement, tally, undecided, worth_asking_again

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
    assert tally(votes("YNUUY")) == Tally(2, 1, 2)
