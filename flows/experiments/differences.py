"""Paired differences over several seeds, told twice: over prompts for these seeds, and over seeds."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from flows.experiments.outcome import Difference
from spar_core.evaluation.comparison import Observation, paired_change
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.statistics import over_seeds

BySeed = Mapping[int, Sequence[Observation]]
Change = Callable[[Iterable[Observation], Iterable[Observation]], Estimate | None]


def by_seed(observations: Iterable[Observation]) -> BySeed:
    """Items whose keys are (seed, prompt), by seed."""
    found: dict[int, list[Observation]] = defaultdict(list)
    for observation in observations:
        seed, _ = cast("tuple[int, str]", observation.key)
        found[seed].append(observation)
    return found


def difference_of(metric: str, before: BySeed, after: BySeed, change_of: Change = paired_change) -> Difference | None:
    """After minus before, on the items that both have; None where there are none."""
    found = {seed: change_of(items, after.get(seed, ())) for seed, items in before.items()}
    known = {seed: estimate for seed, estimate in found.items() if estimate is not None}
    pooled = change_of(_joined(before), _joined(after))
    if pooled is None:
        return None
    seeds = over_seeds([estimate.value for estimate in known.values()])
    return Difference(metric=metric, pooled=pooled, by_seed=known, over_seeds=seeds)


def _joined(measured: BySeed) -> list[Observation]:
    return [observation for items in measured.values() for observation in items]
