"""The language of a text as langdetect 1.0.9 gives it with seed 0, cached per text.

The detector is random unless seeded; its factory's seed is set here, before the first detection.
"""

from functools import lru_cache

from spar_core.errors import DataError

# The detector's languages; it says zh-cn or zh-tw and never zh, which prompts may still ask for.
_CODE_TEXT = """
    af ar bg bn ca cs cy da de el en es et fa fi fr gu he hi hr hu id it ja kn ko lt lv mk ml mr ne nl no pa pl pt
    ro ru sk sl so sq sv sw ta te th tl tr uk ur vi zh zh-cn zh-tw
"""
CODES = frozenset(_CODE_TEXT.split())
_CACHED_TEXTS = 2048
_CACHED_CHARACTERS = 20_000


def detect(text: str) -> str | None:
    """Language code, or None where the detector finds nothing to go by (no letters)."""
    return _remembered(text) if len(text) <= _CACHED_CHARACTERS else _detect(text)


@lru_cache(maxsize=_CACHED_TEXTS)
def _remembered(text: str) -> str | None:
    return _detect(text)


def _detect(text: str) -> str | None:
    try:
        from langdetect import DetectorFactory, LangDetectException
        from langdetect import detect as run_detector
    except ImportError as error:
        raise DataError("language checks need langdetect: pip install langdetect==1.0.9") from error
    DetectorFactory.seed = 0
    try:
        return str(run_detector(text))
    except LangDetectException:
        return None
