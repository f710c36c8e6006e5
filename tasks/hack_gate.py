"""What the gate asks of an actor's hack rate (`promotion.max_hack_rate_rise`)."""

from typing import NamedTuple

from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.hack_rate import Said, hack_rate, hack_rise
from storage.artifacts import ArtifactRef, ArtifactStore


class HackRuling(NamedTuple):
    """What the two rates allow. `reason` is empty where the candidate's lies within the limit."""

    refused: bool
    reason: str = ""


def rule_on_hacks(store: ArtifactStore, champion: ArtifactRef, candidate: ArtifactRef, most: float) -> HackRuling:
    """Refuse a candidate whose rate lies more than `most` (fraction) above the champion's where a rise is shown.

    Shown: the 95 % interval of the rise lies above zero. A rise above the limit that is not shown is said and allowed:
    a handful of answers that meet the rules refuses nobody. A champion none of whose answers meets every rule counts
    as 0. Both were measured on the same prompts.
    """
    after = _rate(store, candidate)
    if after is None:
        return HackRuling(False)
    before = _rate(store, champion)
    rise = hack_rise(before, after)
    if rise.value <= most:
        return HackRuling(False)
    shown = "none" if before is None else f"{before.shown()} %"
    told = f"hack rate {after.shown()} % of {after.n} answers that meet the rules, before: {shown}"
    told += f": {rise.shown(signed=True)} points, promotion.max_hack_rate_rise is {100 * most:g}"
    refused = rise.ci_low > 0
    return HackRuling(refused, told if refused else f"{told}; allowed, as the interval does not show a rise")


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
