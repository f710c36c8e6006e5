"""Where a search starts: `spar_core.records.Root`, a record because it is also a table."""

from spar_core.records import Root

__all__ = ["Root"]
