"""The language of a text: the answer of langdetect 1.0.9 with seed 0, cached per text and several times as fast.

Profiles, character normalisation and every number are langdetect's. What differs is the work: n-grams
are remembered per word instead of gathered per character, languages are updated as one vector, and the
seven seeded trials end as soon as the remaining ones cannot change the winner.
"""

import json
import re
import threading
from collections import Counter
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spar_core.errors import DataError

# The detector's languages; it says zh-cn or zh-tw and never zh, which prompts may still ask for.
_CODE_TEXT = """
    af ar bg bn ca cs cy da de el en es et fa fi fr gu he hi hr hu id it ja kn ko lt lv mk ml mr ne nl no pa pl pt
    ro ru sk sl so sq sv sw ta te th tl tr uk ur vi zh zh-cn zh-tw
"""
CODES = frozenset(_CODE_TEXT.split())
SEED = 0
_CACHED_TEXTS = 2048
_CACHED_CHARACTERS = 20_000
_CACHED_WORDS = 200_000
_SPACES = re.compile(" +")
_ROUNDING = 1e-9

_loading = threading.Lock()


def detect(text: str) -> str | None:
    """Language code, or None where the detector finds nothing to go by (no letters).

    Raises:
        DataError: langdetect is not installed.
    """
    return _remembered(text) if len(text) <= _CACHED_CHARACTERS else _detector().detect(text)


@lru_cache(maxsize=_CACHED_TEXTS)
def _remembered(text: str) -> str | None:
    return _detector().detect(text)


def _detector() -> "_Detector":
    with _loading:
        return _load()


@lru_cache(maxsize=1)
def _load() -> "_Detector":
    return _Detector()


class _Normalised(dict[int, str]):
    """Normalised characters by code point, filled as they occur (for `str.translate`)."""

    def __init__(self, normalise: Any) -> None:
        super().__init__()
        self._normalise = normalise

    def __missing__(self, code: int) -> str:
        self[code] = str(self._normalise(chr(code)))
        return self[code]


class _Detector:
    """Repeats langdetect's `Detector.detect` step by step; method names follow its steps."""

    def __init__(self) -> None:
        try:
            from langdetect import PROFILES_DIRECTORY
            from langdetect.detector import Detector
            from langdetect.utils.ngram import NGram
            from langdetect.utils.unicode_block import unicode_block
        except ImportError as error:
            raise DataError("language checks need langdetect: pip install langdetect==1.0.9") from error
        files = sorted(entry for entry in Path(PROFILES_DIRECTORY).iterdir() if not entry.name.startswith("."))
        self._profiles: list[dict[str, Any]] = [json.loads(entry.read_text("utf-8")) for entry in files]
        self._languages: list[str] = [profile["name"] for profile in self._profiles]
        self._known: frozenset[str] = frozenset().union(*(profile["freq"] for profile in self._profiles))
        self._original = Detector
        self._compose_vietnamese = NGram.normalize_vi
        self._block = unicode_block
        self._normalised = _Normalised(NGram.normalize)
        self._vectors: dict[str, NDArray[np.float64]] = {}
        self._word_grams: dict[str, tuple[str, ...]] = {}

    def detect(self, text: str) -> str | None:
        """Language code; None where no n-gram of the text is known."""
        grams = self._grams(self._cleaned(text))
        if not grams:
            return None
        totals = self._totals(grams)
        best = int(totals.argmax())  # the first of equals, as the original's stable sort gives
        return self._languages[best] if totals[best] > self._original.PROB_THRESHOLD else "unknown"

    def _cleaned(self, text: str) -> str:
        """Without addresses and repeated blanks, cut to the length limit, without Latin letters in other scripts."""
        text = self._original.URL_RE.sub(" ", text)
        text = self._original.MAIL_RE.sub(" ", text)
        text = _SPACES.sub(" ", self._compose_vietnamese(text)[:10_000])
        if text.isascii():
            return text
        latin = other = 0
        for character, count in Counter(text).items():
            if "A" <= character <= "z":
                latin += count
            elif character >= "\u0300" and self._block(character) != "Latin Extended Additional":
                other += count
        return re.sub("[A-z]", "", text) if latin * 2 < other else text

    def _grams(self, text: str) -> list[str]:
        """Known n-grams of 1 to 3 characters in order of occurrence; a word's end counts where a blank follows."""
        words = text.translate(self._normalised).split(" ")
        grams: list[str] = []
        for word in words[:-1]:
            grams.extend(self._grams_of(word + " "))
        grams.extend(self._grams_of(words[-1]))
        return grams

    def _grams_of(self, word: str) -> tuple[str, ...]:
        known = self._word_grams.get(word)
        if known is None:
            if len(self._word_grams) >= _CACHED_WORDS:
                self._word_grams.clear()
            known = self._word_grams[word] = tuple(self._extract(word))
        return known

    def _extract(self, word: str) -> list[str]:
        if not word.strip(" "):
            return []
        grams: list[str] = []
        padded = " " + word
        for end in range(2, len(padded) + 1):
            if padded[end - 1].isupper() and padded[end - 2].isupper():
                continue  # inside a word in capitals
            for size in (1, 2, 3):
                gram = padded[max(0, end - size) : end]
                if len(gram) == size and gram != " " and gram in self._known:
                    grams.append(gram)
        return grams

    def _totals(self, grams: list[str]) -> NDArray[np.float64]:
        """Mean probability per language over the trials, shape (languages,); stops when the winner is certain."""
        settings = self._original
        trials = 7
        rng = Random()
        rng.seed(SEED)
        totals = np.zeros(len(self._languages))
        for done in range(1, trials + 1):
            probabilities = np.full(len(self._languages), 1.0 / len(self._languages))
            alpha = settings.ALPHA_DEFAULT + rng.gauss(0.0, 1.0) * settings.ALPHA_WIDTH
            weight = alpha / settings.BASE_FREQ
            for step in range(settings.ITERATION_LIMIT + 1):
                probabilities *= weight + self._vector(rng.choice(grams))
                if step % 5 == 0:
                    probabilities /= sum(probabilities.tolist())
                    if probabilities.max() > settings.CONV_THRESHOLD:
                        break
            totals += probabilities / trials
            second, first = np.partition(totals, -2)[-2:]
            if first - second > (trials - done) / trials + _ROUNDING and first > settings.PROB_THRESHOLD:
                break
        return totals

    def _vector(self, gram: str) -> NDArray[np.float64]:
        vector = self._vectors.get(gram)
        if vector is None:
            size = len(gram) - 1
            shares = [profile["freq"].get(gram, 0) / profile["n_words"][size] for profile in self._profiles]
            vector = self._vectors[gram] = np.array(shares)
        return vector
