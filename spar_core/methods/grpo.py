"""GRPO: the actor learns from what code, or the refiner, says of its own answers (arXiv 2402.03300)."""

from spar_core.methods.plugin import OnlineMethod


class Grpo(OnlineMethod):
    """No refiner takes part, unless `training.grpo.reward` is `judged`."""

    name = "grpo"
    summary = "rewards for its own answers: the constraints they meet, or the refiner's votes"
    rules_note = (
        "rewards are what a checker says of the actor's answers; training.grpo.reward=judged asks for votes instead"
    )


METHOD = Grpo()
