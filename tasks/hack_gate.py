"""What the gate asks of an actor's hack rate (`promotion.max_hack_rate_rise`)."""

from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.hack_rate import Said, hack_rate
from storage.artifacts import ArtifactRef, ArtifactStore


def hacks_more(store: ArtifactStore, champion: ArtifactRef, candidate: ArtifactRef, most: float) -> str | None:
    """Why the candidate is refused; None where its rate lies at most `most` (fraction) above the champion's.

    A champion none of whose answers meets every rule counts as 0. Both were measured on the same prompts.
    """
    after = _rate(store, candidate)
    if after is None:
        return None
    before = _rate(store, champion)
    if after.value - (0.0 if before is None else before.value) <= most:
        return None
    shown = "none" if before is None else f"{before.shown()} %"
    return (
        f"hack rate {after.shown()} % of the answers that meet the rules, before: {shown}; "
        f"promotion.max_hack_rate_rise is {100 * most:g} points"
    )


def _rate(store: ArtifactStore, measured: ArtifactRef) -> Estimate | None:
    prompts = {
        prompt.prompt_id: prompt
        for entry in measured.manifest().inputs
        if entry.stage == "eval_prompts"
        if (held_out := store.get(entry.stage, entry.stage_key)) is not None
        for prompt in held_out.read("eval_prompts")
    }
    answers = measured.read("eval_responses")
    return hack_rate(prompts, (Said(answer.response_id, answer.prompt_id, answer.text) for answer in answers))
