"""SPaR, then GRPO: the first iterations teach by refined pairs, the later ones by rewards."""

from spar_core.config.pairs import PairsConfig
from spar_core.methods import grpo, spar
from spar_core.methods.plugin import Method


class SparThenGrpo(Method):
    """Its iterations of SPaR are those of a run of SPaR: in one home they are computed once."""

    name = "spar_then_grpo"
    summary = "the first iterations as spar, those from `method.pairs.grpo_from` on as grpo"

    @property
    def phases(self) -> tuple[Method, ...]:
        """SPaR and GRPO."""
        return (spar.METHOD, grpo.METHOD)

    def at(self, iteration: int, config: PairsConfig) -> Method:
        """GRPO from `grpo_from` on."""
        return grpo.METHOD if iteration >= config.grpo_from else spar.METHOD


METHOD = SparThenGrpo()
