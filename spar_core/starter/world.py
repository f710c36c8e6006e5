"""A procedural world of prompts whose truth is checkable: name some items, and obey one to five constraints.

A prompt reads "Name three birds. Use only capital letters. Include the word cradle." Its kinds are those of the
IFEval registry plus `starter:items`. Splits are disjoint by construction: the hash of a prompt's text decides which
split it may belong to. Half of `dev` and `test` is drawn like `train` (source `starter/iid`); the other half holds an
argument or a pair of kinds that no training prompt has (`starter/heldout`).
"""

import json
import random
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from spar_core.constraints import Arguments, Kind, TextView, check, register
from spar_core.constraints.arguments import number, text
from spar_core.constraints.kind import worded
from spar_core.hashing import content_id, derive_seed
from spar_core.records import Constraint, Prompt
from spar_core.starter.item_repairs import register_items
from spar_core.starter.words import COUNTS, END_PHRASES, FIRST_WORDS, KEYWORDS, TOPICS
from spar_core.synthesis.weighted_order import weighted_order

Split = Literal["train", "dev", "test"]
_Wanted = tuple[tuple[int, int] | None, Mapping[str, float]]

ITEMS: Final = "starter:items"
UPPER: Final = "change_case:english_capital"
LOWER: Final = "change_case:english_lowercase"
KEYWORD: Final = "keywords:existence"
FORBIDDEN: Final = "keywords:forbidden_words"
END: Final = "startend:end_checker"
FIRST: Final = "length_constraints:nth_paragraph_first_word"
NO_COMMA: Final = "punctuation:no_comma"
TITLE: Final = "detectable_format:title"
QUOTES: Final = "startend:quotation"
POSTSCRIPT: Final = "detectable_content:postscript"
BULLETS: Final = "detectable_format:number_bullet_lists"
TWICE: Final = "keywords:frequency"
PLACEHOLDER: Final = "detectable_content:number_placeholders"
HIGHLIGHT: Final = "detectable_format:number_highlighted_sections"
PARAGRAPHS: Final = "length_constraints:number_paragraphs"
SECTIONS: Final = "detectable_format:multiple_sections"
TWO_ANSWERS: Final = "combination:two_responses"

KINDS: Final = (
    UPPER,
    LOWER,
    KEYWORD,
    FORBIDDEN,
    END,
    FIRST,
    NO_COMMA,
    TITLE,
    QUOTES,
    POSTSCRIPT,
    BULLETS,
    TWICE,
    PLACEHOLDER,
    HIGHLIGHT,
    PARAGRAPHS,
    SECTIONS,
    TWO_ANSWERS,
)
# Pairs that no answer can meet together, or where one meets the other by itself (a list has no commas).
CONFLICTS: Final = frozenset(
    {
        frozenset({UPPER, LOWER}),
        frozenset({FIRST, TITLE}),
        frozenset({BULLETS, NO_COMMA}),
        frozenset({BULLETS, HIGHLIGHT}),
        frozenset({PARAGRAPHS, FIRST}),
        *(frozenset({SECTIONS, other}) for other in (UPPER, LOWER, FIRST, PARAGRAPHS)),
        *(frozenset({TWO_ANSWERS, other}) for other in (BULLETS, QUOTES, FIRST, PARAGRAPHS, SECTIONS)),
    }
)
# Never together in a training prompt.
HELDOUT_PAIRS: Final = frozenset(
    {
        frozenset({TITLE, POSTSCRIPT}),
        frozenset({UPPER, END}),
        frozenset({QUOTES, FIRST}),
        frozenset({NO_COMMA, KEYWORD}),
        frozenset({BULLETS, LOWER}),
        frozenset({HIGHLIGHT, POSTSCRIPT}),
        frozenset({PARAGRAPHS, KEYWORD}),
        frozenset({TWO_ANSWERS, TITLE}),
    }
)
CONSTRAINTS_PER_PROMPT: Final = (1, 2, 2, 3, 3, 4, 4, 5)  # drawn uniformly; items not counted

