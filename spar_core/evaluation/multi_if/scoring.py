"""Scores of chats: by turn and language the four rates of IFEval and their mean, which is the published figure.

Chats, not turns, are drawn for the intervals: the turns of one chat share its subject and its instructions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from spar_core.evaluation.ifeval import MODES, RATES, PromptVerdicts
from spar_core.evaluation.multi_if.dataset import Chats, chat_of, turn_of
from spar_core.evaluation.scores import Score, clustered_score, share_score
from spar_core.evaluation.statistics import Stratum, stratified_mean_of_parts
from spar_core.records import EvalItem, ModelRole

AVERAGE = "average"

_Chat = Mapping[int, PromptVerdicts]
"""Verdicts by turn."""


class _Counts(NamedTuple):
    """Of one turn, by rate: how many verdicts are right, how many there are, and how many there should be."""

    right: tuple[int, ...] = (0,) * len(RATES)
    known: tuple[int, ...] = (0,) * len(RATES)
    all: tuple[int, ...] = (0,) * len(RATES)

    @classmethod
    def of(cls, verdicts: PromptVerdicts | None) -> "_Counts":
        if verdicts is None:
            return cls()
        groups = [group for mode in MODES for group in ((verdicts.whole(mode),), verdicts.of(mode))]
        known = [[verdict for verdict in group if verdict is not None] for group in groups]
        return cls(tuple(map(sum, known)), tuple(map(len, known)), tuple(map(len, groups)))


def turn_scores(chats: Chats, items: Sequence[PromptVerdicts]) -> list[Score]:
    """`average`, `turn_N`, their parts `turn_N/RATE`, and the same by language (`turn_N/LANGUAGE/RATE`).

    Args:
        chats: what was asked.
        items: the verdicts on every turn.
    """
    by_chat: dict[str, dict[int, PromptVerdicts]] = {name: {} for name in chats.languages}
    for item in items:
        by_chat[chat_of(str(item.key))][turn_of(str(item.key))] = item
    scores = list(_of_group("", list(by_chat.values())))
    for language in dict.fromkeys(chats.languages.values()):
        group = [turns for name, turns in by_chat.items() if chats.languages[name] == language]
        scores += _of_group(f"/{language}", group)
    return sorted(scores, key=lambda score: score.metric.count("/"))


def eval_items(
    name: str, items: Sequence[PromptVerdicts], reasons: Mapping[str, str], role: ModelRole, model_digest: str
) -> Iterator[EvalItem]:
    """Catalogue rows: per turn `prompt_*`, per instruction `instruction_*/KIND`; the chat is their cluster.

    `reasons`: why a turn has no answer.
    """
    for item in items:
        key = str(item.key)
        whose = (name, role, model_digest)
        for mode in MODES:
            whole = _number(item.whole(mode))
            yield EvalItem(*whose, key, chat_of(key), f"prompt_{mode}", whole, reasons.get(key, ""))
            for index, (kind, verdict) in enumerate(zip(item.kinds, item.of(mode), strict=True)):
                detail = reasons.get(key, item.verdicts[index].reason)
                metric = f"instruction_{mode}/{kind}"
                yield EvalItem(*whose, f"{key}#{index}", chat_of(key), metric, _number(verdict), detail)


def _of_group(suffix: str, chats: Sequence[_Chat]) -> Iterator[Score]:
    turns = sorted({turn for chat in chats for turn in chat})
    yield _mean(f"{AVERAGE}{suffix}", chats, turns)
    for turn in turns:
        yield _mean(f"turn_{turn}{suffix}", chats, [turn])
        yield from _rates(f"turn_{turn}{suffix}", [_Counts.of(chat[turn]) for chat in chats if turn in chat])


def _mean(metric: str, chats: Sequence[_Chat], turns: Sequence[int]) -> Score:
    """The mean over turns of the mean of the four rates. `n` counts turns with a verdict on the whole answer."""
    counts = [[_Counts.of(chat.get(turn)) for turn in turns] for chat in chats]
    met = [row for row in counts if any(known for each in row for known in each.known)]
    stratum = Stratum(
        [[right for each in row for right in each.right] for row in met],
        [[known for each in row for known in each.known] for row in met],
    )
    estimate = stratified_mean_of_parts([stratum], (1.0,) * (len(RATES) * len(turns)))
    n = sum(each.known[0] for row in counts for each in row)
    asked = sum(each.all[0] for row in counts for each in row)
    return Score(metric, replace(estimate, n=n if estimate.known else 0, unscored=asked - (n if estimate.known else 0)))


def _rates(prefix: str, counts: Sequence[_Counts]) -> Iterator[Score]:
    for place, rate in enumerate(RATES):
        right = [each.right[place] for each in counts]
        known = [each.known[place] for each in counts]
        unscored = sum(each.all[place] for each in counts) - sum(known)
        metric = f"{prefix}/{rate}"
        if max(known, default=0) <= 1:
            yield share_score(metric, sum(right), sum(known), unscored)
        else:
            filled = [(hits, size) for hits, size in zip(right, known, strict=True) if size]
            yield clustered_score(metric, [hits for hits, _ in filled], [size for _, size in filled], unscored)


def _number(verdict: bool | None) -> float | None:
    return None if verdict is None else float(verdict)
