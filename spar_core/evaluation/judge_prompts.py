"""The prompt texts that benchmarks put to their judges: package data or a user's files, filled in one pass."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from spar_core.errors import DataError

_FIELD = re.compile(r"\{\{([a-z_]+)\}\}")


def judge_text(name: str, folder: Path | None = None) -> str:
    """The text `NAME.txt`, of the package or of a folder, without its last newline.

    Raises:
        DataError: the folder has no such file, or it is not UTF-8.
    """
    if folder is None:
        return _shipped(name)
    try:
        return (folder / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder / name}.txt cannot be read ({error}); --judge-prompts needs it there") from error


@cache
def _shipped(name: str) -> str:
    return (files("spar_core") / "prompts" / "judges" / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n")


def fill(template: str, fields: Mapping[str, str]) -> str:
    """Put the values in place of `{{name}}`; values are never searched for fields.

    Raises:
        KeyError: the template names a field that is not given.
    """
    return _FIELD.sub(lambda match: fields[match.group(1)], template)
