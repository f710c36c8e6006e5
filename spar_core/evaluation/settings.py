"""How a benchmark's prompts were answered, as it stands beside the scores.

The standard is one greedy answer of at most 2,048 tokens, without a system text, under the model's own chat template:
its measurements have the empty text (self-play's held-out prompts have a standard of their own: the configuration's).
Any other has a JSON object of what is not standard, so that measurements under
different settings are never taken for one another.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from spar_core.engines.chat_format import is_template_text
from spar_core.hashing import canonical_json, digest

STANDARD: Final[Mapping[str, Any]] = {"temperature": 0.0, "top_p": 1.0, "samples": 1, "max_tokens": 2048}
_NAMES = {
    "temperature": "temperature {}",
    "top_p": "top_p {}",
    "samples": "{} samples",
    "seed": "seed {}",
    "max_tokens": "at most {} tokens",
    "system": "system text “{}”",
    "chat_template": "chat template {}",
}
_LONGEST_SHOWN = 40  # characters of a text; the whole is in the JSON


def settings_text(values: Mapping[str, Any], standard: Mapping[str, Any] = STANDARD) -> str:
    """Canonical JSON of what is not standard; empty where everything is. Null values count as not said."""
    other = {name: value for name, value in values.items() if value is not None and standard.get(name) != value}
    return canonical_json(other) if other else ""


def settings_words(text: str) -> str:
    """`temperature 0.7, 5 samples, seed 42`; empty for the standard."""
    if not text:
        return ""
    values: dict[str, Any] = json.loads(text)
    ordered = [name for name in _NAMES if name in values] + [name for name in values if name not in _NAMES]
    return ", ".join(_NAMES.get(name, f"{name} {{}}").format(_shown(values[name])) for name in ordered)


def template_name(template: str) -> str:
    """What a chat template is called in settings: a name as it is, a text by its digest."""
    return f"text {digest(['chat template', template])[:12]}" if is_template_text(template) else template


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[: _LONGEST_SHOWN - 1]}…"
