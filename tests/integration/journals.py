"""What the journals of a home hold, whenever their writer was killed."""

import sqlite3
from contextlib import closing
from pathlib import Path


def journaled_keys(folder: Path) -> set[str]:
    """Keys of the answers under a folder; a journal whose writer was killed before it made the table has none."""
    keys: set[str] = set()
    for file in folder.rglob("*.sqlite"):
        with closing(sqlite3.connect(file)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone():
                keys.update(key for (key,) in connection.execute("SELECT key FROM answers"))
    return keys
