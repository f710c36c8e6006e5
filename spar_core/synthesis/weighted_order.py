"""A seeded order in which what weighs more tends to come first."""

from collections.abc import Mapping, Sequence
from random import Random


def weighted_order(rng: Random, names: Sequence[str], weights: Mapping[str, float]) -> list[str]:
    """All names, drawn without replacement in proportion to their weights (Efraimidis and Spirakis 2006).

    Weights are above 0; a name without one has 1. Takes one random number per name, in the order given.
    """
    keys = {name: rng.random() ** (1 / weights.get(name, 1.0)) for name in names}
    return sorted(names, key=lambda name: keys[name], reverse=True)
