"""How values are written on pages."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.settings import settings_words

_NONE = "\u2013"


def percent(value: float | None, digits: int = 1) -> str:
    """`72.1`, of a fraction; a dash for none."""
    return _NONE if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def bounds(row: Mapping[str, Any]) -> str:
    """`[70.3, 73.9]` of a row with `ci_low` and `ci_high`, in percent."""
    if row.get("ci_low") is None or math.isnan(row["ci_low"]):
        return ""
    return Estimate(row["value"], row["ci_low"], row["ci_high"], row["n"]).bounds()


def count(value: float | None) -> str:
    """`12,345`; a dash for none."""
    return _NONE if value is None else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`; a dash for none."""
    if value is None:
        return _NONE
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def when(value: datetime | None) -> str:
    """`2026-03-01 12:30:05`, UTC; a dash for none."""
    return _NONE if value is None else value.strftime("%Y-%m-%d %H:%M:%S")


def short(value: str | None, length: int = 8) -> str:
    """The start of an id, enough to tell it from others by eye."""
    return _NONE if value is None else value[:length]


def parsed(value: str | None) -> Any:
    """What a column of JSON text holds; None where it holds none."""
    try:
        return json.loads(value or "null")
    except json.JSONDecodeError:
        return None


def snippet(text: str | None, length: int = 140) -> str:
    """The beginning of a text on one line."""
    line = " ".join((text or "").split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def told(detail: str | None) -> str:
    """An item's detail on one line: what it says by name, where it is an object; what it broke first."""
    values = parsed(detail)
    if not isinstance(values, dict):
        return detail or ""
    shown = {name: value for name, value in values.items() if name not in ("kinds", "source", "judge_text")}
    broken = shown.pop("broken", None)
    said = [] if broken is None else [f"broken: {', '.join(map(str, broken))}" if broken else "all kept"]
    return "; ".join([*said, *(f"{name}: {value}" for name, value in shown.items())])


FILTERS: dict[str, Callable[..., Any]] = {
    "percent": percent,
    "bounds": bounds,
    "count": count,
    "seconds": seconds,
    "when": when,
    "short": short,
    "parsed": parsed,
    "snippet": snippet,
    "settings": settings_words,
    "told": told,
}
