"""Meta-rewarding: self-rewarding whose judge learns from judgements of its judgements (arXiv 2407.19594)."""

from spar_core.methods.self_rewarding import SelfRewarding


class MetaRewarding(SelfRewarding):
    """The refiner learns by DPO on pairs of its own rubric judgements."""

    name = "meta_rewarding"
    summary = "as self_rewarding, and the refiner learns from judgements of its judgements"
    refiner_learns_by = "dpo"


METHOD = MetaRewarding()
