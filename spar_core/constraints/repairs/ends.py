"""Findings and repairs of the kinds about how an answer starts, ends and is wrapped."""

import re
from random import Random

from spar_core.constraints import composition
from spar_core.constraints.kind import Arguments
from spar_core.constraints.repairs import phrases
from spar_core.constraints.repairs.editing import fit_case
from spar_core.constraints.repairs.table import Stage, register
from spar_core.constraints.text_view import TextView

_CURLY = "\u201c\u201d"
_POSTSCRIPT = re.compile(r"^(?:P\.? ?){1,2}S\b[.:]?|^post ?script:?", re.IGNORECASE | re.MULTILINE)
_TAIL = 40  # characters that may follow an end phrase and are taken for a slip


def _quotes(text: TextView, _bound: Arguments) -> str:
    whole = text.stripped
    starts, ends = whole.startswith('"'), whole.endswith('"')
    have = "a mark only at its start" if starts else "a mark only at its end" if ends else "no mark at either end"
    return f"{have}; double quotation marks around the whole answer are asked"


def _wrap_in_quotes(text: TextView, _bound: Arguments, _rng: Random) -> str:
    """A mark that stands alone at one end is taken for half of the pair."""
    whole = text.stripped
    if len(whole) > 2 and whole[0] == _CURLY[0] and whole[-1] == _CURLY[1]:
        return f'"{whole[1:-1]}"'
    alone = whole.count('"') % 2 == 1
    opening = "" if alone and whole.startswith('"') else '"'
    closing = "" if alone and whole.endswith('"') and len(whole) > 1 else '"'
    return f"{opening}{whole}{closing}"


def _ending(text: TextView, bound: Arguments) -> str:
    last = " ".join(text.stripped.strip('"').split()[-6:])
    return f'it ends with "{last}"; "{bound["end_phrase"].strip()}" is asked'


def _end_with(text: TextView, bound: Arguments, rng: Random) -> str:
    """Cut what follows the phrase where that is little; else add the phrase, inside closing quotation marks."""
    phrase, whole = bound["end_phrase"].strip(), text.text.rstrip()
    quote = '"' if whole.endswith('"') and whole.lstrip().startswith('"') and len(whole) > 1 else ""
    body = whole[: len(whole) - len(quote)].rstrip()
    found = body.lower().rfind(phrase.lower())
    if found >= 0 and len(body) - found - len(phrase) <= _TAIL and len(body) == len(body.lower()):
        return body[: found + len(phrase)] + quote
    return f"{body}{rng.choice((' ', chr(10), chr(10) * 2))}{fit_case(body, phrase)}{quote}"


def _repetition(text: TextView, bound: Arguments) -> str:
    first = " ".join(text.text.split()[:6])
    asked = " ".join(bound["prompt_to_repeat"].split()[:6])
    return f'it starts with "{first}"; the request, word for word, is asked first ("{asked} ...")'


def _repeat_first(text: TextView, bound: Arguments, _rng: Random) -> str:
    """Markup before a repetition goes; else the request is put before the answer."""
    request = bound["prompt_to_repeat"].strip()
    bare = re.sub(r"^[\s\"'*_>#`\u201c]+", "", text.text)
    if bare.lower().startswith(request.lower()):
        return bare
    return f"{request}\n\n{text.text.lstrip()}"


def _no_postscript(_text: TextView, bound: Arguments) -> str:
    return f'it has no postscript; one that starts with "{bound["postscript_marker"].strip()}" is asked'


def _add_postscript(text: TextView, bound: Arguments, rng: Random) -> str:
    """A marker in another form becomes right; else a line is added, inside closing quotation marks."""
    marker, whole = bound["postscript_marker"].strip(), text.text.rstrip()
    other = list(_POSTSCRIPT.finditer(whole))
    if other:
        return f"{whole[: other[-1].start()]}{fit_case(whole, marker)}{whole[other[-1].end() :]}"
    note = fit_case(whole, f"{marker} {rng.choice(phrases.POSTSCRIPTS)}")
    quoted = whole.endswith('"') and whole.lstrip().startswith('"') and len(whole) > 1
    lines = rng.choice((chr(10), chr(10) * 2))
    return f'{whole[:-1]}{lines}{note}"' if quoted else f"{whole}{lines}{note}"


register(composition.POSTSCRIPT.id, _no_postscript, _add_postscript, Stage.ENDS)
register(composition.QUOTATION.id, _quotes, _wrap_in_quotes, Stage.WRAPPING)
register(composition.END_CHECKER.id, _ending, _end_with, Stage.ENDS)
register(composition.REPEAT_PROMPT.id, _repetition, _repeat_first, Stage.WRAPPING)
