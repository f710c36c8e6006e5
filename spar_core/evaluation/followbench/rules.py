"""Verdicts by rule on FollowBench rows, after the benchmark's protocol (section 4), its oddities included.

Every check sees the raw, untrimmed generation. A source's conditions accumulate: level L needs the first L.
Chinese counts characters where English counts words, and looks for substrings where English asks for word boundaries.
"""

import ast
import re
import string
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from spar_core.evaluation.followbench.dataset import FollowBenchItem, Language

Conditions = Iterator[bool]

_ENDERS = {"en": re.compile(r"[.!?]"), "zh": re.compile(r"[。！？]")}  # noqa: RUF001
_PUNCTUATION = {"en": frozenset(string.punctuation), "zh": frozenset(string.punctuation + "，。：’“”")}  # noqa: RUF001
_HAVE = re.compile(r"\b(?:has|have)\s+\w")
_CONTINUOUS = re.compile(r"\b(?:am|is|are)\s+\w+ing\b")
_OPTION = re.compile(r"\([A-Z]\)")
_DATE = re.compile(r"\d{2}/\d{2}/\d{4}")
_MONEY = {"en": re.compile(r"\$\d+"), "zh": re.compile(r"\d+美元")}
_NUMBERED_START = re.compile(r"\s*\d+\.")
_NUMBERED_KEYWORD = re.compile(r"\*\*\d.+?:")
_SENTENCE_GAP = re.compile(r"(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<=[.?])\s")
_POINTS = ("1.", "2.", "3.", "4.", "5.")
_SLOT = "{answer}"


def check_rule(item: FollowBenchItem, generation: str) -> bool:
    """Does a rule-scored row's answer meet its level?

    Raises:
        ValueError: the row is for the judge.
    """
    if not item.by_rule:
        raise ValueError(f"{item.item_id} is scored by a judge, not by rule")
    if item.key.category == "example":
        return _matches_template(item.target, generation)
    exact = _EXACT.get(item.source)
    if exact is not None:
        return exact(item.target, generation, item.language)
    conditions = _GRADED.get(item.source)
    if conditions is not None:
        return _first(item.key.level, conditions(generation, item.language))
    if item.key.example_id == 22:
        return _three_suggestions(generation, item.key.level, item.language)
    return _first(item.key.level, _five_benefits(generation))


def _first(level: int, conditions: Conditions) -> bool:
    """Do the first `level` conditions hold? Later ones are not computed, so they may build on earlier ones."""
    return all(next(conditions) for _ in range(level))


def _pieces(text: str, language: Language) -> list[str]:
    return [piece for piece in _ENDERS[language].split(text) if piece]


def _words(piece: str, language: Language) -> int:
    return len(piece) if language == "zh" else len(piece.split())


def _has(word: str, text: str, language: Language) -> bool:
    return word in text if language == "zh" else re.search(rf"\b{re.escape(word)}\b", text) is not None


def _space_tokens(text: str, language: Language) -> int:
    return len(text) if language == "zh" else len(text.split(" "))


def _last_match(pattern: re.Pattern[str], target: str, text: str) -> bool:
    found = pattern.findall(text)
    return bool(found) and found[-1] == target


@lru_cache(maxsize=256)
def _string_list(target: str) -> frozenset[str]:
    return frozenset(ast.literal_eval(target))


def _lines_within(target: str, text: str, _: Language) -> bool:
    return set(text.split("\n")) <= set(target.split("\n"))


_EXACT: Mapping[str, Callable[[str, str, Language], bool]] = {
    "E2E": lambda target, text, _: text == target,
    "text_editing": lambda target, text, _: text == target,
    "WIKIEVENTS": _lines_within,
    "CONLL2003": lambda target, text, _: text in _string_list(target),
    "BBH_logical": lambda target, text, _: _last_match(_OPTION, target, text),
    "BBH_time": lambda target, text, _: _last_match(_DATE, target, text),
    "self_made_space": lambda target, text, _: target in text,
    "gsm_8k": lambda target, text, language: _last_match(_MONEY[language], target, text),
}


