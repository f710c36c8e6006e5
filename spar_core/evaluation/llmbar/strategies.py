"""The published evaluators' strategies: their structure is the protocol's, their wording ours or the published.

A strategy's name alone (`Vanilla`) means the published prompt, which the user gives as files
(`spar_core.evaluation.llmbar.published`); `ours-Vanilla` is the same strategy in this project's wording.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from spar_core.evaluation.judge_prompts import fill, judge_text
from spar_core.evaluation.llmbar.dataset import Instance
from spar_core.evaluation.llmbar.reading import Pattern
from spar_core.records import Message

Form = Literal["compare", "explain", "rate"]

_LETTER = re.compile(r"Output \(([ab])\)")


@dataclass(frozen=True, slots=True)
class Strategy:
    """How an evaluator is asked.

    Attributes:
        form: a bare choice, a choice after an explanation, or a rating of each output alone.
        rules: the evaluation rules are shown.
        questions: a first call proposes instruction-specific questions.
        reference: a first call answers the instruction itself.
        shots: worked examples shown as earlier turns (0 to 2).
        second_stage: form of the second call where the two orders conflict (Swap strategies).
    """

    form: Form
    rules: bool = True
    questions: bool = False
    reference: bool = False
    shots: int = 0
    second_stage: Form | None = None

    @property
    def pattern(self) -> Pattern:
        """How the first stage's texts are read (comparisons only)."""
        return pattern_of(self.form)


STRATEGIES: Mapping[str, Strategy] = {
    "Vanilla_NoRules": Strategy("compare", rules=False),
    "Vanilla": Strategy("compare"),
    "Vanilla_1shot": Strategy("compare", shots=1),
    "Vanilla_2shot": Strategy("compare", shots=2),
    "CoT": Strategy("explain"),
    "Metrics": Strategy("compare", questions=True),
    "Reference": Strategy("compare", reference=True),
    "Metrics_Reference": Strategy("compare", questions=True, reference=True),
    "Swap": Strategy("explain", second_stage="compare"),
    "Swap_CoT": Strategy("explain", second_stage="explain"),
    "Rating_NoRules": Strategy("rate", rules=False),
    "Rating": Strategy("rate"),
    "Rating_Metrics": Strategy("rate", questions=True),
    "Rating_Reference": Strategy("rate", reference=True),
    "Rating_Metrics_Reference": Strategy("rate", questions=True, reference=True),
}


OURS = "ours-"
"""What the names of strategies in this project's wording begin with."""


def structure_of(name: str) -> Strategy | None:
    """The strategy a name stands for, whoever worded it; null where there is none."""
    return STRATEGIES.get(name.removeprefix(OURS))


class Aids(NamedTuple):
    """What the first calls of a strategy gave; nulls where it has none."""

    questions: str | None = None
    reference: str | None = None


class Case(NamedTuple):
    """An explanation of the first stage: the output it prefers is shown as a letter of the order it was written for."""

    text: str
    swapped: bool

    def told(self, swapped: bool) -> str:
        """The explanation for a reader who is shown this order."""
        return (reletter(self.text) if self.swapped != swapped else self.text).strip()


class Wording(Protocol):
    """How evaluators are asked."""

    def questions(self, instruction: str) -> tuple[Message, ...]:
        """Asks for the questions of a Metrics strategy."""
        ...

    def reference(self, instruction: str) -> tuple[Message, ...]:
        """Asks for the reference answer of a Reference strategy."""
        ...

    def comparison(self, name: str, instance: Instance, swapped: bool, aids: Aids) -> tuple[Message, ...]:
        """Asks which output is better; swapped shows the second output as (a)."""
        ...

    def rating(self, name: str, instruction: str, output: str, aids: Aids) -> tuple[Message, ...]:
        """Asks for the rating of one output alone."""
        ...

    def debate(self, name: str, instance: Instance, swapped: bool, case_1: Case, case_2: Case) -> tuple[Message, ...]:
        """The second stage of Swap: `case_1` argues for output_1 and `case_2` for output_2."""
        ...