# Two wordings per kind; `{}` takes the argument.
WORDINGS: Final[dict[str, tuple[str, str]]] = {
    UPPER: ("Use only capital letters.", "Write in capital letters."),
    LOWER: ("Use only small letters.", "Write in small letters."),
    KEYWORD: ("Include the word {}.", "Use the word {}."),
    FORBIDDEN: ("Do not use the word {}.", "Leave out the word {}."),
    END: ("End with the words {}.", "Finish with the words {}."),
    FIRST: ("Start with the word {}.", "Begin with the word {}."),
    NO_COMMA: ("Do not use commas.", "Avoid commas."),
    TITLE: ("Add a title.", "Put a title on top."),
    QUOTES: ("Put quotes around all.", "Wrap it in quotes."),
    POSTSCRIPT: ("Add a postscript.", "Close with a postscript."),
    BULLETS: ("Use bullet points.", "Make a bullet list."),
    TWICE: ("Use twice the word {}.", "Mention twice the word {}."),
    PLACEHOLDER: ("Add a placeholder.", "Leave a placeholder in brackets."),
    HIGHLIGHT: ("Highlight an item.", "Put stars around an item."),
    PARAGRAPHS: ("Write two paragraphs.", "Split it into two paragraphs."),
    SECTIONS: ("Use two parts.", "Divide it into two parts."),
    TWO_ANSWERS: ("Give two answers.", "Answer in two ways."),
}
_SPLIT_OF_BUCKET: Final[tuple[Split, ...]] = (*("train",) * 8, "dev", "test")


def generate_prompts(
    count: int,
    seed: int,
    split: Split,
    many_words: bool = False,
    counts: tuple[int, int] | None = None,
    weights: Mapping[str, float] | None = None,
) -> list[Prompt]:
    """Draw `count` different prompts; the same arguments give the same list.

    Half of a `dev` or `test` list (rounded down) is held out, alternating with the other half.

    Args:
        count: how many.
        seed: of the draw.
        split: which prompts, and whose words.
        many_words: the words asked for are drawn from all but the held-out ones (pre-training).
        counts: fewest and most constraints, items not counted, each number as often; null: `CONSTRAINTS_PER_PROMPT`.
        weights: of kinds; one of 2 is drawn about twice as often, one that is not named has 1.
    """
    rng = random.Random(derive_seed(seed, "starter.prompts", split))
    found: dict[str, Prompt] = {}
    while len(found) < count:
        heldout = split != "train" and len(found) % 2 == 1
        prompt = _draw(rng, split, heldout, many_words, (counts, weights or {}))
        if prompt is not None:
            found.setdefault(prompt.prompt_id, prompt)
    return list(found.values())


def failed_constraints(prompt: Prompt, answer: str) -> tuple[str, ...]:
    """Kinds of the prompt's constraints that `answer` breaks, in the prompt's order.

    The language detection of the registry's case checks is off: on texts of ten words it is noise.
    """
    return tuple(c.kind for c in prompt.constraints if not is_met(c, answer))


def is_met(constraint: Constraint, answer: str) -> bool:
    """Whether `answer` meets one constraint of this world."""
    return check(constraint, answer, detect_language=False)


def named_items(topic: str, answer: str) -> tuple[str, ...]:
    """Items of `topic` that `answer` names as whole words, in the order of the answer, repeats included."""
    known = set(TOPICS[topic])
    return tuple(word for word in re.findall(r"[a-z]+", answer.lower()) if word in known)


def item_lists(topic: str, answer: str) -> tuple[tuple[str, ...], ...]:
    """The items named in each part of `answer` (a line of stars divides), for the parts that name any."""
    lists = (named_items(topic, part) for part in re.split(r"\*{3,}", answer))
    return tuple(named for named in lists if named)


def _items_rule(answer: TextView, arguments: Arguments) -> bool:
    """Exactly `count` items of the topic, none twice, in any order; in each of several answers."""
    lists = item_lists(arguments["topic"], answer.text)
    return bool(lists) and all(len(named) == len(set(named)) == arguments["count"] for named in lists)


# Only this world's prompts draw its arguments.
register(
    Kind(ITEMS, _items_rule, worded("Name {count} {topic}."), (text("topic"), number("count", minimum=1)), sampler=None)
)
register_items(ITEMS)


def has_heldout(prompt: Prompt) -> bool:
    """Whether the prompt holds an argument or a pair of kinds that no training prompt has."""
    kinds = [c.kind for c in prompt.constraints]
    pairs = {frozenset({a, b}) for i, a in enumerate(kinds) for b in kinds[i + 1 :]}
    return bool(pairs & HELDOUT_PAIRS) or any(_unseen_argument(c) for c in prompt.constraints)


