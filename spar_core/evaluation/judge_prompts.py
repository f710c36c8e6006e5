"""The prompt texts that benchmarks put to their judges: package data, filled in one pass."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_FIELD = re.compile(r"\{\{([a-z_]+)\}\}")


@cache
def judge_text(name: str) -> str:
    """The text `prompts/judges/NAME.txt` without its last newline."""
    return (files("spar_core") / "prompts" / "judges" / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n")


def fill(template: str, fields: Mapping[str, str]) -> str:
    """Put the values in place of `{{name}}`; values are never searched for fields.

    Raises:
        KeyError: the template names a field that is not given.
    """
    return _FIELD.sub(lambda match: fields[match.group(1)], template)
