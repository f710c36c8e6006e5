"""Runs and model versions that are kept whatever their age: `spar gc --pin`."""

from typing import NamedTuple

from storage.disk import read_json
from storage.home import Home


class Pins(NamedTuple):
    """What is pinned: run ids, and model versions as `name/version`."""

    runs: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()

    @classmethod
    def of(cls, home: Home) -> "Pins":
        """The pins of a home."""
        known = read_json(home.pins_file) or {}
        return cls(frozenset(known.get("runs", ())), frozenset(known.get("models", ())))

    @staticmethod
    def is_damaged(home: Home) -> bool:
        """Whether there are pins that cannot be read."""
        return home.pins_file.exists() and read_json(home.pins_file) is None

    def write(self, home: Home) -> None:
        """Make these the pins of a home.

        Raises:
            StorageError: the home cannot be written.
        """
        home.share_json(home.pins_file, {"runs": sorted(self.runs), "models": sorted(self.models)})
