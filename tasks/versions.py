"""Versions of what computed a result: noted in its manifest, in no key."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = ("spar", "torch", "transformers", "trl", "peft", "vllm", "nltk", "langdetect")


@cache
def library_versions() -> dict[str, str]:
    """By name; what is not installed beside this process is left out (a vLLM may live in an environment of its own)."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