def _draw(rng: random.Random, split: Split, heldout: bool, many_words: bool, wanted: _Wanted) -> Prompt | None:
    kinds = _draw_kinds(rng, heldout, *wanted)
    topic, count = rng.choice(list(TOPICS)), rng.choice(list(COUNTS))
    constraints = [Constraint.create(ITEMS, topic=topic, count=count)]
    wordings = [f"Name {COUNTS[count]} {topic}."]
    for kind in kinds:
        bank = split if heldout and rng.random() < 0.7 else "many" if many_words else "train"
        constraint, argument = _draw_constraint(rng, kind, bank, topic, count)
        constraints.append(constraint)
        wordings.append(rng.choice(WORDINGS[kind]).format(argument))
    if KEYWORD in kinds and TWICE in kinds and _same_word(constraints):
        return None
    source = "starter/heldout" if heldout else "starter/iid"
    prompt = Prompt.create(" ".join(wordings), tuple(constraints), split, source)
    bucket = int(content_id("starter.split", prompt.text)[:8], 16) % len(_SPLIT_OF_BUCKET)
    fits = _SPLIT_OF_BUCKET[bucket] == split and has_heldout(prompt) == heldout
    return prompt if fits else None


def _same_word(constraints: list[Constraint]) -> bool:
    """Whether a word to include is also the word to use twice: the second would meet the first."""
    words = {
        json.loads(c.kwargs).get("keyword") or json.loads(c.kwargs).get("keywords", [None])[0] for c in constraints
    }
    return len(words - {None}) < 2


def _draw_kinds(
    rng: random.Random, allow_heldout_pairs: bool, counts: tuple[int, int] | None, weights: Mapping[str, float]
) -> list[str]:
    wanted = rng.choice(CONSTRAINTS_PER_PROMPT) if counts is None else rng.randint(*counts)
    kinds: list[str] = []
    for kind in weighted_order(rng, KINDS, weights) if weights else rng.sample(KINDS, len(KINDS)):
        pairs = {frozenset({kind, other}) for other in kinds}
        if pairs & CONFLICTS or (not allow_heldout_pairs and pairs & HELDOUT_PAIRS):
            continue
        kinds.append(kind)
        if len(kinds) == wanted:
            break
    return kinds


def _draw_constraint(rng: random.Random, kind: str, bank: str, topic: str, count: int) -> tuple[Constraint, str]:
    if kind == KEYWORD:
        word = _foreign(rng, KEYWORDS[bank], topic)
        return Constraint.create(kind, keywords=[word]), word
    if kind == FORBIDDEN:
        # One of those the canonical answer would name, so that the constraint always binds.
        word = rng.choice(TOPICS[topic][:count])
        return Constraint.create(kind, forbidden_words=[word]), word
    if kind == END:
        phrase = rng.choice(END_PHRASES[bank])
        return Constraint.create(kind, end_phrase=phrase), phrase
    if kind == FIRST:
        word = _foreign(rng, FIRST_WORDS[bank], topic)
        return Constraint.create(kind, num_paragraphs=1, nth_paragraph=1, first_word=word), word
    if kind == POSTSCRIPT:
        return Constraint.create(kind, postscript_marker="P.S."), ""
    if kind == BULLETS:
        return Constraint.create(kind, num_bullets=count), ""
    if kind == TWICE:
        word = _foreign(rng, KEYWORDS[bank], topic)
        return Constraint.create(kind, keyword=word, frequency=2, relation="at least"), word
    fixed: dict[str, dict[str, Any]] = {
        PLACEHOLDER: {"num_placeholders": 1},
        HIGHLIGHT: {"num_highlights": 1},
        PARAGRAPHS: {"num_paragraphs": 2},
        SECTIONS: {"section_spliter": "Part", "num_sections": 2},
    }
    return Constraint.create(kind, **fixed.get(kind, {})), ""


def _foreign(rng: random.Random, bank: tuple[str, ...], topic: str) -> str:
    """A word that is no item of the topic."""
    word = rng.choice(bank)
    return word if word not in TOPICS[topic] else _foreign(rng, bank, topic)


def _unseen_argument(constraint: Constraint) -> bool:
    heldout = [
        entry for bank in (KEYWORDS, FIRST_WORDS, END_PHRASES) for split in ("dev", "test") for entry in bank[split]
    ]
    return any(f'"{entry}"' in constraint.kwargs for entry in heldout)
