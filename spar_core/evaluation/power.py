"""What a paired comparison can see: the smallest drop that so many items catch, and how many a margin needs.

    found = sensitivity(before, after, change)
    found.detectable        # 0.031: a true drop of 3.1 points is told from none in 8 of 10 comparisons

McNemar's test by its normal approximation (Connor 1987), with the flips that were seen as the noise: a drop adds its
own flips to them. What makes the interval wider or narrower than independent items would (clusters, strata) is kept as
the design effect (Kish).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from spar_core.evaluation.comparison import Observation
from spar_core.evaluation.estimate import Estimate

POWER = 0.8
"""Share of comparisons that catch the detectable drop."""
_Z_INTERVAL = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_Z_POWER = 0.8416212335729143  # the 80 % quantile
_REACH = _Z_INTERVAL + _Z_POWER


class Sensitivity(NamedTuple):
    """What one comparison of `n` pairs can see.

    `noise`: mean squared change of a pair, less what the mean change alone accounts for, in [0, 1]; for right and wrong
    answers the share that flipped both ways. `design`: the variance of the mean over that of independent pairs.
    """

    n: int
    noise: float
    design: float

    @property
    def detectable(self) -> float:
        """The smallest true drop that is caught in 80 % of comparisons, in [0, 1]; 1 where no drop surely is."""
        # drop**2 = share * (noise + drop - drop**2), the variance of a mean change by `drop`
        share = _REACH**2 * self.design / self.n
        return min(1.0, (share + math.sqrt(share**2 + 4 * (1 + share) * share * self.noise)) / (2 * (1 + share)))

    def pairs_for(self, drop: float) -> int:
        """How many pairs catch a true drop of `drop` (above 0, to 1) in 80 % of comparisons."""
        return math.ceil(_REACH**2 * self.design * (self.noise + drop - drop**2) / drop**2)


def sensitivity(before: Iterable[Observation], after: Iterable[Observation], change: Estimate) -> Sensitivity:
    """From the pairs of two measurements and the interval of their mean change (`paired_change`)."""
    later = {item.key: item.value for item in after}
    changes = [later[item.key] - item.value for item in before if item.key in later]
    n = len(changes)
    mean = math.fsum(changes) / n
    square = math.fsum(each**2 for each in changes) / n
    independent = (square - mean**2) / n
    error = (change.ci_high - change.ci_low) / (2 * _Z_INTERVAL)
    design = error**2 / independent if independent > 0 else 1.0
    return Sensitivity(n, max(0.0, square - abs(mean)), design)
