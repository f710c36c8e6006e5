"""What IFBench's rules know of language: emoji, syllables, stop words, parts of speech. Loaded on first use."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from spar_core.constraints import nltk_data
from spar_core.errors import DataError

# The first token's tag depends on the two tokens after it and on nothing further.
_TAG_WINDOW = 3


@lru_cache(maxsize=1)
def emoji_test() -> Callable[[str], bool]:
    """Whether a character is an emoji.

    Raises:
        DataError: the emoji package is not installed.
    """
    try:
        import emoji
    except ImportError as error:
        raise _missing("emoji") from error
    test: Callable[[str], bool] = emoji.is_emoji
    return test


@lru_cache(maxsize=1)
def syllable_counter() -> Callable[[str], int]:
    """Number of syllables of a word.

    Raises:
        DataError: the syllapy package is not installed.
    """
    try:
        import syllapy
    except ImportError as error:
        raise _missing("syllapy") from error
    counter: Callable[[str], int] = syllapy.count
    return counter


@lru_cache(maxsize=1)
def stop_words() -> frozenset[str]:
    """NLTK's English stop words.

    Raises:
        DataError: the NLTK data is missing.
    """
    nltk_data.require("stopwords")
    from nltk.corpus import stopwords

    return frozenset(stopwords.words("english"))


def first_tag(tokens: Sequence[str]) -> str:
    """Part of speech of the first token, by NLTK's perceptron tagger; "" for no tokens.

    Raises:
        DataError: the NLTK data is missing.
    """
    if not tokens:
        return ""
    return _tagger()(list(tokens[:_TAG_WINDOW]))[0][1]


@lru_cache(maxsize=1)
def _tagger() -> Callable[[list[str]], list[tuple[str, str]]]:
    nltk_data.require("averaged_perceptron_tagger_eng")
    from nltk.tag.perceptron import PerceptronTagger

    tag: Callable[[list[str]], list[tuple[str, str]]] = PerceptronTagger().tag
    return tag


def _missing(package: str) -> DataError:
    return DataError(f"IFBench needs the package {package}: pip install 'spar[bench]'")
