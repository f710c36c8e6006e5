"""The published evaluators' prompts, read from a user's copy of the LLMBar repository.

The folder is the repository's `LLMEvaluator/evaluators/prompts` (or one above it), with `comparison`, `rating`,
`swap_and_synthesize` and `auxiliary`. A file holds a chat between `<|im_start|>ROLE` and `<|im_end|>`, with fields in
braces: `{input}`, `{output_1}`, `{output_2}`, `{output}`, `{auxiliary_input_0}`, `{auxiliary_input_1}`,
`{explanation_1}`, `{explanation_2}`. Fields are filled in one pass, so that no text of a row becomes part of the form.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

from spar_core.errors import ConfigError
from spar_core.evaluation.llmbar.dataset import Instance
from spar_core.evaluation.llmbar.strategies import STRATEGIES, Aids, Case, outputs
from spar_core.records import Message

_PLACES = (".", "prompts", "evaluators/prompts", "LLMEvaluator/evaluators/prompts")
_TURN = re.compile(r"<\|im_start\|>\s*(?P<role>system|user|assistant)[^\n]*\n(?P<text>.*?)<\|im_end\|>", re.DOTALL)
_FIELD = re.compile(r"\{\{|\}\}|\{(?P<name>\w+)\}")
_Role = Literal["system", "user", "assistant"]


class PublishedWording:
    """The published texts; a strategy's file is read when it is asked with."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError if the folder is not laid out as published."""
        places = (folder / place for place in _PLACES)
        found = next((place for place in places if (place / "comparison").is_dir()), None)
        if found is None:
            raise ConfigError(
                f"{folder} holds no published LLMBar prompts (a folder `comparison` with Vanilla.txt and others); "
                "--judge-prompts takes LLMEvaluator/evaluators/prompts of the princeton-nlp/LLMBar repository"
            )
        self._folder = found
        self._chats: dict[str, tuple[tuple[_Role, str], ...]] = {}

    def check(self, name: str) -> None:
        """Read the files of a strategy.

        Raises:
            ConfigError: one is missing or not in form.
        """
        strategy = STRATEGIES[name]
        self._chat(_file_of(name))
        for wanted, file in (
            (strategy.questions, "auxiliary/Metrics"),
            (strategy.reference, "auxiliary/Reference"),
            (strategy.second_stage is not None, f"swap_and_synthesize/{name}"),
        ):
            if wanted:
                self._chat(file)

    def questions(self, instruction: str) -> tuple[Message, ...]:
        """See `Wording`."""
        return self._filled("auxiliary/Metrics", {"input": instruction})

    def reference(self, instruction: str) -> tuple[Message, ...]:
        """See `Wording`."""
        return self._filled("auxiliary/Reference", {"input": instruction})

    def comparison(self, name: str, instance: Instance, swapped: bool, aids: Aids) -> tuple[Message, ...]:
        """See `Wording`."""
        return self._filled(_file_of(name), {**_instance(instance, swapped), **_auxiliary(aids)})

    def rating(self, name: str, instruction: str, output: str, aids: Aids) -> tuple[Message, ...]:
        """See `Wording`."""
        return self._filled(_file_of(name), {"input": instruction, "output": output, **_auxiliary(aids)})

    def debate(self, name: str, instance: Instance, swapped: bool, case_1: Case, case_2: Case) -> tuple[Message, ...]:
        """See `Wording`. The published texts count explanations as the outputs are shown."""
        told = (case_1.told(swapped), case_2.told(swapped))
        first, second = reversed(told) if swapped else told
        cases = {"explanation_1": first, "explanation_2": second}
        return self._filled(f"swap_and_synthesize/{name}", {**_instance(instance, swapped), **cases})

    def _filled(self, file: str, fields: Mapping[str, str]) -> tuple[Message, ...]:
        def value(match: re.Match[str]) -> str:
            name = match["name"]
            if name is None:
                return match[0][0]
            if name not in fields:
                raise ConfigError(
                    f"{self._folder / file}.txt: field {{{name}}} is not known; known: {', '.join(fields)}"
                )
            return fields[name]

        return tuple(Message(role, _FIELD.sub(value, text).strip()) for role, text in self._chat(file))

    def _chat(self, file: str) -> tuple[tuple[_Role, str], ...]:
        if file not in self._chats:
            path = self._folder / f"{file}.txt"
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(
                    f"{path} cannot be read ({error}); --judge-prompts needs the published files"
                ) from error
            turns = tuple((cast("_Role", turn["role"]), turn["text"]) for turn in _TURN.finditer(text))
            if not turns or turns[-1][0] != "user":
                raise ConfigError(f"{path}: a chat that ends with the user's turn is expected (<|im_start|>user ...)")
            self._chats[file] = turns
        return self._chats[file]


def _file_of(name: str) -> str:
    """The file of a strategy's first stage; the Swap strategies begin with CoT."""
    strategy = STRATEGIES[name]
    if strategy.form == "rate":
        return f"rating/{name}"
    return "comparison/CoT" if strategy.second_stage is not None else f"comparison/{name}"


def _instance(instance: Instance, swapped: bool) -> dict[str, str]:
    shown = outputs(instance, swapped)
    return {"input": instance.instruction, "output_1": shown["output_a"], "output_2": shown["output_b"]}


def _auxiliary(aids: Aids) -> dict[str, str]:
    """The texts of the first calls, numbered in the order in which they were asked."""
    given = [text.strip() for text in aids if text is not None]
    return {f"auxiliary_input_{number}": text for number, text in enumerate(given)}
