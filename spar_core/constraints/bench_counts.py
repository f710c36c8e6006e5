"""IFBench kinds that count or take ratios. Kinds of this benchmark only score: training prompts never draw them."""

import re
import string

from spar_core.constraints import arguments
from spar_core.constraints.bench_resources import stop_words
from spar_core.constraints.kind import Arguments, Kind, Rule, worded
from spar_core.constraints.registry import register
from spar_core.constraints.text_view import TextView

EDGES = string.punctuation + " "
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)

_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")
_CONJUNCTIONS = frozenset({"and", "but", "for", "nor", "or", "so", "yet"})
_KEYWORD_COUNTS = {"keyword1": 1, "keyword2": 2, "keyword3": 3, "keyword4": 5, "keyword5": 7}
_MARKS = frozenset(".,!?;:")
_TOLERANCE = 2  # percentage points either side
_NAME_TEXT = """
    Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin Harper
    Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan Victoria Elijah Layla
    Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella Jonathan
"""
_NAME = re.compile(r"\b(?:" + "|".join(_NAME_TEXT.split()) + r")\b")
_PRONOUN_TEXT = """
    i me we us you he him she her it they them my mine our ours your yours his hers its their theirs
    myself ourselves yourself yourselves himself herself itself themselves this that these those
    who whom whose which what whoever whomever whatever whichever
    anybody anyone anything everybody everyone everything nobody nothing somebody someone something
    each either neither both all some any none
"""
_PRONOUNS = frozenset(_PRONOUN_TEXT.split())


def _word_range(text: TextView, bound: Arguments) -> bool:
    return bool(bound["min_words"] <= text.word_count <= bound["max_words"])


def _unique_words(text: TextView, bound: Arguments) -> bool:
    """A piece of mere punctuation counts as one word, the empty one."""
    return len({word.strip(EDGES) for word in text.lowered.split()}) >= int(bound["N"])


def _conjunctions(text: TextView, bound: Arguments) -> bool:
    """Pieces that differ in case or in attached punctuation count as different."""
    found = {word for word in text.text.split() if word.strip(EDGES).lower() in _CONJUNCTIONS}
    return len(found) >= int(bound["small_n"])


def _person_names(text: TextView, bound: Arguments) -> bool:
    return len(set(_NAME.findall(text.text))) >= int(bound["N"])


def _numbers(text: TextView, bound: Arguments) -> bool:
    return len(_DIGITS.findall(text.text.translate(WITHOUT_PUNCTUATION))) == int(bound["N"])


def _pronouns(text: TextView, bound: Arguments) -> bool:
    tokens = TextView(text.text.replace("/", " ").lower()).tokens
    return sum(1 for token in tokens if token in _PRONOUNS) >= int(bound["N"])


def _punctuation(text: TextView, _bound: Arguments) -> bool:
    """One interrobang is set aside; the marks must be there besides it."""
    whole = text.text
    if "?!" in whole:
        whole = whole.replace("?!", "", 1)
    elif "!?" in whole:
        whole = whole.replace("!?", "", 1)
    elif "\u203d" not in whole:
        return False
    return set(whole) >= _MARKS


def _keyword_counts(text: TextView, bound: Arguments) -> bool:
    return all(text.lowered.count(bound[name].strip().lower()) == count for name, count in _KEYWORD_COUNTS.items())


def _stop_word_share(text: TextView, bound: Arguments) -> bool:
    words = _WORD.findall(text.text)
    known = stop_words()
    stops = sum(1 for word in words if word.lower() in known)
    return bool(words) and stops / len(words) * 100 <= float(bound["percentage"])


def endings(text: TextView) -> tuple[int, int, int]:
    """How many sentences end in a full stop, a question mark, an exclamation mark."""
    last = [sentence[-1:] for sentence in text.sentences]
    return last.count("."), last.count("?"), last.count("!")


def _two_to_one(text: TextView, _bound: Arguments) -> bool:
    declarative, interrogative, _ = endings(text)
    return declarative == 2 * interrogative


def _balanced(text: TextView, _bound: Arguments) -> bool:
    return len(set(endings(text))) == 1


def _trigram_overlap(text: TextView, bound: Arguments) -> bool:
    own = _trigrams(text.text)
    if not own:
        return False
    share = len(own & _trigrams(bound["reference_text"])) / len(own) * 100
    return bool(bound["percentage"] - _TOLERANCE <= share <= bound["percentage"] + _TOLERANCE)


def _trigrams(text: str) -> set[str]:
    return {text[start : start + 3] for start in range(len(text) - 2)}


def _equal_sentences(text: TextView, _bound: Arguments) -> bool:
    lengths = [len(sentence.strip()) for sentence in text.sentences]
    return len(lengths) == 3 and len(set(lengths)) == 1


def score_only(kind_id: str, rule: Rule, *declared: arguments.Argument, wording: str) -> Kind:
    """Register a kind without a sampler."""
    return register(Kind(kind_id, rule, worded(wording), declared, sampler=None))


score_only(
    "count:word_count_range",
    _word_range,
    arguments.number("min_words"),
    arguments.number("max_words"),
    wording="Use between {min_words} and {max_words} words.",
)
score_only("count:unique_word_count", _unique_words, arguments.number("N"), wording="Use at least {N} different words.")
score_only(
    "count:conjunctions",
    _conjunctions,
    arguments.number("small_n"),
    wording="Use at least {small_n} different coordinating conjunctions.",
)
score_only(
    "count:person_names",
    _person_names,
    arguments.number("N"),
    wording="Mention at least {N} different names of this list: " + ", ".join(_NAME_TEXT.split()) + ".",
)
score_only("count:numbers", _numbers, arguments.number("N"), wording="Include exactly {N} numbers.")
score_only("count:pronouns", _pronouns, arguments.number("N"), wording="Include at least {N} pronouns.")
score_only(
    "count:punctuation",
    _punctuation,
    wording="Use every standard punctuation mark at least once, semicolon, colon and interrobang (?!) included.",
)
score_only(
    "count:keywords_multiple",
    _keyword_counts,
    *(arguments.text(name) for name in _KEYWORD_COUNTS),
    wording="Use the word {keyword1} once, {keyword2} twice, {keyword3} three times, {keyword4} five times "
    "and {keyword5} seven times.",
)
score_only(
    "ratio:stop_words",
    _stop_word_share,
    arguments.decimal("percentage"),
    wording="At most {percentage}% of your words may be stop words.",
)
score_only("ratio:sentence_type", _two_to_one, wording="Use two declarative sentences for every question.")
score_only("ratio:sentence_balance", _balanced, wording="Use as many statements as questions and as many exclamations.")
score_only(
    "ratio:overlap",
    _trigram_overlap,
    arguments.text("reference_text"),
    arguments.decimal("percentage"),
    wording="Keep a trigram overlap of {percentage}% (within 2 points) with this text: {reference_text}",
)
score_only(
    "ratio:sentence_words",
    _equal_sentences,
    wording="Answer in three sentences of the same number of characters, all with different words.",
)