def pattern_of(form: Form) -> Pattern:
    """The pattern that reads a comparison of this form."""
    return "is_better" if form == "explain" else "line_start"


class OurWording:
    """This project's texts, package data."""

    def questions(self, instruction: str) -> tuple[Message, ...]:
        """See `Wording`."""
        prompt = fill(judge_text("llmbar_questions"), {"instruction": instruction})
        return (Message("system", judge_text("llmbar_system_answer")), Message("user", prompt))

    def reference(self, instruction: str) -> tuple[Message, ...]:
        """See `Wording`."""
        return (Message("system", judge_text("llmbar_system_answer")), Message("user", instruction))

    def comparison(self, name: str, instance: Instance, swapped: bool, aids: Aids) -> tuple[Message, ...]:
        """See `Wording`."""
        strategy = STRATEGIES[name]
        fields = {"instruction": instance.instruction, "aids": _shown(aids), **outputs(instance, swapped)}
        return (
            Message("system", judge_text("llmbar_system_compare")),
            *_worked_examples(strategy),
            Message("user", fill(judge_text("llmbar_compare"), {**_frame(strategy.form, strategy.rules), **fields})),
        )

    def rating(self, name: str, instruction: str, output: str, aids: Aids) -> tuple[Message, ...]:
        """See `Wording`."""
        fields = {"instruction": instruction, "aids": _shown(aids), "output": output}
        prompt = fill(judge_text("llmbar_rate"), {**_frame("rate", STRATEGIES[name].rules), **fields})
        return (Message("system", judge_text("llmbar_system_rate")), Message("user", prompt))

    def debate(self, name: str, instance: Instance, swapped: bool, case_1: Case, case_2: Case) -> tuple[Message, ...]:
        """See `Wording`."""
        form = STRATEGIES[name].second_stage or "compare"
        told = (case_1.told(swapped), case_2.told(swapped))
        case_a, case_b = reversed(told) if swapped else told
        fields = {"instruction": instance.instruction, "case_a": case_a, "case_b": case_b}
        prompt = fill(judge_text("llmbar_debate"), {**_frame(form, True), **fields, **outputs(instance, swapped)})
        return (Message("system", judge_text("llmbar_system_compare")), Message("user", prompt))


def reletter(text: str) -> str:
    """Exchange the names "Output (a)" and "Output (b)"."""
    return _LETTER.sub(lambda match: f"Output ({'b' if match.group(1) == 'a' else 'a'})", text)


def _frame(form: Form, rules: bool) -> dict[str, str]:
    task = "rate" if form == "rate" else "compare"
    return {
        "task": judge_text(f"llmbar_task_{task}"),
        "rules": "\n" + judge_text(f"llmbar_rules_{task}") if rules else "",
        "answer": judge_text(f"llmbar_answer_{form}"),
    }


def outputs(instance: Instance, swapped: bool) -> dict[str, str]:
    """The outputs in the order they are shown."""
    first, second = (instance.output_2, instance.output_1) if swapped else (instance.output_1, instance.output_2)
    return {"output_a": first, "output_b": second}


def _shown(aids: Aids) -> str:
    """The part of a prompt that shows what the first calls gave; empty where there were none."""
    shown = (("llmbar_aid_questions", aids.questions), ("llmbar_aid_reference", aids.reference))
    return "".join(fill(judge_text(name) + "\n", {"text": text.strip()}) for name, text in shown if text)


def _worked_examples(strategy: Strategy) -> tuple[Message, ...]:
    turns: list[Message] = []
    for shot in judge_text("llmbar_shots").split("\n===\n")[: strategy.shots]:
        instruction, output_a, output_b, choice = shot.split("\n---\n")
        fields = {"instruction": instruction, "aids": "", "output_a": output_a, "output_b": output_b}
        prompt = fill(judge_text("llmbar_compare"), {**_frame(strategy.form, strategy.rules), **fields})
        turns += [Message("user", prompt), Message("assistant", choice)]
    return tuple(turns)
