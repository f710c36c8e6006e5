"""M-IFEval's Japanese rules (`ja:...`): words by Janome, and the language's own marks.

Source: lightblue-tech/M-IFEval (Apache 2.0), arXiv 2502.04688.
"""

import re
from itertools import pairwise

from spar_core.constraints import arguments
from spar_core.constraints.bench_counts import score_only
from spar_core.constraints.formats import has_title, marked_items
from spar_core.constraints.kind import Arguments, compare
from spar_core.constraints.multilingual.adopted import adopt, letter_between, relation_of, words_of
from spar_core.constraints.multilingual.japanese_scripts import RELATIONS
from spar_core.constraints.multilingual.resources import japanese_sentences, japanese_tokens
from spar_core.constraints.text_view import TextView

CHOICES = ("はい、そうです。", "いいえ、違います。", "どちらとも言えません。")
_NUMBERED = re.compile(r"\d+\.")
_ENDS = "\u3002\uff01\uff1f"  # full-width full stop, exclamation and question mark
_SENTENCE_END = re.compile(f"[{_ENDS}]")
_POSTSCRIPTS = {"P.P.S": re.compile(r"p\.\s?p\.\s?s", re.IGNORECASE), "P.S.": re.compile(r"p\.\s?s\.", re.IGNORECASE)}
_TO_KATAKANA = 96  # from a hiragana's code point to its katakana's
_QUOTES = (("「", "」"), ("『", "』"))


def _existence(text: TextView, bound: Arguments) -> bool:
    words = _written(text.text)
    return all(keyword in words for keyword in bound["keywords"])


def _frequency(text: TextView, bound: Arguments) -> bool:
    keyword = bound["keyword"].strip()
    met = sum(1 for token in japanese_tokens(text.text) if token.text == keyword)
    return compare(bound["relation"], met, bound["frequency"])


def _forbidden_words(text: TextView, bound: Arguments) -> bool:
    return _written(text.text).isdisjoint(bound["forbidden_words"])


def _written(text: str) -> set[str]:
    return {token.text for token in japanese_tokens(text)}


def _letter_frequency(text: TextView, bound: Arguments) -> bool:
    """A hiragana and its katakana count together."""
    letter = bound["letter"]
    met = text.text.count(letter) + text.text.count(chr(ord(letter) + _TO_KATAKANA))
    return compare(bound["let_relation"], met, bound["let_frequency"])


def _sentences(text: TextView, bound: Arguments) -> bool:
    return compare(bound["relation"], sum(1 for _ in japanese_sentences()(text.text)), bound["num_sentences"])


def _letters(text: TextView, bound: Arguments) -> bool:
    """Every character counts, marks and line feeds too."""
    return compare(bound["relation"], len(text.text), bound["num_letters"])


def _nth_start(text: TextView, bound: Arguments) -> bool:
    """As IFEval's rule, but the paragraph starts with the letters, after opening quotation marks."""
    parts = text.text.split("\n\n")
    count = sum(1 for part in parts if part.strip())
    position = bound["nth_paragraph"]
    if position > count or count != bound["num_paragraphs"]:
        return False
    paragraph = parts[position - 1].strip().lstrip("「").lstrip("『")
    return bool(paragraph.startswith(bound["first_word"].lower()))


def _postscript(text: TextView, bound: Arguments) -> bool:
    marker = bound["postscript_marker"].strip()
    known = _POSTSCRIPTS.get(marker) or re.compile(re.escape(marker), re.IGNORECASE)
    return known.search(text.text) is not None


def _bullets(text: TextView, bound: Arguments) -> bool:
    return marked_items(text.lines, "・") == int(bound["num_bullets"])


def _numbered(text: TextView, bound: Arguments) -> bool:
    return _numbered_items(text.lines) == int(bound["num_items"])


def _numbered_items(lines: tuple[str, ...]) -> int:
    """Lines that start with digits, a full stop and white space, which may be the line feed: it takes the next line."""
    count = 0
    swallowed = False
    for index, line in enumerate(lines):
        mark = None if swallowed else _NUMBERED.match(line.lstrip())
        swallowed = False
        if mark is None:
            continue
        rest = line.lstrip()[mark.end() :]
        swallowed = not rest and index < len(lines) - 1
        count += swallowed or rest[:1].isspace()
    return count


def _constrained(text: TextView, _bound: Arguments) -> bool:
    return any(choice in text.text for choice in CHOICES)


def _highlights(text: TextView, bound: Arguments) -> bool:
    met = sum(1 for inside in re.findall(r"《([^\n《》]*)》", text.text) if inside.strip())
    return met >= int(bound["num_highlights"])


def _sections(text: TextView, bound: Arguments) -> bool:
    splitter = re.escape(bound["section_spliter"].strip())
    return len(re.findall(rf"第[\d\uff10-\uff19]+{splitter}", text.text)) >= int(bound["num_sections"])


def _title(text: TextView, _bound: Arguments) -> bool:
    return has_title(text.lines, "『", "』")


def _repeat_prompt(text: TextView, bound: Arguments) -> bool:
    return text.stripped.startswith(bound["prompt_to_repeat"].strip())


def _end_phrase(text: TextView, bound: Arguments) -> bool:
    return text.stripped.strip("」』").endswith(bound["end_phrase"].strip().strip("」』"))


