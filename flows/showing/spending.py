"""What a run has spent, in words: while it goes on, at its end and afterwards."""

from collections.abc import Mapping
from typing import Any

from spar_core.config.budget import BudgetConfig
from spar_core.engines.placement import visible_gpus
from storage.entries import Spent

_HOUR_S = 3600.0


def gpus_held(config: Mapping[str, Any]) -> int:
    """GPUs that a run keeps busy or waiting: the visible ones of this machine, times its machines; 0 on a CPU."""
    nodes = config.get("training", {}).get("launch", {}).get("nodes", 1)
    return len(visible_gpus()) * int(nodes)


def spent_shown(spent: Spent, budget: BudgetConfig) -> str:
    """`34,120 tokens (57 % of budget.tokens), 0.21 h, 1.7 GPU hours, price 3.40`."""
    tokens, hours = f"{spent.tokens:,} tokens", f"{spent.seconds / _HOUR_S:.2f} h"
    if budget.tokens is not None:
        tokens += f" ({spent.tokens / budget.tokens:.0%} of budget.tokens)"
    if budget.hours is not None:
        hours += f" ({spent.seconds / _HOUR_S / budget.hours:.0%} of budget.hours)"
    parts = [tokens, hours]
    if spent.gpu_seconds:
        parts.append(f"{spent.gpu_seconds / _HOUR_S:.2f} GPU hours")
    if spent.gpu_seconds and budget.price_per_gpu_hour is not None:
        parts.append(f"price {_price(spent, budget):,.2f}")
    return ", ".join(parts)


def spent_plain(spent: Spent, budget: BudgetConfig) -> dict[str, float | None]:
    """The same as JSON-like values."""
    return {
        "tokens_read": spent.read,
        "tokens_written": spent.written,
        "hours": round(spent.seconds / _HOUR_S, 4),
        "gpu_hours": round(spent.gpu_seconds / _HOUR_S, 4),
        "price": None if budget.price_per_gpu_hour is None else round(_price(spent, budget), 2),
    }


def _price(spent: Spent, budget: BudgetConfig) -> float:
    return spent.gpu_seconds / _HOUR_S * (budget.price_per_gpu_hour or 0.0)
