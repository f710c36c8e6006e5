"""How a paragraph comes to start with a given word."""

from random import Random
from typing import Final

from spar_core.constraints.repairs.editing import fit_case, is_prose

# Words that set a scene, and can stand before a sentence as it is.
_ADVERB_TEXT = """
    above afterwards again always clearly early eventually finally first firstly fortunately furthermore
    generally hence here historically however indeed initially instead last lastly later lately likewise maybe
    meanwhile moreover mostly naturally next nonetheless normally now nowadays obviously occasionally often
    once originally overall perhaps possibly presently previously rarely recently second secondly similarly
    sometimes soon still surely then therefore third thus today together tomorrow tonight traditionally
    typically ultimately usually yesterday
"""
ADVERBS: Final = frozenset(_ADVERB_TEXT.split())
_SENTENCES: Final = {
    "although": ("there is more to it than this.", "it may not seem so at first there is a lot to say."),
    "because": ("it matters here is what comes to mind.", "there is much to say this is only a start."),
    "consider": ("what follows.", "this for a moment.", "the following."),
    "every": ("detail counts here.", "point below has its place."),
    "imagine": ("the following.", "this for a moment."),
    "remember": ("what follows.", "this much."),
    "several": ("things matter here.", "points stand out here."),
    "while": ("this is only a part of it here is what matters.", "there is more to say this will do for now."),
    "before": ("anything else here is what matters.",),
    "if": ("in doubt start here.",),
    "when": ("in doubt start here.",),
    "the": ("following is what matters here.",),
    "this": ("is what matters here.",),
    "in": ("short this is how it goes.",),
    "it": ("goes like this.",),
}
_SHORTEST_SENTENCE: Final = 7
_ANY_WORD: Final = (
    "is where this starts.",
    "is a good word to start with.",
    "comes first here.",
    "is the word to begin with.",
)
_LOWERED_TEXT = """
    a an the this that these those it we they you he she there in on at if when as to
"""
_LOWERED: Final = frozenset(_LOWERED_TEXT.split())


def opened(paragraph: str, word: str, text: str, rng: Random) -> str:
    """The paragraph with the word as its first, in the case of the whole text."""
    return f"{fit_case(text, _opening(paragraph, word, rng))}"


def _opening(paragraph: str, word: str, rng: Random) -> str:
    small, shown = word.lower(), word[:1].upper() + word[1:]
    if small in _SENTENCES:
        return f"{shown} {rng.choice(_SENTENCES[small])}{_gap(paragraph)}{paragraph}"
    if small in ADVERBS or small.endswith("ly"):
        if _is_sentence(paragraph.split("\n", 1)[0]):
            return f"{shown}{rng.choice((' ', ', '))}{_lowered(paragraph)}"
        return f"{shown} there is this.{_gap(paragraph)}{paragraph}"
    return f"{shown} {rng.choice(_ANY_WORD)}{_gap(paragraph)}{paragraph}"


def _gap(paragraph: str) -> str:
    return " " if _is_sentence(paragraph.split("\n", 1)[0]) else "\n"


def _is_sentence(line: str) -> bool:
    """Whether a line is running text and no title: long enough, or with a mark at its end."""
    return is_prose(line) and (len(line.split()) >= _SHORTEST_SENTENCE or line.rstrip().endswith((".", "!", "?")))


def _lowered(paragraph: str) -> str:
    first = paragraph.split(maxsplit=1)[0]
    return paragraph[:1].lower() + paragraph[1:] if first.lower() in _LOWERED else paragraph
