"""Reading the verdict out of a verification text.

The rules (ours; the released code looks for substrings, so that "Note" counted as No):
- A verdict line begins with a label ("Final verdict", "verdict", "judgement", ..., and those of the prompt set's
  format), then YES or NO (the format's words for them), or has the label alone and the word on the next line. The last
  one counts.
- Case, markdown markup, quotes, brackets and punctuation do not matter.
- Behind a final label "pass", "met", "satisfied" count as YES, "fail", "not met", "not satisfied" as NO; the label may
  say whose verdict it is ("Final verdict for the response: NO"), and may lack its colon ("FINAL VERDICT NO").
- An echo of the choice itself ("Yes or No", "YES/NO", "Pass/Fail") is not a verdict.
- A line with a final label that says neither YES nor NO takes back any verdict before it. Labels of a format are final.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from spar_core.prompts.format import VerdictForm
from spar_core.records import FinishReason, Verdict

_TAG = re.compile(r"</?[a-z][a-z0-9]*\s*/?>|<\|[^|<>]{0,40}\|>", re.IGNORECASE)
_MARKUP = re.compile(r"""[*_`#>~"'\u2018\u2019\u201c\u201d\u00ab\u00bb$\\{}\[\]()<]+""")
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"))
_SHIPPED = VerdictForm()
_CHOICES = (("pass", "fail"), ("met", r"not\s{1,3}met"), ("satisfied", r"not\s{1,3}satisfied"))
_OTHER_WORDS = re.compile(
    r"^[\s.:,;!\-]*(?:(?P<no>fail(?:s|ed)?|not\s+(?:met|satisfied))\b"
    r"(?=\s*$|\s*[^\w\s/&+]|\s+(?:because|since|as|due)\b)|(?P<yes>pass(?:es|ed)?|met|satisfied)\W*$)",
    re.IGNORECASE,
)


class _Patterns(NamedTuple):
    """What a format's votes are read with. `own_label`: its labels, where they are none of the usual ones."""

    yes: frozenset[str]
    plain_ending: re.Pattern[str]
    hint: re.Pattern[str]
    own_label: re.Pattern[str] | None
    echo: re.Pattern[str]
    label: re.Pattern[str]
    verdict: re.Pattern[str]
    again: re.Pattern[str]
    alone: re.Pattern[str]


def parse_verdict(text: str, finish_reason: FinishReason, form: VerdictForm = _SHIPPED) -> Verdict:
    """The verdict of one vote; UNPARSEABLE where no verdict line stands.

    Args:
        text: the whole verification text.
        finish_reason: `length` = the text was cut; then only a line labelled final counts, because a bare
            "Verdict:" may belong to one requirement of the check that was not finished.
        form: the labels and words the prompt set asks for.
    """
    patterns = _patterns(form)
    plain = patterns.plain_ending.fullmatch(text.rstrip().rpartition("\n")[2])
    if plain:
        return _said(plain["word"], patterns)
    if not patterns.hint.search(text):
        return Verdict.UNPARSEABLE
    lines = [line for line in text.splitlines() if line.strip()]
    for index in range(len(lines) - 1, -1, -1):
        following = lines[index + 1] if index + 1 < len(lines) else ""
        verdict = _read(lines[index], following, patterns, only_final=finish_reason == "length")
        if verdict is not None:
            return verdict
    return Verdict.UNPARSEABLE


def without_verdict(text: str, form: VerdictForm = _SHIPPED) -> str:
    """A verification text without the verdict line it ends with: what it found, for who is to mend the answer."""
    lines = text.rstrip().splitlines()
    patterns = _patterns(form)
    while lines and (not lines[-1].strip() or _read(lines[-1], "", patterns, only_final=False) is not None):
        lines.pop()
    return "\n".join(lines)


def _read(line: str, following: str, patterns: _Patterns, only_final: bool) -> Verdict | None:
    """Verdict of one line; None where it is no verdict line."""
    if not patterns.hint.search(line):
        return None
    bare = _plain(line, patterns)
    if patterns.own_label:
        bare = patterns.own_label.sub("Final verdict", bare)
    label = patterns.label.match(bare)
    if label is None or (only_final and not label["final"]):
        return None
    tail = label["tail"]
    if not _has_words(tail):
        alone = patterns.alone.match(_plain(following, patterns))
        return _said(alone["word"], patterns) if alone else None
    found = patterns.verdict.match(tail)
    if found and not patterns.again.search(tail[found.end() :]):
        return _said(found["word"], patterns)
    if not label["final"]:
        return None
    other = _OTHER_WORDS.match(tail)
    if other and not patterns.again.search(tail[other.end() :]):
        return Verdict.NO if other["no"] else Verdict.YES
    return Verdict.UNPARSEABLE


def _said(word: str, patterns: _Patterns) -> Verdict:
    return Verdict.YES if " ".join(word.casefold().split()) in patterns.yes else Verdict.NO


def _plain(line: str, patterns: _Patterns) -> str:
    """The line without tags, markup and echoes of the choice; table borders become separators."""
    bare = _MARKUP.sub(" ", _TAG.sub(" ", unicodedata.normalize("NFKC", line))).translate(_DASHES)
    return patterns.echo.sub(" ", bare).replace("|", ":").strip()


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)


@cache
def _patterns(form: VerdictForm) -> _Patterns:
    words = _any_of((*form.yes, *form.no))
    choices = [(_any_of(form.yes), _any_of(form.no)), *_CHOICES]
    echoes = (
        rf"\b{one}\s{{0,3}}(?:or|/|\|)\s{{0,3}}{other}\b" for pair in choices for one, other in (pair, pair[::-1])
    )
    own = [_words_of(label) for label in form.labels if label.casefold() != _SHIPPED.labels[0].casefold()]
    hints = [r"verdict|judge?ment", *(max(label, key=len) for label in own)]
    endings = "|".join(map(re.escape, form.labels))
    return _Patterns(
        yes=frozenset(" ".join(word.casefold().split()) for word in form.yes),
        # The line as the prompt asks for it, which nearly every vote ends with: no need to look further.
        plain_ending=_compiled(rf"(?:{endings}): (?P<word>{words})\.?"),
        hint=_compiled("|".join(hints)),
        own_label=_compiled(r"\b(?:" + "|".join(r"\W{1,4}".join(label) for label in own) + r")\b") if own else None,
        echo=_compiled("|".join(echoes)),
        label=_label(words),
        # After the word: nothing, punctuation, or a word that begins a reason. "No issues" and "Yes and no" are not
        # verdicts.
        verdict=_compiled(
            rf"^[\s.:,;!\-]*(?:(?:boxed|text)\s+)*(?P<word>{words})\b"
            r"(?=\s*$|\s*[^\w\s/&+]|\s+(?:because|since|as|due|for|the|this|it|given|based|all)\b)"
        ),
        # The rest of a line names a verdict again: a quotation of both endings, not a choice.
        again=_compiled(rf"(?:^\W*or|verdict|judge?ment)\b\W*{words}\b"),
        alone=_compiled(rf"^[\s.:,;!\-]*(?P<word>{words})\b[^\w/&+]*$"),
    )


def _label(words: str) -> re.Pattern[str]:
    return re.compile(
        rf"""^(?:[-+•\d.:\s]*)
        (?:(?:so|thus|therefore|hence|overall|conclusion|in\s+conclusion|finally)\b[\s,:]*)?
        (?:(?:my|the|our)\s+)?
        (?P<final>(?:final|overall)\s+)?(?:verdict|judge?ment)\b
        (?:\s+(?:for|on|about|of)(?:\s+[^\s:=]+){{1,6}}?(?=\s*(?:is\b|[:=])))?
        \s*(?P<separator>is\b\s*:?|[:=\-]+|\.*$|(?={words}\W*$))\s*(?P<tail>.*)$""",
        re.IGNORECASE | re.VERBOSE,
    )


def _any_of(words: Iterable[str]) -> str:
    """A pattern for one of these, the longest that fits, in any case and with any spaces."""
    longest_first = sorted(words, key=len, reverse=True)
    return "(?:" + "|".join(r"\s{1,3}".join(map(re.escape, word.split())) for word in longest_first) + ")"


def _words_of(label: str) -> list[str]:
    """Patterns for the words of a label, "judgment" in either spelling."""
    bare = _MARKUP.sub(" ", unicodedata.normalize("NFKC", label)).translate(_DASHES)
    return [re.sub("judge?ment", "judge?ment", word, flags=re.IGNORECASE) for word in re.findall(r"\w+", bare)]


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)
