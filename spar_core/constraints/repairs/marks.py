"""Findings and repairs of the kinds about highlights, placeholders, titles, JSON and a closed choice."""

import ast
import json
import re
from collections import Counter
from random import Random

from spar_core.constraints import composition, formats
from spar_core.constraints.kind import Arguments
from spar_core.constraints.repairs import phrases
from spar_core.constraints.repairs.editing import Span, add_sentence, amount, fit_case, sentences_of
from spar_core.constraints.repairs.phrases import names_a_thing
from spar_core.constraints.repairs.table import Stage, register
from spar_core.constraints.text_view import TextView

_MOST_PLACEHOLDERS = 12
_PHRASE = re.compile(r"(?<=[a-z,;] )[A-Za-z]{4,}(?: [A-Za-z]{4,})?(?=[ ,.;!?])")
_TITLE_LINE = re.compile(
    r"(?:#{1,6} +|\*\*|title: *|__)(?P<title>[^\n*_#<>]{3,80}?)(?:\*\*|__)?:? *(?:\n|$)", re.IGNORECASE
)
_HALF_TITLE = re.compile(
    r"^\W{0,2}(?:<{1,2}|\u00ab)(?P<title>[^\n<>\u00ab\u00bb]{2,80}?) *(?:>{1,2}|\u00bb)? *$", re.MULTILINE
)
_TITLES = ("About {}", "A Word on {}", "{} in Brief", "On {}", "Some Thoughts on {}", "{}")
_COMMON_TEXT = """
    about after again also another because been before being between both could does each even every first
    from have here into just like made make many more most much must need only other over same should some
    such than that their them then there these they this those through time under very want well were what
    when where which while will with would your yours you're it's don't
"""
_COMMON = frozenset(_COMMON_TEXT.split())


def _highlighted(text: TextView, bound: Arguments) -> str:
    count = formats.highlights(text)
    return f"it has {amount(count, 'highlighted passage')}; at least {bound['num_highlights']} are asked"


def _highlight(text: TextView, bound: Arguments, rng: Random) -> str | None:
    """Stars around words of sentences that have none, never at the start of a line."""
    whole, missing = text.text, bound["num_highlights"] - formats.highlights(text)
    spans = [span for span in sentences_of(whole) if "*" not in whole[span.start : span.end]]
    found = [place for span in spans if (place := _phrase_in(whole, span, rng)) is not None]
    if len(found) < missing:
        found = [Span(*place.span()) for span in spans for place in _PHRASE.finditer(whole, span.start, span.end)]
    if len(found) < missing:
        return None
    stars = rng.choice(("*", "*", "**"))
    for place in sorted(rng.sample(found, missing), reverse=True):
        whole = f"{whole[: place.start]}{stars}{whole[place.start : place.end]}{stars}{whole[place.end :]}"
    return whole


def _phrase_in(text: str, sentence: Span, rng: Random) -> Span | None:
    found = [place for place in _PHRASE.finditer(text, *sentence) if place[0].lower() not in _COMMON]
    return Span(*rng.choice(found).span()) if found else None


def _placeholders(text: TextView, bound: Arguments) -> str:
    count = composition.placeholders(text)
    return f"it has {amount(count, 'placeholder')} in square brackets; at least {bound['num_placeholders']} are asked"


def _add_placeholders(text: TextView, bound: Arguments, rng: Random) -> str | None:
    """Sentences with blanks to fill in, no more blanks than are missing."""
    whole, missing = text.text, bound["num_placeholders"] - composition.placeholders(text)
    if missing > _MOST_PLACEHOLDERS:
        return None
    used: set[str] = set()
    while missing > 0:
        drawn = phrases.filled_sentence(missing, used, rng)
        longer = None if drawn is None else add_sentence(whole, drawn.text, rng)
        if drawn is None or longer is None:
            return None
        used.add(drawn.template)
        missing -= drawn.blanks
        whole = longer
    return whole