def _cnn_dailymail(text: str, language: Language) -> Conditions:
    zh = language == "zh"
    pieces = _pieces(text, language)
    yield len(pieces) == 3
    yield all(_words(piece, language) < 15 for piece in pieces)
    keywords = ("波特", "演员", "电影") if zh else ("Potter", "actor", "films")
    yield all(_has(word, piece, language) for word, piece in zip(keywords, pieces, strict=True))
    yield not _has("奢侈" if zh else "lavish", pieces[1], language)
    yield "了" in pieces[2] if zh else _HAVE.search(pieces[2]) is not None


def _xsum(text: str, language: Language) -> Conditions:
    zh = language == "zh"
    yield len(_pieces(text, language)) == 1
    yield _space_tokens(text, language) < 20
    yield not _has("牛顿斯图尔特" if zh else "Newton Stewart", text, language)
    yield "在" in text if zh else _CONTINUOUS.search(text) is not None
    yield _has("操作" if zh else "operation", text, language)


def _samsum(text: str, language: Language) -> Conditions:
    zh = language == "zh"
    yield len(_pieces(text, language)) == 1
    yield _space_tokens(text, language) < 15
    yield _has("琐碎的" if zh else "stuff", text, language)
    yield "拖沓的" not in text if zh else "procrast" not in text.lower()
    yield sum(character in _PUNCTUATION[language] for character in text) == 1


def _gigaword(text: str, language: Language) -> Conditions:
    zh = language == "zh"
    yield _space_tokens(text, language) == 8
    yield not any(character in _PUNCTUATION[language] for character in text)
    yield not any(character.isnumeric() for character in text) if zh else text.islower()
    yield not _has("公交车" if zh else "bus", text, language)
    yield _has("在" if zh else "in", text, language)


def _arxiv(text: str, language: Language) -> Conditions:
    zh = language == "zh"
    yield len(_pieces(text, language)) == 1
    yield _space_tokens(text, language) <= 20
    yield text.startswith("我们" if zh else "We")
    yield _has("激活" if zh else "activations", text, language)
    yield not _has("transformer", text, language)


_GRADED: Mapping[str, Callable[[str, Language], Conditions]] = {
    "cnn_dailymail": _cnn_dailymail,
    "xsum": _xsum,
    "samsum": _samsum,
    "gigaword": _gigaword,
    "arxiv": _arxiv,
}


def _three_suggestions(text: str, level: int, language: Language) -> bool:
    """Format group 22. English levels 4 and 5 cannot be met: the marker "1." is itself a one-word piece."""
    paragraphs = text.split("\n\n")
    ending = "这些是建议" if language == "zh" else "Those are suggestions"
    if len(paragraphs) != (4 if level == 5 else 3) or (level == 5 and not text.endswith(ending)):
        return False
    tests: list[Callable[[], bool]] = [
        lambda: all(len(_pieces(paragraph, language)) < 3 for paragraph in paragraphs[:3]),
        lambda: all(_words(piece, language) > 20 for piece in _pieces(text, language)),
        lambda: all(_NUMBERED_START.match(paragraph) for paragraph in paragraphs if paragraph.strip()),
    ]
    return all(test() for test in tests[: level - 1])


def _five_benefits(text: str) -> Conditions:
    """English format group 30; the word count holds for every sentence, numbered or not, as the golden rows show."""
    yield "**" in text
    yield len(_NUMBERED_KEYWORD.findall(text)) == 5
    sentences = _SENTENCE_GAP.split(text)
    yield all(sentence.count(".") <= 1 for sentence in sentences if any(point in sentence for point in _POINTS))
    yield all(10 <= len(sentence.split()) <= 15 for sentence in sentences)
    yield not any(word.endswith("-ly") for word in text.split())


@lru_cache(maxsize=1024)
def _template(target: str) -> tuple[str, ...]:
    body = target.removeprefix("{instruction}\n").replace("{{", "{").replace("}}", "}")
    return tuple(body.split(_SLOT))


def _matches_template(target: str, text: str) -> bool:
    """The whole text is the template with the answer slot filled by anything but a newline (possibly nothing)."""
    parts = _template(target)
    return re.fullmatch(".*".join(map(re.escape, parts)), text) is not None
