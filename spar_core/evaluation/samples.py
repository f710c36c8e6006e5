"""Several answers per item: scores over all of them, pass^k and pass@k, each with its interval over items.

Of an item with n scored answers of which c are right, C(c, k) / C(n, k) is the share of its k-sets that are all right,
and 1 - C(n - c, k) / C(n, k) the share that holds a right one. Over answers drawn independently these are unbiased
for pass^k (k answers all right) and pass@k (at least one of k right; Chen et al. 2021, arXiv 2107.03374).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from spar_core.errors import DataError
from spar_core.evaluation.scores import Score
from spar_core.evaluation.statistics import clustered_mean, mean_by_size
from spar_core.records import EvalItem

ALL_RIGHT = "pass^"
ANY_RIGHT = "pass@"
_SAME = 1e-9


def all_right(right: int, n: int, k: int) -> float:
    """pass^k of one item, in [0, 1]: `right` of its `n` answers are right.

    Raises:
        DataError: k answers cannot be taken of n.
    """
    _check(right, n, k)
    return math.comb(right, k) / math.comb(n, k)


def any_right(right: int, n: int, k: int) -> float:
    """pass@k of one item, in [0, 1]: `right` of its `n` answers are right.

    Raises:
        DataError: k answers cannot be taken of n.
    """
    _check(right, n, k)
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def default_sizes(samples: int) -> tuple[int, ...]:
    """The k that are shown of `samples` answers: 2, 4, 8, ... and all of them; none of a single answer."""
    powers = {2**power for power in range(1, samples.bit_length())}
    return tuple(sorted({k for k in powers if k <= samples} | ({samples} if samples > 1 else set())))


def is_of_samples(metric: str) -> bool:
    """Whether a metric is a pass^k or pass@k."""
    return metric.rpartition("/")[2].startswith((ALL_RIGHT, ANY_RIGHT))


def without_signs(metric: str) -> str:
    """A metric's name for places that take letters, digits and `/` alone: `pass_all_2` of `pass^2`, `pass_any_2`."""
    return metric.replace(f"/{ALL_RIGHT}", "/pass_all_").replace(f"/{ANY_RIGHT}", "/pass_any_")


def sampled_scores(
    items: Iterable[EvalItem], by_sample: Sequence[Sequence[Score]], sizes: Sequence[int]
) -> list[Score]:
    """The scores over all answers, and METRIC/pass^k, METRIC/pass@k for metrics of whole items that are right or wrong.

    A score that is the mean of its items' values is the mean over all answers, bootstrapped by the items' clusters.
    Any other (such as one over levels) is the mean of the samples' scores with the mean of their bounds, since answers
    to the same prompts do not make one another more certain.

    Args:
        items: of all samples, told apart by `sample`.
        by_sample: the scores of each sample alone.
        sizes: the k; `n` of a pass^k counts items with at least k scored answers.
    """
    values: dict[str, list[EvalItem]] = {}
    for item in items:
        values.setdefault(item.metric, []).append(item)
    scores = list(_pooled(values, by_sample))
    for metric, group in values.items():
        if "/" not in metric and all(item.value in (None, 0.0, 1.0) for item in group):
            scores += pass_scores(metric, group, sizes)
    return scores


def pass_scores(metric: str, items: Sequence[EvalItem], sizes: Sequence[int]) -> list[Score]:
    """METRIC/pass^k and METRIC/pass@k for each k. `items`: of one metric, a row per answer under its item's id."""
    return [score for k in sizes for score in _passes(metric, items, k)]


class _Tried(NamedTuple):
    cluster: str
    right: int
    n: int


def _pooled(values: dict[str, list[EvalItem]], by_sample: Sequence[Sequence[Score]]) -> Iterator[Score]:
    found: dict[str, dict[int, Score]] = {}
    for sample, scores in enumerate(by_sample):
        for score in scores:
            found.setdefault(score.metric, {})[sample] = score
    for metric, scores_of in found.items():
        items = values.get(metric, [])
        estimates = [score.estimate for score in scores_of.values()]
        known = [item for item in items if item.value is not None]
        if known and all(_is_mean_of(score, items, sample) for sample, score in scores_of.items()):
            mean = clustered_mean([item.value or 0.0 for item in known], [item.cluster_id for item in known])
            yield Score(metric, replace(mean, unscored=len(items) - len(known)))
        else:
            yield Score(metric, mean_by_size(estimates))


def _is_mean_of(score: Score, items: Sequence[EvalItem], sample: int) -> bool:
    known = [item.value for item in items if item.sample == sample and item.value is not None]
    if score.value is None or score.n != len(known):
        return not known
    return not known or abs(math.fsum(known) / len(known) - score.value) < _SAME


def _passes(metric: str, items: Sequence[EvalItem], k: int) -> list[Score]:
    tried: dict[str, _Tried] = {}
    for item in items:
        known = tried.get(item.item_id, _Tried(item.cluster_id, 0, 0))
        one = item.value is not None
        tried[item.item_id] = known._replace(right=known.right + (item.value == 1.0), n=known.n + one)
    enough = [each for each in tried.values() if each.n >= k]
    ways: tuple[tuple[str, Callable[[int, int, int], float]], ...] = ((ALL_RIGHT, all_right), (ANY_RIGHT, any_right))
    scores = []
    for name, share in ways:
        mean = clustered_mean([share(each.right, each.n, k) for each in enough], [each.cluster for each in enough])
        scores.append(Score(f"{metric}/{name}{k}", replace(mean, unscored=len(tried) - len(enough))))
    return scores


def _check(right: int, n: int, k: int) -> None:
    if not (0 <= right <= n and 1 <= k <= n):
        raise DataError(f"{k} of {n} answers, {right} of them right, cannot be taken: k lies between 1 and n")
