"""Answers cut by the token limit: counted beside every score, because what was cut is scored as if it were whole."""

from collections.abc import Iterable

from spar_core.evaluation.scores import Score, share_score

TRUNCATED = "truncated"
_WORTH_A_WARNING = 0.05  # share of cut answers above which a score says more about the limit than about the model


class Truncation:
    """Counts answers whose finish reason is known, and the cut ones (`length`) among them."""

    def __init__(self, finish_reasons: Iterable[str | None] = ()) -> None:
        self.cut = self.known = 0
        for reason in finish_reasons:
            self.add(reason)

    def add(self, finish_reason: str | None) -> None:
        """Count one answer; null: nobody said how it ended."""
        self.known += finish_reason is not None
        self.cut += finish_reason == "length"

    def scores(self, metric: str = TRUNCATED) -> tuple[Score, ...]:
        """The share of cut answers; none where no finish reason is known."""
        return (share_score(metric, self.cut, self.known, 0),) if self.known else ()


def truncation_warning(value: float, n: int, *, what: str = "answers", remedy: str = "raise --max-tokens") -> str:
    """What to say of a share of cut texts; empty where it is small."""
    if value <= _WORTH_A_WARNING:
        return ""
    return (
        f"{round(value * n)} of {n} {what} ({100 * value:.1f} %) were cut at the token limit and are scored as they "
        f"are: {remedy}, else the scores tell more of the limit than of the model"
    )
