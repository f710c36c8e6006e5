"""IFBench kinds about layout: nesting, lists, lines, quotes, templates."""

import re
import string

from spar_core.constraints import arguments
from spar_core.constraints.bench_counts import EDGES, WITHOUT_PUNCTUATION, score_only
from spar_core.constraints.bench_resources import emoji_test
from spar_core.constraints.kind import Arguments
from spar_core.constraints.text_view import TextView

_CLOSES = {")": "(", "]": "[", "}": "{"}
_LETTERED_LIST = re.compile(r"\W*a\W*b\W*c", re.IGNORECASE)
_NOT_WORD_OR_QUOTE = string.digits + string.punctuation.replace('"', "")
_TEMPLATE = ("My Answer:", "My Conclusion:", "Future Outlook:")
_BRACKET_DEPTH = 5
_QUOTE_DEPTH = 3


def _nested_brackets(text: TextView, _bound: Arguments) -> bool:
    """Whether a bracket closes inside a group that had reached the depth; a mismatch starts over."""
    open_brackets: list[str] = []
    deepest = 0
    for character in text.text:
        if character in "([{":
            open_brackets.append(character)
            deepest = max(deepest, len(open_brackets))
        elif character in _CLOSES:
            if open_brackets and open_brackets[-1] == _CLOSES[character]:
                open_brackets.pop()
                if deepest >= _BRACKET_DEPTH:
                    return True
            else:
                open_brackets, deepest = [], 0
    return False


def _nested_quotes(text: TextView, _bound: Arguments) -> bool:
    """A quote mark equal to the innermost open one closes it; three levels must have closed again."""
    open_quotes: list[str] = []
    deepest = 0
    for character in text.text:
        if open_quotes and character == open_quotes[-1]:
            open_quotes.pop()
            if deepest - len(open_quotes) >= _QUOTE_DEPTH:
                return True
        elif character in "\"'":
            open_quotes.append(character)
            deepest = max(deepest, len(open_quotes))
    return False


def _one_of_options(text: TextView, bound: Arguments) -> bool:
    listed = bound["options"]
    separator = "/" if "/" in listed else "or" if "or" in listed else ","
    options = [option.strip() for option in listed.split(separator)]
    if _LETTERED_LIST.match(listed):
        return text.text in options
    return text.text.strip(EDGES).lower() in {option.strip(EDGES).lower() for option in options}


def _word_per_line(text: TextView, _bound: Arguments) -> bool:
    bare = text.text.translate(WITHOUT_PUNCTUATION).strip()
    return sum(1 for line in bare.split("\n") if line) == len(bare.split())


def _emoji_ends(text: TextView, _bound: Arguments) -> bool:
    """The last or last but one character counts, since some emoji end in an invisible one."""
    is_emoji = emoji_test()
    bare = [sentence.translate(WITHOUT_PUNCTUATION).strip() for sentence in text.sentences]
    for sentence, following in zip(bare, [*bare[1:], ""], strict=True):
        if not sentence:
            return False
        if not any(is_emoji(character) for character in sentence[-2:]) and not is_emoji(following[:1]):
            return False
    return True


def _stairs(text: TextView, _bound: Arguments) -> bool:
    """Blank lines are taken out, but of neighbouring ones every second stays: the reference's walk skips it."""
    lines = list(text.lines)
    position = 0
    while position < len(lines):
        if not lines[position].strip():
            lines.remove(lines[position])
        position += 1
    indents = [len(line) - len(line.lstrip(" ")) for line in lines]
    return all(indents[i] < indents[i + 1] for i in range(len(indents) - 1))


def _quotes_explained(text: TextView, _bound: Arguments) -> bool:
    joined = "".join(text.text.replace("'\"'", "").split())
    return '""' not in joined and not joined.strip(_NOT_WORD_OR_QUOTE).endswith('"')


def _separated(text: TextView, bound: Arguments) -> bool:
    return text.text.count(bound["sep"]) >= 2


def _thesis(text: TextView, _bound: Arguments) -> bool:
    """Measured with the lengths of <i> and </i>, so a longer tag leaves a character that counts as text."""
    start = _first_of(text.text, "<i>", "<em>")
    if start < 0:
        return False
    rest = text.text[start:]
    end = _first_of(rest, "</i>", "</em>")
    return end >= 0 and bool(rest[len("<i>") : end].strip()) and bool(rest[end + len("</i>") :].strip())


def _first_of(text: str, preferred: str, other: str) -> int:
    position = text.find(preferred)
    return position if position >= 0 else text.find(other)


def _sub_bullets(text: TextView, _bound: Arguments) -> bool:
    return all("-" in part for part in text.text.split("*")[1:])


def _sentences_then_bullets(text: TextView, _bound: Arguments) -> bool:
    """A blank line ends the sentences: after it, and after a bullet, only bullets may come."""
    in_sentences = True
    sentences = bullets = 0
    for line in text.lines:
        stripped = line.strip()
        if stripped.startswith("*"):
            in_sentences = False
            if sentences < 2:
                return False
            bullets += 1
        elif in_sentences:
            found = len(TextView(stripped).sentences)
            in_sentences = found > 0
            sentences += found
        else:
            return False
    return bullets >= 2


def _title_case(text: TextView, _bound: Arguments) -> bool:
    return not any(_breaks_title_case(token) for token in text.tokens)


def _breaks_title_case(token: str) -> bool:
    first, rest = token[:1], token[1:]
    return first.isalpha() and first.islower() and (not rest or rest.isupper() or rest.islower())


def _template(text: TextView, _bound: Arguments) -> bool:
    return all(heading in text.text for heading in _TEMPLATE)


def _no_whitespace(text: TextView, _bound: Arguments) -> bool:
    return not any(character.isspace() for character in text.text)


score_only(
    "format:parentheses", _nested_brackets, wording="Nest brackets of any kind (and [more {inside}]) five levels deep."
)
score_only(
    "format:quotes", _nested_quotes, wording="Nest quotes three levels deep, with double and single marks by turns."
)
score_only(
    "format:options",
    _one_of_options,
    arguments.text("options"),
    wording="Answer with one of these options and nothing else: {options}",
)
score_only("format:newline", _word_per_line, wording="Write each word on a line of its own.")
score_only("format:emoji", _emoji_ends, wording="End every sentence with an emoji.")
score_only("format:line_indent", _stairs, wording="Indent each line further than the one before, like stairs.")
score_only("format:quote_unquote", _quotes_explained, wording="Follow every quotation with an unquoted explanation.")
score_only(
    "format:list",
    _separated,
    arguments.text("sep"),
    wording="Answer with a list whose items are marked with {sep} instead of bullets.",
)
score_only("format:thesis", _thesis, wording="Begin each section with a thesis statement in HTML italics.")
score_only(
    "format:sub-bullets", _sub_bullets, wording="Use * for bullets and at least one - below each of them as sub-bullet."
)
score_only(
    "format:no_bullets_bullets",
    _sentences_then_bullets,
    wording="Write at least two sentences that end in a full stop, then at least two bullets marked with *.",
)
score_only("format:title_case", _title_case, wording="Write the entire response in title case.")
score_only(
    "format:output_template",
    _template,
    wording="Use exactly this template: My Answer: [answer] My Conclusion: [conclusion] Future Outlook: [outlook]",
)
score_only("format:no_whitespace", _no_whitespace, wording="The output must not contain any white space.")
