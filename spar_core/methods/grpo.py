"""GRPO: the actor learns from what code says of its own answers (arXiv 2402.03300)."""

from spar_core.methods.plugin import OnlineMethod


class Grpo(OnlineMethod):
    """No refiner takes part."""

    name = "grpo"
    summary = "rewards for its own answers: the constraints they meet"
    rules_note = "rewards are what a checker says of the actor's answers. No vote is asked and no refiner takes part"


METHOD = Grpo()
