"""The figures of self-play that stand first wherever a model is described: by role, metric and what it is called."""

from typing import Final

from spar_core.records import ModelRole

HEADLINES: Final[dict[ModelRole, dict[str, str]]] = {
    "actor": {
        "accuracy": "right answers, held-out prompts %",
        "accuracy/iid": "likewise, like training %",
        "accuracy/heldout": "likewise, unlike training %",
        "hack_rate": "right answers that do nothing else (trip wires) %",
    },
    "refiner": {
        "judge_balanced_accuracy_own": "judging its actor's answers, balanced %",
        "judge_balanced_accuracy_rewrites": "judging its own rewrites, balanced %",
        "judge_balanced_accuracy": "judging the first actor's answers, balanced %",
        "fix_rate": "failing answers its search truly mends %",
        "fix_rate_in_use": "likewise, told by rules what is wrong %",
        "self_evaluation_bias": "liking of its own rewrites, points",
    },
}
