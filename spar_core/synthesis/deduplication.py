"""Dropping prompts that repeat an earlier one: the same text, or nearly the same.

Equal means equal after Unicode, case and white-space normalisation. Near means a Jaccard similarity of
the sets of five-character pieces at or above a threshold: candidates come from a MinHash index, each is
then measured exactly. The first of a group of twins is kept.
"""

import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spar_core.errors import ConfigError
from spar_core.hashing import content_id
from spar_core.records import Drop, Prompt

STAGE = "deduplicate"
EXACT = "exact_duplicate"
NEAR = "near_duplicate"
_PIECE = 5  # characters; short enough for prompts of ten words, and needs no word boundaries
_PERMUTATIONS = 128
_FAVOUR_RECALL = (0.1, 0.9)  # false candidates only cost a comparison, missed ones are lost
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads sums of code points


class Deduplication(NamedTuple):
    """Kept prompts in their order, and a drop per twin whose detail is the id of the kept prompt."""

    kept: tuple[Prompt, ...]
    drops: tuple[Drop, ...]


def deduplicate(prompts: Iterable[Prompt], near: float | None = None, earlier: Iterable[Prompt] = ()) -> Deduplication:
    """Keep the first of equal (and, with `near`, of similar) prompts.

    Args:
        prompts: in the order in which earlier ones win.
        near: Jaccard similarity in (0, 1] at or above which a prompt is a twin; None compares whole texts only.
        earlier: prompts that were used before, such as those of earlier iterations: they win, and are not kept again.

    Raises:
        ConfigError: `near` out of range.
    """
    if near is not None and not 0.0 < near <= 1.0:
        raise ConfigError(f"near-duplicate similarity is {near}; it must lie above 0 and at most at 1")
    kept: list[Prompt] = []
    drops: list[Drop] = []
    exact: dict[str, str] = {}
    index = None if near is None else _NearIndex(near)
    for known in earlier:
        text = normalised(known.text)
        exact.setdefault(content_id("text", text), known.prompt_id)
        if index is not None:
            index.twin_or_add(known.prompt_id, text)
    for prompt in prompts:
        text = normalised(prompt.text)
        key = content_id("text", text)
        if key in exact:
            drops.append(Drop(STAGE, prompt.prompt_id, EXACT, exact[key]))
        elif index is not None and (twin := index.twin_or_add(prompt.prompt_id, text)) is not None:
            drops.append(Drop(STAGE, prompt.prompt_id, NEAR, twin))
        else:
            exact[key] = prompt.prompt_id
            kept.append(prompt)
    return Deduplication(tuple(kept), tuple(drops))


def normalised(text: str) -> str:
    """Compatibility characters unified, case folded, runs of white space as one blank, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


class _NearIndex:
    """Kept texts, found again by similarity."""

    def __init__(self, threshold: float) -> None:
        from datasketch import MinHash, MinHashLSH

        self._threshold = threshold
        self._index: Any = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, weights=_FAVOUR_RECALL)
        self._empty: Any = MinHash(num_perm=_PERMUTATIONS, hashfunc=int)  # the pieces arrive hashed
        self._pieces: list[NDArray[np.uint32]] = []
        self._ids: list[str] = []

    def twin_or_add(self, prompt_id: str, text: str) -> str | None:
        """Id of the first kept text that is similar enough; else None, and the text is kept."""
        pieces = _hashed_pieces(text)
        sketch = self._empty.copy()
        sketch.update_batch(pieces.tolist())
        candidates: list[int] = sorted(self._index.query(sketch))
        for position in candidates:
            if _jaccard(pieces, self._pieces[position]) >= self._threshold:
                return self._ids[position]
        self._index.insert(len(self._ids), sketch, check_duplication=False)
        self._pieces.append(pieces)
        self._ids.append(prompt_id)
        return None


def _hashed_pieces(text: str) -> NDArray[np.uint32]:
    """Distinct 32-bit hashes of all pieces of the text, sorted; shape (pieces,). A shorter text is one piece."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    width = min(_PIECE, len(points))
    mixed = np.zeros(max(len(points) - width + 1, 1), np.uint64)
    for offset in range(width):
        mixed = (mixed ^ points[offset : offset + len(mixed)]) * _MULTIPLIER
        mixed ^= mixed >> np.uint64(29)
    return np.unique((mixed >> np.uint64(32)).astype(np.uint32))


def _jaccard(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> float:
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)
