"""Segmenters of the languages, each loaded on first use; what is not installed is said with its remedy."""

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any, NamedTuple

from spar_core.constraints import nltk_data
from spar_core.errors import DataError

SPANISH_MODEL = "es_core_news_sm"
OTHER_MODEL = "xx_sent_ud_sm"
# What Punkt's French model does not know and M-IFEval adds to it, as far as it can be met: an abbreviation is looked up
# as one word in lower case, without its last full stop.
_FRENCH_ABBREVIATIONS = """
    m mr mme mlle dr dre drs dres prof pr cap lt etc cf vs rép i.e c.-à-d ex e.g apr av j.c j.-c a.d env janv fév mar
    avr juil sept oct nov déc svp p.v tél adj q.v p resp tel v vol nb n.b p.s ps p.p.s p.-s p-s
"""


class CheckUnavailableError(DataError):
    """A check needs something that is not on this machine: the instruction has no verdict."""

    reason = "check_unavailable"


_PACKAGES = {
    "emoji": ("multi_if:length_constraints:number_words",),
    "janome": (
        "ja:keywords:existence",
        "ja:keywords:frequency",
        "ja:keywords:forbidden_words",
        "ja:detectable_format:nominal_ending",
    ),
    "ja_sentence_segmenter": ("ja:length_constraints:number_sentences",),
    "spacy": (
        "es:length_constraints:number_words",
        "es:length_constraints:number_sentences",
        "es:change_case:capital_word_frequency",
        "es:special_character:tildes",
        "es:special_character:enie",
        "es:special_character:dieresis",
    ),
}


def require_packages(kinds: Iterable[str]) -> None:
    """See that the packages which the rules of these kinds need are installed.

    Raises:
        DataError: one is not.
    """
    met = set(kinds)
    for package, users in _PACKAGES.items():
        if not met.isdisjoint(users) and find_spec(package) is None:
            raise _missing(package)


def missing_part(kind: str) -> str:
    """What the rule of a kind lacks on this machine, so that it has no verdicts; empty where it lacks nothing.

    Raises:
        DataError: something that can be had is missing.
    """
    try:
        if kind == "es:length_constraints:number_sentences":
            trained_pipeline(SPANISH_MODEL)
        elif kind == "fr:length_constraints:number_sentences":
            french_sentences()
    except CheckUnavailableError as error:
        return str(error)
    return ""


class Token(NamedTuple):
    """A word of a Japanese text as it is written, and what kind of word it is (Janome's names, comma-separated)."""

    text: str
    part_of_speech: str


@lru_cache(maxsize=1)
def french_sentences() -> Callable[[str], list[str]]:
    """Sentences by NLTK's trained French Punkt, with more abbreviations.

    Raises:
        CheckUnavailableError: NLTK's data is there for other languages alone.
        DataError: it is missing.
    """
    nltk_data.require("punkt_tab")
    from nltk.tokenize.punkt import PunktTokenizer

    try:
        tokenizer = PunktTokenizer("french")
    except LookupError as error:
        raise CheckUnavailableError(
            "NLTK's resource punkt_tab is here without its folder `french`: python -m nltk.downloader punkt_tab"
        ) from error
    tokenizer._params.abbrev_types.update(_FRENCH_ABBREVIATIONS.split())
    found: Callable[[str], list[str]] = tokenizer.tokenize
    return found


@lru_cache(maxsize=1)
def spanish_tokens() -> Callable[[str], Any]:
    """spaCy's Spanish tokenizer: the rules alone, which are those of every trained Spanish pipeline.

    Raises:
        DataError: spaCy is not installed.
    """
    try:
        import spacy
    except ImportError as error:
        raise _missing("spacy") from error
    found: Callable[[str], Any] = spacy.blank("es")
    return found


@lru_cache(maxsize=2)
def trained_pipeline(name: str) -> Callable[[str], Any]:
    """A trained pipeline of spaCy.

    Raises:
        CheckUnavailableError: it is not installed; spaCy's pipelines are in no package index.
        DataError: spaCy is not installed.
    """
    try:
        import spacy
    except ImportError as error:
        raise _missing("spacy") from error
    try:
        found: Callable[[str], Any] = spacy.load(name)
    except OSError as error:
        raise CheckUnavailableError(
            f"spaCy's model {name} is not installed: python -m spacy download {name}"
        ) from error
    return found


@lru_cache(maxsize=1)
def japanese_tokenizer() -> Callable[[str], Any]:
    """Janome's tokenizer.

    Raises:
        DataError: Janome is not installed.
    """
    try:
        from janome.tokenizer import Tokenizer
    except ImportError as error:
        raise _missing("janome") from error
    found: Callable[[str], Any] = Tokenizer().tokenize
    return found


@lru_cache(maxsize=256)
def japanese_tokens(text: str) -> tuple[Token, ...]:
    """The words of a Japanese text.

    Raises:
        DataError: Janome is not installed.
    """
    return tuple(Token(found.surface, found.part_of_speech) for found in japanese_tokenizer()(text))


@lru_cache(maxsize=1)
def japanese_sentences() -> Callable[[str], Any]:
    """Sentences by ja_sentence_segmenter: normalised, cut at line ends (a line that ends in の goes on) and at 。!?.

    Raises:
        DataError: it is not installed.
    """
    try:
        from ja_sentence_segmenter.common.pipeline import make_pipeline
        from ja_sentence_segmenter.concatenate.simple_concatenator import concatenate_matching
        from ja_sentence_segmenter.normalize.neologd_normalizer import normalize
        from ja_sentence_segmenter.split.simple_splitter import split_newline, split_punctuation
    except ImportError as error:
        raise _missing("ja-sentence-segmenter") from error
    unfinished = r"^(?P<result>.+)(の)$"
    join = partial(concatenate_matching, former_matching_rule=unfinished, remove_former_matched=False)
    found: Callable[[str], Any] = make_pipeline(
        normalize, split_newline, join, partial(split_punctuation, punctuations=r"。!?")
    )
    return found


class Emoji(NamedTuple):
    """Counting and removing emoji, sequences of several characters as one."""

    count: Callable[[str], int]
    without: Callable[[str], str]


@lru_cache(maxsize=1)
def emoji_tools() -> Emoji:
    """What knows emoji.

    Raises:
        DataError: the emoji package is not installed.
    """
    try:
        import emoji
    except ImportError as error:
        raise _missing("emoji") from error
    return Emoji(emoji.emoji_count, lambda text: str(emoji.replace_emoji(text, "")))


def _missing(package: str) -> DataError:
    return DataError(f"multilingual benchmarks need the package {package}: pip install 'spar[multilingual]'")
