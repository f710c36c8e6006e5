"""Reading the verdict out of a verification text.

The rules (ours; the released code looks for substrings, so that "Note" counted as No):
- A verdict line begins with a label ("Final verdict", "verdict", "judgement", ...), then YES or NO, or has
  the label alone and YES or NO on the next line. The last one counts.
- Case, markdown markup, quotes, brackets and punctuation do not matter.
- Behind a final label "pass", "met", "satisfied" count as YES, "fail", "not met", "not satisfied" as NO; the label may
  say whose verdict it is ("Final verdict for the response: NO"), and may lack its colon ("FINAL VERDICT NO").
- An echo of the choice itself ("Yes or No", "YES/NO", "Pass/Fail") is not a verdict.
- A line with a final label that says neither YES nor NO takes back any verdict before it.
"""

import re
import unicodedata

from spar_core.records import FinishReason, Verdict

_TAG = re.compile(r"</?[a-z][a-z0-9]*\s*/?>|<\|[^|<>]{0,40}\|>", re.IGNORECASE)
_MARKUP = re.compile(r"""[*_`#>~"'\u2018\u2019\u201c\u201d\u00ab\u00bb$\\{}\[\]()<]+""")
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"))
_LABEL_HINT = re.compile(r"verdict|judge?ment", re.IGNORECASE)
# The line as the shipped prompts ask for it, which nearly every vote ends with: no need to look further.
_PLAIN_ENDING = re.compile(r"final verdict: (?P<word>yes|no)\.?", re.IGNORECASE)
_CHOICES = (("yes", "no"), ("pass", "fail"), ("met", r"not\s{1,3}met"), ("satisfied", r"not\s{1,3}satisfied"))
_ECHO = re.compile(
    "|".join(
        rf"\b{one}\s{{0,3}}(?:or|/|\|)\s{{0,3}}{other}\b" for pair in _CHOICES for one, other in (pair, pair[::-1])
    ),
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"""^(?:[-+•\d.:\s]*)
        (?:(?:so|thus|therefore|hence|overall|conclusion|in\s+conclusion|finally)\b[\s,:]*)?
        (?:(?:my|the|our)\s+)?
        (?P<final>(?:final|overall)\s+)?(?:verdict|judge?ment)\b
        (?:\s+(?:for|on|about|of)(?:\s+[^\s:=]+){1,6}?(?=\s*(?:is\b|[:=])))?
        \s*(?P<separator>is\b\s*:?|[:=\-]+|\.*$|(?=(?:yes|no)\W*$))\s*(?P<tail>.*)$""",
    re.IGNORECASE | re.VERBOSE,
)
# After the word: nothing, punctuation, or a word that begins a reason. "No issues" and "Yes and no" are not verdicts.
_VERDICT = re.compile(
    r"^[\s.:,;!\-]*(?:(?:boxed|text)\s+)*(?P<word>yes|no)\b"
    r"(?=\s*$|\s*[^\w\s/&+]|\s+(?:because|since|as|due|for|the|this|it|given|based|all)\b)",
    re.IGNORECASE,
)
_OTHER_WORDS = re.compile(
    r"^[\s.:,;!\-]*(?:(?P<no>fail(?:s|ed)?|not\s+(?:met|satisfied))\b"
    r"(?=\s*$|\s*[^\w\s/&+]|\s+(?:because|since|as|due)\b)|(?P<yes>pass(?:es|ed)?|met|satisfied)\W*$)",
    re.IGNORECASE,
)
_AGAIN = re.compile(r"(?:^\W*or|verdict|judge?ment)\b\W*(?:yes|no)\b", re.IGNORECASE)
_ALONE = re.compile(r"^[\s.:,;!\-]*(?P<word>yes|no)\b[^\w/&+]*$", re.IGNORECASE)


def parse_verdict(text: str, finish_reason: FinishReason) -> Verdict:
    """The verdict of one vote; UNPARSEABLE where no verdict line stands.

    Args:
        text: the whole verification text.
        finish_reason: `length` = the text was cut; then only a line labelled final counts, because a bare
            "Verdict:" may belong to one requirement of the check that was not finished.
    """
    plain = _PLAIN_ENDING.fullmatch(text.rstrip().rpartition("\n")[2])
    if plain:
        return Verdict(plain["word"].upper())
    if not _LABEL_HINT.search(text):
        return Verdict.UNPARSEABLE
    lines = [line for line in text.splitlines() if line.strip()]
    for index in range(len(lines) - 1, -1, -1):
        following = lines[index + 1] if index + 1 < len(lines) else ""
        verdict = _read(lines[index], following, only_final=finish_reason == "length")
        if verdict is not None:
            return verdict
    return Verdict.UNPARSEABLE


def _read(line: str, following: str, only_final: bool) -> Verdict | None:
    """Verdict of one line; None where it is no verdict line."""
    if not _LABEL_HINT.search(line):
        return None
    label = _LABEL.match(_plain(line))
    if label is None or (only_final and not label["final"]):
        return None
    tail = label["tail"]
    if not _has_words(tail):
        alone = _ALONE.match(_plain(following))
        return Verdict(alone["word"].upper()) if alone else None
    found = _VERDICT.match(tail)
    if found and not _contradicts(tail[found.end() :]):
        return Verdict(found["word"].upper())
    if not label["final"]:
        return None
    other = _OTHER_WORDS.match(tail)
    if other and not _contradicts(tail[other.end() :]):
        return Verdict.NO if other["no"] else Verdict.YES
    return Verdict.UNPARSEABLE


def _contradicts(rest: str) -> bool:
    """Whether the rest of the line names a verdict again: a quotation of both endings, not a choice."""
    return bool(_AGAIN.search(rest))


def _plain(line: str) -> str:
    """The line without tags, markup and echoes of the choice; table borders become separators."""
    bare = _MARKUP.sub(" ", _TAG.sub(" ", unicodedata.normalize("NFKC", line))).translate(_DASHES)
    return _ECHO.sub(" ", bare).replace("|", ":").strip()


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)
