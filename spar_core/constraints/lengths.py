"""Kinds about length: words, sentences and paragraphs, with IFEval's rules."""

import re
from random import Random
from typing import Any

from spar_core.constraints import arguments
from spar_core.constraints.kind import Arguments, Kind, SamplingContext, compare, worded
from spar_core.constraints.registry import register
from spar_core.constraints.text_view import TextView

_DIVIDER = re.compile(r"\s?\*\*\*\s?")
_ENDS_FIRST_WORD = frozenset(".,?!'\"")


def _sentences(text: TextView, bound: Arguments) -> bool:
    return compare(bound["relation"], len(text.sentences), bound["num_sentences"])


def _words(text: TextView, bound: Arguments) -> bool:
    return compare(bound["relation"], text.word_count, bound["num_words"])


def _paragraphs(text: TextView, bound: Arguments) -> bool:
    """Parts between dividers; a blank part may only be the first or the last."""
    parts = _DIVIDER.split(text.text)
    count = len(parts)
    for index, part in enumerate(parts):
        if not part.strip():
            if index not in (0, len(parts) - 1):
                return False
            count -= 1
    return count == int(bound["num_paragraphs"])


def _nth_first_word(text: TextView, bound: Arguments) -> bool:
    """The paragraph is looked up with blank parts counted, the number of paragraphs without them."""
    parts = text.text.split("\n\n")
    count = sum(1 for part in parts if part.strip())
    position = bound["nth_paragraph"]
    if position > count or count != bound["num_paragraphs"]:
        return False
    words = parts[position - 1].split(maxsplit=1)
    return bool(words) and _bare_word(words[0]) == bound["first_word"].lower()


def _bare_word(word: str) -> str:
    opened = word.lstrip("'").lstrip('"')
    letters: list[str] = []
    for character in opened:
        if character in _ENDS_FIRST_WORD:
            break
        letters.append(character.lower())
    return "".join(letters)


def _draw_sentences(rng: Random, _context: SamplingContext) -> dict[str, Any]:
    return {"relation": rng.choice(arguments.RELATIONS), "num_sentences": rng.randint(3, 15)}


def _draw_words(rng: Random, _context: SamplingContext) -> dict[str, Any]:
    return {"relation": rng.choice(arguments.RELATIONS), "num_words": rng.randrange(50, 401, 10)}


def _draw_paragraphs(rng: Random, _context: SamplingContext) -> dict[str, Any]:
    return {"num_paragraphs": rng.randint(2, 6)}


def _draw_nth(rng: Random, context: SamplingContext) -> dict[str, Any]:
    total, first_word = rng.randint(2, 5), rng.choice(context.bank.first_words)
    return {"num_paragraphs": total, "nth_paragraph": rng.randint(1, total), "first_word": first_word}


NUMBER_SENTENCES = register(
    Kind(
        "length_constraints:number_sentences",
        _sentences,
        worded(
            "Your response should contain {quantity} sentences.",
            "Write {quantity} sentences.",
            "Answer in {quantity} sentences.",
            relation="relation",
            amount="num_sentences",
        ),
        (arguments.relation("relation"), arguments.number("num_sentences")),
        _draw_sentences,
        frozenset({"length_constraints:number_words"}),
    )
)

NUMBER_WORDS = register(
    Kind(
        "length_constraints:number_words",
        _words,
        worded(
            "Answer with {quantity} words.",
            "Your response should have {quantity} words.",
            "Use {quantity} words.",
            relation="relation",
            amount="num_words",
        ),
        (arguments.relation("relation"), arguments.number("num_words")),
        _draw_words,
    )
)

NUMBER_PARAGRAPHS = register(
    Kind(
        "length_constraints:number_paragraphs",
        _paragraphs,
        worded(
            "Write exactly {num_paragraphs} paragraphs, divided by the markdown divider ***.",
            "There should be {num_paragraphs} paragraphs. Put *** between one paragraph and the next.",
            "Split your answer into {num_paragraphs} paragraphs with a line of *** between them.",
        ),
        (arguments.number("num_paragraphs"),),
        _draw_paragraphs,
        frozenset({"length_constraints:nth_paragraph_first_word", "combination:two_responses"}),
    )
)

NTH_PARAGRAPH_FIRST_WORD = register(
    Kind(
        "length_constraints:nth_paragraph_first_word",
        _nth_first_word,
        worded(
            "Write exactly {num_paragraphs} paragraphs with one blank line between them. "
            'Paragraph {nth_paragraph} must start with the word "{first_word}".',
            "There should be {num_paragraphs} paragraphs, separated by two line breaks and nothing else. "
            'Begin paragraph number {nth_paragraph} with "{first_word}".',
        ),
        (arguments.number("num_paragraphs"), arguments.number("nth_paragraph", 1), arguments.text("first_word")),
        _draw_nth,
        frozenset({"combination:two_responses", "combination:repeat_prompt"}),
    )
)
