"""A figure with its interval: what every measurement, score and comparison comes to."""

import math
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval. Fractions unless the values were not; NaN where nothing could be scored.

    `value` is over `n` items alone; `unscored` counts those that had no readable verdict or no answer.
    """

    value: float
    ci_low: float
    ci_high: float
    n: int
    unscored: int = 0

    @classmethod
    def nothing(cls, unscored: int = 0, n: int = 0) -> Self:
        """No value."""
        return cls(math.nan, math.nan, math.nan, n, unscored)

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is told from none at the 5 % level."""
        return self.known and (self.ci_low > 0 or self.ci_high < 0)

    @property
    def unscored_share(self) -> float:
        """Share of the items without a verdict, in [0, 1]."""
        return self.unscored / (self.n + self.unscored) if self.unscored else 0.0

    def bounds(self, scale: float = 100, digits: int = 1, *, signed: bool = False) -> str:
        """`[70.3, 73.9]`, in percent."""
        sign = "+" if signed else ""
        low, high = (f"{scale * bound:{sign}.{digits}f}" for bound in (self.ci_low, self.ci_high))
        return f"[{low}, {high}]"

    def shown(self, scale: float = 100, digits: int = 1, *, signed: bool = False) -> str:
        """`72.1 [70.3, 73.9]`, in percent."""
        return f"{scale * self.value:{'+' if signed else ''}.{digits}f} {self.bounds(scale, digits, signed=signed)}"

    def plain(self) -> dict[str, Any]:
        """JSON-like: value, bounds and n; nulls where there is no value."""
        if not self.known:
            return {"value": None, "ci_low": None, "ci_high": None, "n": self.n}
        return {"value": self.value, "ci_low": self.ci_low, "ci_high": self.ci_high, "n": self.n}