def _no_title(text: TextView, _bound: Arguments) -> str:
    return "it has no title in double angular brackets; one such as <<title>> is asked"


def _add_title(text: TextView, _bound: Arguments, rng: Random) -> str:
    """A title in another form gets its brackets; else one is made of what the answer speaks of most."""
    whole = text.text.lstrip()
    half = _HALF_TITLE.search(whole)
    if half is not None:
        return f"{whole[: half.start()]}<<{half['title'].strip()}>>{whole[half.end() :]}"
    line = _TITLE_LINE.match(whole)
    if line is not None:
        return f"<<{line['title'].strip()}>>\n{whole[line.end() :]}"
    title = fit_case(whole, rng.choice(_TITLES).format(_topic(text, rng)))
    return f"<<{title}>>{rng.choice((chr(10), chr(10) * 2))}{whole}"


def _topic(text: TextView, rng: Random) -> str:
    """The pair of words or the thing that a text names most; its first words where it names none."""
    said = re.findall(r"[a-z]{4,}(?: [a-z]{4,})?", text.lowered)
    pairs = Counter(words for words in said if " " in words and not _COMMON & set(words.split()))
    things = Counter(word for words in said for word in words.split() if word not in _COMMON and names_a_thing(word))
    topics = [words for words, count in pairs.most_common(1) if count > 1] + [word for word, _ in things.most_common(1)]
    return rng.choice(topics).title() if topics else " ".join(re.findall(r"\w+", text.text)[:4]) or "This"


def _no_json(text: TextView, _bound: Arguments) -> str:
    start = text.stripped[:1]
    what = "it looks like JSON and cannot be parsed" if start in ("{", "[", "`") else "it is plain text"
    return f"{what}; the entire output must be JSON"


def _as_json(text: TextView, _bound: Arguments, rng: Random) -> str:
    """JSON that the answer holds and that is most of it; else the answer becomes the value of one key."""
    found = re.search(r"[\[{].*[\]}]", text.text, re.DOTALL)
    value = _parsed(found[0]) if found is not None and 2 * len(found[0]) > len(text.stripped) else None
    if value is None:
        value = {rng.choice(("answer", "response", "text", "content", "output")): text.stripped}
    written = json.dumps(value, ensure_ascii=False, indent=rng.choice((None, 2)))
    return f"```json\n{written}\n```" if rng.random() < 0.3 else written


def _parsed(source: str) -> object:
    for candidate in (source, re.sub(r",(?=\s*[\]}])", "", source)):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    try:
        value = ast.literal_eval(source)
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return value


def _no_choice(_text: TextView, _bound: Arguments) -> str:
    return f"it holds none of the sentences to choose from; one of {' / '.join(formats.CHOICES)} is asked"


def _choose(text: TextView, _bound: Arguments, _rng: Random) -> str:
    """The choice that the answer's own words make, put first; "maybe" where they make none."""
    for choice in formats.CHOICES:
        bare = re.compile(re.escape(choice.rstrip(".")) + r"[.!]?", re.IGNORECASE)
        if bare.search(text.text):
            return bare.sub(choice, text.text, count=1)
    yes, no, maybe = formats.CHOICES
    first = re.match(r"\W*(yes|no)\b[.,!:]?\s*", text.lowered)
    chosen = maybe if first is None else yes if first[1] == "yes" else no
    return f"{chosen} {text.text.lstrip()}"


register(formats.NUMBER_HIGHLIGHTED_SECTIONS.id, _highlighted, _highlight, Stage.LAYOUT)
register(composition.NUMBER_PLACEHOLDERS.id, _placeholders, _add_placeholders, Stage.LAYOUT)
register(formats.TITLE.id, _no_title, _add_title, Stage.ENDS)
register(formats.JSON_FORMAT.id, _no_json, _as_json, Stage.WRAPPING)
register(formats.CONSTRAINED_RESPONSE.id, _no_choice, _choose)
