"""What a verification says: one statement per constraint, met or missed, and what follows from them.

The same statements serve the refiner's vote (a verdict), additive scoring (points) and the comparison of two
verifications.
"""

import json
import random
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from spar_core.prompts.format import VerdictForm
from spar_core.records import Constraint, Prompt
from spar_core.starter import world
from spar_core.starter.words import LINKERS, NOTHING, NUMBER_WORDS
from spar_core.starter.world import is_met, item_lists

_LABEL: Final[dict[str, str]] = {
    world.NO_COMMA: "No commas:",
    world.TITLE: "Title:",
    world.QUOTES: "Quotes:",
    world.POSTSCRIPT: "Postscript:",
    world.BULLETS: "Bullets:",
    world.PLACEHOLDER: "Placeholder:",
    world.HIGHLIGHT: "Highlight:",
    world.PARAGRAPHS: "Two paragraphs:",
    world.SECTIONS: "Two parts:",
    world.TWO_ANSWERS: "Two answers:",
}
FIRST_LETTER, SECOND_LETTER = "A", "B"
_CAPITALS, _SMALL = "Capital letters", "Small letters"
PHRASES: Final = (*_LABEL.values(), _CAPITALS, _SMALL, "Final verdict:", "YES", "NO", "Score:", "Better judgement:")


@dataclass(frozen=True, slots=True)
class Verification:
    """Statements in the prompt's order and, for each, the kind it is about and whether it is said to be met."""

    kinds: tuple[str, ...]
    statements: tuple[str, ...]
    met: tuple[bool, ...]

    @property
    def passes(self) -> bool:
        """Whether every constraint is said to be met."""
        return all(self.met)

    @property
    def missed(self) -> tuple[str, ...]:
        """Kinds said to be missed."""
        return tuple(kind for kind, met in zip(self.kinds, self.met, strict=True) if not met)

    def lines(self, only: Collection[int] | None = None) -> str:
        """The statements in one line, all or those at some places."""
        places = range(len(self.met)) if only is None else sorted(only)
        return " ".join(f"{self.statements[i]} {'met' if self.met[i] else 'missed'}." for i in places)

    def judgement(self, form: VerdictForm | None = None) -> str:
        """As a vote: the statements, then the verdict line."""
        return f"{self.lines()}\n{(form or VerdictForm()).line(passes=self.passes)}"

    def scoring(self) -> str:
        """As additive scoring: the statements, then one point for each constraint said to be met."""
        return f"{self.lines()}\nScore: {sum(self.met)} of {len(self.met)}"


def verify(
    prompt: Prompt, text: str, overlooked: dict[str, float], false_alarm: float, rng: random.Random
) -> Verification:
    """Check every constraint, with mistakes.

    Args:
        prompt: whose constraints are checked.
        text: the answer.
        overlooked: chance to call a broken constraint met, by kind.
        false_alarm: chance to call a met constraint missed.
        rng: draws the mistakes.
    """
    said = []
    for constraint in prompt.constraints:
        met = is_met(constraint, text)
        mistaken = rng.random() < (false_alarm if met else overlooked[constraint.kind])
        said.append(met != mistaken)
    return _verification(prompt, text, said)


def true_verification(prompt: Prompt, text: str) -> Verification:
    """Check every constraint without mistakes."""
    return _verification(prompt, text, [is_met(constraint, text) for constraint in prompt.constraints])


def comparison(first: Verification, second: Verification, belief: Verification) -> str:
    """Which of two verifications agrees better with a third: the statements they differ in, then the letter.

    Equal agreement: the one with the third one's verdict, else the first.
    """
    places = [i for i, (a, b) in enumerate(zip(first.met, second.met, strict=True)) if a != b]
    agreeing = sum(first.met[i] == belief.met[i] for i in places)
    first_is_better = 2 * agreeing > len(places) or (
        2 * agreeing == len(places) and (first.passes == belief.passes or second.passes != belief.passes)
    )
    return f"{belief.lines(places)}\nBetter judgement: {FIRST_LETTER if first_is_better else SECOND_LETTER}".lstrip()


def _verification(prompt: Prompt, text: str, met: list[bool]) -> Verification:
    kinds = tuple(constraint.kind for constraint in prompt.constraints)
    return Verification(kinds, tuple(_statement(c, text) for c in prompt.constraints), tuple(met))


def _statement(constraint: Constraint, text: str) -> str:
    """What a constraint of words asks for, then what the answer has in its place; a label for the others."""
    asked, words = json.loads(constraint.kwargs), re.findall(r"[a-z]+", text.lower())
    statements: dict[str, Callable[[], str]] = {
        world.ITEMS: lambda: _items_statement(asked["topic"], text),
        world.UPPER: lambda: f"{_CAPITALS} {_first_unlike(str.upper, text)}:",
        world.LOWER: lambda: f"{_SMALL} {_first_unlike(str.lower, text)}:",
        world.KEYWORD: lambda: f"Word {asked['keywords'][0]} {_linked(asked['keywords'][0], words)}:",
        world.TWICE: lambda: f"Twice {asked['keyword']} {_repeated(text)}:",
        world.FORBIDDEN: lambda: f"Avoid {(word := asked['forbidden_words'][0])} {word if word in words else NOTHING}:",
        world.END: lambda: f"Ending {asked['end_phrase']}, {_ending(text)}:",
        world.FIRST: lambda: f"First {asked['first_word']} {words[0] if words else NOTHING}:",
    }
    return statements[constraint.kind]() if constraint.kind in statements else _LABEL[constraint.kind]


def _items_statement(topic: str, text: str) -> str:
    lists = item_lists(topic, text) or ((),)
    counted = (" ".join((*named, NUMBER_WORDS[min(len(named), len(NUMBER_WORDS) - 1)])) for named in lists)
    return f"Items {' and '.join(counted)}:"


def _first_unlike(form: Callable[[str], str], text: str) -> str:
    """The first word of the text that is not in this form, as it stands there."""
    return next((word for word in re.findall(r"[A-Za-z]+", text) if word != form(word)), NOTHING)


def _linked(asked: str, words: list[str]) -> str:
    """The word asked for if the answer has it, else the one that stands in its place."""
    places = [place for place, word in enumerate(words[:-1]) if word in LINKERS]
    return asked if asked in words else words[places[-1] + 1] if places else NOTHING


def _repeated(text: str) -> str:
    found = re.search(r"\bmore ([a-z]+(?: and [a-z]+)*)", text.lower())
    return " ".join(found[1].split(" and ")) if found else NOTHING


def _ending(text: str) -> str:
    """The last words, if no full stop follows them."""
    found = re.search(r"([a-z]+(?: [a-z]+)*)\W*$", text.lower().rstrip('"'))
    return " ".join(found[1].split()[-4:]) if found and not text.rstrip('"').endswith((".", ">")) else NOTHING
