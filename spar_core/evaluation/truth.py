"""What a checker knows about an answer. Used to measure, and for warm-start data.

It chooses self-play data only where the configuration says so by name: `judging.anchor`.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from random import Random

from spar_core.config.method import JudgingConfig
from spar_core.constraints import CheckTimeoutError, check, detects_language, is_known, render
from spar_core.constraints.repairs import finding
from spar_core.evaluation.trip_wires import tripped
from spar_core.hashing import SEEDS, derive_seed
from spar_core.records import SOFT, Constraint, Prompt
from spar_core.roles.anchor import Checked, Verifier


def broken_constraints(prompt: Prompt, text: str) -> tuple[str, ...]:
    """Kinds of the prompt's constraints that `text` breaks, in the prompt's order.

    Raises:
        DataError: the prompt has no checkable constraints, or an unknown kind.
    """
    return tuple(constraint.kind for constraint in _broken(prompt, prompt.constraints, text))


def is_checkable(prompt: Prompt) -> bool:
    """Whether code can check every constraint of a prompt, and it has any."""
    return bool(prompt.constraints) and all(is_known(constraint.kind) for constraint in prompt.constraints)


def is_right(prompt: Prompt, text: str) -> bool:
    """Whether `text` meets every constraint of `prompt`."""
    return not broken_constraints(prompt, text)


def rule_verifier(prompts: Iterable[Prompt]) -> Verifier:
    """The checker behind `judging.anchor: verifier`, for answers to these prompts (told apart by their text).

    Constraints of kinds the registry does not know, and checks that run into their time limit, are left to the votes.
    """
    by_text = {prompt.text: prompt for prompt in prompts if prompt.constraints}

    def verify(prompt_text: str, response_text: str) -> Checked | None:
        prompt = by_text.get(prompt_text)
        return None if prompt is None else _checked(prompt, response_text)

    return verify


def anchor_of(judging: JudgingConfig, prompts: Iterable[Prompt]) -> Verifier | None:
    """The checker that `judging.anchor` names, for answers to these prompts; None where votes alone decide.

    Of prompts beyond `anchor_share` it knows nothing. Where no vote is asked, a failed constraint also says what the
    answer has; under `rules_only` an answer that trips a wire (`trip_wires`) fails, whatever constraints it meets.
    """
    anchor, share = judging.anchor, judging.anchor_share
    if anchor == "none":
        return None
    prompts = [prompt for prompt in prompts if derive_seed(0, "anchor_share", prompt.text) < share * SEEDS]
    if anchor == "verifier":
        return rule_verifier(prompts)
    by_text = {prompt.text: prompt for prompt in prompts if prompt.constraints}

    def verify(prompt_text: str, response_text: str) -> Checked | None:
        prompt = by_text.get(prompt_text)
        if prompt is None:
            return None
        wires = tripped(prompt, response_text, judging.most_repeated) if anchor == "rules_only" else ()
        checked = _checked(prompt, response_text, with_findings=True)
        if checked is None:
            checked = Checked((), complete=False, undecided=tuple(map(sentence, prompt.constraints)))
        return checked._replace(failed=(*checked.failed, *(wire.sentence for wire in wires)))

    return verify


def _checked(prompt: Prompt, text: str, *, with_findings: bool = False) -> Checked | None:
    known = tuple(constraint for constraint in prompt.constraints if is_known(constraint.kind))
    failed: list[str] = []
    undecided = [sentence(constraint) for constraint in prompt.constraints if constraint not in known]
    for constraint in known:
        try:
            for broken in _broken(prompt, (constraint,), text):
                failed.append(_with_finding(prompt, broken, text) if with_findings else sentence(broken))
        except CheckTimeoutError:
            undecided.append(sentence(constraint))
    return Checked(tuple(failed), not undecided, tuple(undecided)) if known else None


def _with_finding(prompt: Prompt, constraint: Constraint, text: str) -> str:
    found = finding(constraint, text, detect_language=detects_language(prompt.source))
    return (
        sentence(constraint) if found is None or found.startswith("not kept") else f"{sentence(constraint)} ({found})"
    )


def _broken(prompt: Prompt, constraints: Iterable[Constraint], text: str) -> Iterator[Constraint]:
    detect = detects_language(prompt.source)
    return (constraint for constraint in constraints if not check(constraint, text, detect_language=detect))


def constraints_in_words(prompts: Iterable[Prompt]) -> Callable[[str], tuple[str, ...]]:
    """What each of these prompts (told apart by their text) asks for, constraint by constraint; none of any other."""
    by_text = {prompt.text: prompt for prompt in prompts if prompt.constraints}

    def listed(prompt_text: str) -> tuple[str, ...]:
        prompt = by_text.get(prompt_text)
        return () if prompt is None else tuple(map(sentence, prompt.constraints))

    return listed


def sentence(constraint: Constraint) -> str:
    """A constraint in words: the registry's wording, which of several is fixed by the constraint; or a soft one's own.

    Of a kind that nobody knows it is the name.

    Raises:
        DataError: wrong arguments.
    """
    if constraint.kind == SOFT:
        return str(json.loads(constraint.kwargs)["text"])
    if not is_known(constraint.kind):
        return constraint.kind
    return render(constraint, Random(derive_seed(0, "anchor", constraint.kind + constraint.kwargs)))
