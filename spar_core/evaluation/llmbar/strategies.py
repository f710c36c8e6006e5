"""The published evaluators' strategies and what they ask; wording ours, structure the protocol's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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


def pattern_of(form: Form) -> Pattern:
    """The pattern that reads a comparison of this form."""
    return "is_better" if form == "explain" else "line_start"


def questions_messages(instruction: str) -> tuple[Message, ...]:
    """Asks for the questions of a Metrics strategy."""
    prompt = fill(judge_text("llmbar_questions"), {"instruction": instruction})
    return (Message("system", judge_text("llmbar_system_answer")), Message("user", prompt))


def reference_messages(instruction: str) -> tuple[Message, ...]:
    """Asks for the reference answer of a Reference strategy."""
    return (Message("system", judge_text("llmbar_system_answer")), Message("user", instruction))


def aids(questions: str | None, reference: str | None) -> str:
    """The part of a prompt that shows what the first calls gave; empty where there were none."""
    shown = (("llmbar_aid_questions", questions), ("llmbar_aid_reference", reference))
    return "".join(fill(judge_text(name) + "\n", {"text": text.strip()}) for name, text in shown if text is not None)


def comparison_messages(
    strategy: Strategy, instance: Instance, swapped: bool, shown_aids: str = ""
) -> tuple[Message, ...]:
    """Asks which output is better; swapped shows the second output as (a)."""
    outputs = _outputs(instance, swapped)
    fields = {"instruction": instance.instruction, "aids": shown_aids, **outputs}
    return (
        Message("system", judge_text("llmbar_system_compare")),
        *_worked_examples(strategy),
        Message("user", fill(judge_text("llmbar_compare"), {**_frame(strategy.form, strategy.rules), **fields})),
    )


def rating_messages(strategy: Strategy, instruction: str, output: str, shown_aids: str = "") -> tuple[Message, ...]:
    """Asks for the rating of one output alone."""
    fields = {"instruction": instruction, "aids": shown_aids, "output": output}
    return (
        Message("system", judge_text("llmbar_system_rate")),
        Message("user", fill(judge_text("llmbar_rate"), {**_frame("rate", strategy.rules), **fields})),
    )


def debate_messages(
    form: Form, instance: Instance, swapped: bool, case_1: tuple[str, bool], case_2: tuple[str, bool]
) -> tuple[Message, ...]:
    """The second stage of Swap: shows two conflicting explanations and asks again.

    `case_1` argues for output_1 and `case_2` for output_2, each with whether it was written for the swapped order;
    its letters are exchanged where the order shown now is the other one.
    """
    told_1, told_2 = (reletter(text) if written != swapped else text for text, written in (case_1, case_2))
    case_a, case_b = (told_2, told_1) if swapped else (told_1, told_2)
    fields = {"instruction": instance.instruction, "case_a": case_a.strip(), "case_b": case_b.strip()}
    prompt = fill(judge_text("llmbar_debate"), {**_frame(form, True), **fields, **_outputs(instance, swapped)})
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


def _outputs(instance: Instance, swapped: bool) -> dict[str, str]:
    first, second = (instance.output_2, instance.output_1) if swapped else (instance.output_1, instance.output_2)
    return {"output_a": first, "output_b": second}


def _worked_examples(strategy: Strategy) -> tuple[Message, ...]:
    turns: list[Message] = []
    for shot in judge_text("llmbar_shots").split("\n===\n")[: strategy.shots]:
        instruction, output_a, output_b, choice = shot.split("\n---\n")
        fields = {"instruction": instruction, "aids": "", "output_a": output_a, "output_b": output_b}
        prompt = fill(judge_text("llmbar_compare"), {**_frame(strategy.form, strategy.rules), **fields})
        turns += [Message("user", prompt), Message("assistant", choice)]
    return tuple(turns)