def _quotation(text: TextView, _bound: Arguments) -> bool:
    return len(text.stripped) > 1 and text.stripped[0] == "「" and text.stripped[-1] == "」"


def _unified_end(text: TextView, bound: Arguments) -> bool:
    """Every sentence ends in the same letters; quotations are left out, line feeds end nothing."""
    sentences = _SENTENCE_END.split(_without_quotations(text.text))
    return all(sentence.endswith(bound["ending"]) for sentence in sentences if sentence)


def _nominal_endings(text: TextView, bound: Arguments) -> bool:
    """At least so many sentences end in a noun."""
    tokens = japanese_tokens(_without_quotations(text.text))
    met = sum(
        1 for before, token in pairwise(tokens) if token.text in _ENDS and before.part_of_speech.startswith("名詞")
    )
    return met >= int(bound["count"])


def _without_quotations(text: str) -> str:
    for opening, closing in _QUOTES:
        text = "\n".join(_outside(line, opening, closing) for line in text.split("\n"))
    return text


def _outside(line: str, opening: str, closing: str) -> str:
    """A line without what stands between an opening mark and the next closing one."""
    kept, place = [], 0
    while (start := line.find(opening, place)) >= 0 and (end := line.find(closing, start)) >= 0:
        kept.append(line[place:start])
        place = end + 1
    return "".join([*kept, line[place:]])


def _no_comma(text: TextView, _bound: Arguments) -> bool:
    return "、" not in text.text


def _no_period(text: TextView, _bound: Arguments) -> bool:
    return "。" not in text.text


adopt(
    "ja",
    (
        "language:response_language",
        "length_constraints:number_paragraphs",
        "detectable_content:number_placeholders",
        "detectable_format:json_format",
        "combination:two_responses",
    ),
    RELATIONS,
)
_RELATION = relation_of("relation", RELATIONS)
for _kind_id, _rule, _declared, _wording in (
    ("keywords:existence", _existence, (words_of("keywords"),), "Use the words {keywords}."),
    (
        "keywords:frequency",
        _frequency,
        (arguments.text("keyword"), _RELATION, arguments.number("frequency")),
        "Use the word {keyword} {frequency} times ({relation}).",
    ),
    ("keywords:forbidden_words", _forbidden_words, (words_of("forbidden_words"),), "Do not use {forbidden_words}."),
    (
        "keywords:letter_frequency",
        _letter_frequency,
        (
            letter_between("letter", "ぁ", "ん"),
            relation_of("let_relation", RELATIONS),
            arguments.number("let_frequency"),
        ),
        "Use the letter {letter} {let_frequency} times ({let_relation}).",
    ),
    (
        "length_constraints:number_sentences",
        _sentences,
        (_RELATION, arguments.number("num_sentences")),
        "Write {num_sentences} sentences ({relation}).",
    ),
    (
        "length_constraints:number_letters",
        _letters,
        (_RELATION, arguments.number("num_letters")),
        "Write {num_letters} characters ({relation}).",
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        _nth_start,
        (arguments.number("num_paragraphs"), arguments.number("nth_paragraph", 1), arguments.text("first_word")),
        "Write {num_paragraphs} paragraphs, a blank line between; start number {nth_paragraph} with {first_word}.",
    ),
    (
        "detectable_content:postscript",
        _postscript,
        (arguments.text("postscript_marker"),),
        "End with a postscript that starts with {postscript_marker}",
    ),
    (
        "detectable_format:number_bullet_lists",
        _bullets,
        (arguments.number("num_bullets"),),
        "Use exactly {num_bullets} bullets, each a line that starts with ・.",
    ),
    (
        "detectable_format:number_numbered_lists",
        _numbered,
        (arguments.number("num_items"),),
        "Use exactly {num_items} numbered points.",
    ),
    ("detectable_format:constrained_response", _constrained, (), "Answer with one of: " + " ".join(CHOICES)),
    (
        "detectable_format:number_highlighted_sections",
        _highlights,
        (arguments.number("num_highlights"),),
        "Mark at least {num_highlights} passages, 《like this》.",
    ),
    (
        "detectable_format:multiple_sections",
        _sections,
        (arguments.text("section_spliter"), arguments.number("num_sections")),
        "Write at least {num_sections} sections, headed 第1{section_spliter} and so on.",
    ),
    ("detectable_format:title", _title, (), "Give a title in double brackets, 『like this』."),
    (
        "combination:repeat_prompt",
        _repeat_prompt,
        (arguments.text("prompt_to_repeat"),),
        "First repeat this request word for word: {prompt_to_repeat}",
    ),
    ("startend:end_checker", _end_phrase, (arguments.text("end_phrase"),), "End with exactly: {end_phrase}"),
    ("startend:quotation", _quotation, (), "Wrap your whole response in 「 and 」."),
    ("startend:sentence_unified_end", _unified_end, (arguments.text("ending"),), "End every sentence with {ending}."),
    (
        "detectable_format:nominal_ending",
        _nominal_endings,
        (arguments.number("count"),),
        "End at least {count} sentences with a noun.",
    ),
    ("punctuation:no_comma", _no_comma, (), "Use no 、."),
    ("punctuation:no_period", _no_period, (), "Use no 。."),
):
    score_only(f"ja:{_kind_id}", _rule, *_declared, wording=_wording)
