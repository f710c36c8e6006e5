"""A teacher for `tests.chat_server`: it answers, judges and rewrites by the text of the request alone.

It approves of what it has mended itself, and of a base answer of the scripted model whose seed is a multiple of three.
"""

import re

from spar_core.roles import format_rewrite
from tests.integration.scripted_model import kind_of_text

_BASE = re.compile(r"answer (\d+) \d+")
MENDED = "mended"


def teach(text: str) -> str:
    kind = kind_of_text(text)
    if kind == "refine":
        return format_rewrite(f"{MENDED} {found.group(0)}" if (found := _BASE.search(text)) else MENDED)
    if kind == "judge":
        return f"Looked at it.\nFinal verdict: {'YES' if approves(text) else 'NO'}"
    return f"taught: {text}"


def approves(text: str) -> bool:
    found = _BASE.search(text)
    return MENDED in text or (found is not None and int(found.group(1)) % 3 == 0)
