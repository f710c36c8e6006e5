"""The method that the docstring of `spar_core.methods.plugin` shows, as its code and as the object."""

from textwrap import dedent
from typing import Any

from spar_core.methods import plugin
from spar_core.methods.plugin import Method


def plugged_in_code() -> str:
    """A module that holds `METHOD`."""
    shown, _, _ = (plugin.__doc__ or "").partition("\n\n")[2].partition("    # pyproject.toml")
    return dedent(shown)


def plugged_in_example() -> Method:
    """The object."""
    names: dict[str, Any] = {}
    exec(plugged_in_code(), names)
    found: Method = names["METHOD"]
    return found
