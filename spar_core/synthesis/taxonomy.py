"""Evolving seed prompts with a model: constraints of a taxonomy's groups are worked into them.

One random main group and one to three others per prompt, temperature 0.7 (SPaR, section on data). The
groups are the paper's; their one-line explanations are ours.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from random import Random
from typing import NamedTuple

from spar_core.engines.base import Completion, Engine, Sampling
from spar_core.errors import DataError
from spar_core.hashing import content_id, derive_seed
from spar_core.prompts import PromptLibrary
from spar_core.records import Drop, Message, Prompt
from spar_core.roles.asking import ask
from spar_core.roles.in_flight import bounded_map

GROUPS: Mapping[str, str] = {
    "format/length": "length: how many words, sentences, paragraphs or items the answer has",
    "format/text_format": "text format: the shape of the text, such as a list, a table, JSON, markdown headings",
    "format/character_format": "character format: capital or small letters, bold or italic passages",
    "format/template": "template: a given pattern with fixed parts that the answer fills in",
    "format/punctuation": "punctuation: marks that must be used, must not be used, or stand in given places",
    "format/numeric_format": "numeric format: how numbers, dates, times or amounts are written",
    "content/keyword": "keyword: words that must occur, must not occur, or occur a given number of times",
    "content/symbol": "symbol: characters or emoji that must or must not occur",
    "content/sentence": "sentence: a given sentence, or the way sentences begin or end",
    "content/genre": "genre: the kind of text, such as a poem, a letter, a news item, a diary",
    "general/language": "language: the language or mix of languages of the answer",
    "general/situation": "situation: a role to play, an audience, a place or an occasion",
    "general/language_style": "language style: formal, plain, old-fashioned, technical, in rhyme, and the like",
    "general/sentiment": "sentiment: the feeling the answer conveys, such as hopeful, ironic, sober",
}
MAX_OTHERS = 3
SAMPLING = Sampling(temperature=0.7, top_p=1.0, max_tokens=2048)
SOURCE = "taxonomy"
STAGE = "evolve"
TEMPLATE = "evolve"

# Reasons in the drop ledger
NOT_APPLICABLE = "none_answer"
TRUNCATED = "truncated"
UNPARSEABLE = "unparseable"
UNCHANGED = "unchanged"

_OPENING, _CLOSING = "<new_instruction>", "</new_instruction>"
_NONE = re.compile(r"\W*none\W*", re.IGNORECASE)


class Evolved(NamedTuple):
    """What became of one use of a seed: a new prompt, or the drop that says why there is none."""

    use: int
    seed_prompt: str
    groups: tuple[str, ...]
    prompt: Prompt | None
    drop: Drop | None


def draw_groups(run_seed: int, index: int) -> tuple[str, ...]:
    """The main group, then one to three others: a function of (run seed, index) alone."""
    rng = Random(derive_seed(run_seed, f"{STAGE}/groups", str(index)))
    return tuple(rng.sample(list(GROUPS), 1 + rng.randint(1, MAX_OTHERS)))


async def evolve(
    instructions: Sequence[str],
    indices: Iterable[int],
    engine: Engine,
    library: PromptLibrary,
    run_seed: int,
    *,
    sampling: Sampling = SAMPLING,
    max_requests_in_flight: int = 4096,
) -> AsyncIterator[Evolved]:
    """Evolve a seed instruction per index, in the order of `indices`.

    Index i takes instruction i modulo their number, so that more prompts than seeds can be asked for;
    every index has its own groups and seed.

    Raises:
        DataError: no instructions.
        EngineUnavailableError: no answer after all retries.
    """
    if not instructions:
        raise DataError("taxonomy evolution needs at least one seed instruction")

    async def one(index: int) -> Evolved:
        instruction = instructions[index % len(instructions)].strip()
        groups = draw_groups(run_seed, index)
        messages = (Message("user", _request(library, instruction, groups)),)
        seed = derive_seed(run_seed, STAGE, str(index))
        asked = await ask(engine, messages, sampling, seed, 1)
        record_id = content_id("evolution", instruction, groups, index)
        if asked.failure:
            return Evolved(index, instruction, groups, None, Drop(STAGE, record_id, asked.failure, asked.detail))
        text, reason = parse_evolution(asked.completions[0], instruction)
        if text is None:
            return Evolved(index, instruction, groups, None, Drop(STAGE, record_id, reason, instruction[:200]))
        return Evolved(index, instruction, groups, Prompt.create(text, source=SOURCE, seed_prompt=instruction), None)

    async for evolved in bounded_map(one, indices, limit=max_requests_in_flight, ordered=True):
        yield evolved


def parse_evolution(completion: Completion, instruction: str) -> tuple[str | None, str]:
    """The new instruction, or null and the reason there is none.

    The last pair of markers counts, since a model may repeat the request's own example first. "None",
    inside or instead of the markers, means that the taxonomy does not suit the seed.
    """
    text = completion.text
    start = text.rfind(_OPENING)
    body = text[start + len(_OPENING) :] if start >= 0 else text
    if start < 0:
        if _NONE.fullmatch(body):
            return None, NOT_APPLICABLE
        return None, TRUNCATED if completion.finish_reason == "length" else UNPARSEABLE
    inside, closed, _ = body.partition(_CLOSING)
    if not closed:
        return None, TRUNCATED
    evolved = inside.strip()
    if _NONE.fullmatch(evolved):
        return None, NOT_APPLICABLE
    if not evolved:
        return None, UNPARSEABLE
    return (None, UNCHANGED) if evolved == instruction else (evolved, "")


def _request(library: PromptLibrary, instruction: str, groups: Sequence[str]) -> str:
    others = "\n".join(f"- {GROUPS[group]}" for group in groups[1:])
    return library.fill(TEMPLATE, prompt=instruction, main_group=GROUPS[groups[0]], other_groups=others)
