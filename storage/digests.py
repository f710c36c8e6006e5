"""A digest of a sequence of rows that can be computed piecewise and joined.

Row hashes are the coefficients of a polynomial over a prime field, so the digest of two sequences follows from the
digests of each: how a stage was cut into parts and batches plays no role, the order of its rows does.
"""

import hashlib
from typing import Any, NamedTuple, Self

from spar_core.hashing import ID_HEX_DIGITS, canonical_json, digest

_PRIME = 2**255 - 19
_BASE = int.from_bytes(hashlib.sha256(b"spar rows").digest(), "big") % _PRIME


class RowsDigest(NamedTuple):
    """Digest and number of rows of a sequence."""

    value: int = 0
    rows: int = 0

    def add(self, row: Any) -> Self:
        """The digest with one more row (a JSON-like value) at the end."""
        row_hash = int.from_bytes(hashlib.sha256(canonical_json(row).encode()).digest(), "big")
        return type(self)((self.value * _BASE + row_hash) % _PRIME, self.rows + 1)

    def join(self, after: Self) -> Self:
        """The digest of this sequence followed by another."""
        value = (self.value * pow(_BASE, after.rows, _PRIME) + after.value) % _PRIME
        return type(self)(value, self.rows + after.rows)

    def hex(self) -> str:
        """The digest as 64 hex digits, to store and to join later."""
        return f"{self.value:064x}"

    @classmethod
    def from_hex(cls, text: str, rows: int) -> Self:
        """The digest that `hex` wrote."""
        return cls(int(text, 16), rows)


def content_digest(tables: dict[str, RowsDigest], model_digest: str | None) -> str:
    """Digest of an artifact: of its rows by table, and of its model; an empty table counts like an absent one."""
    rows = sorted([name, entry.rows, entry.hex()] for name, entry in tables.items() if entry.rows)
    return digest([rows, model_digest])[:ID_HEX_DIGITS]
