"""Completions held to choices: the tokens at which the choices part, and logits that leave a row no others."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from spar_core.engines.slot_table import Row
from spar_core.errors import RequestRejectedError


class Parting(NamedTuple):
    """What all choices begin with, prompt included, and the token by which each goes on from there."""

    prompt: tuple[int, ...]
    allowed: tuple[int, ...]


def parting(texts: Sequence[Sequence[int]]) -> Parting:
    """Where texts, one per choice as tokens, part.

    The first token that differs decides: what follows it in a choice is certain.

    Raises:
        RequestRejectedError: one token does not tell the choices apart.
    """
    shortest = min(map(len, texts))
    at = next((place for place in range(shortest) if len({text[place] for text in texts}) > 1), shortest)
    allowed = tuple(text[at] for text in texts if len(text) > at)
    if not at or len(set(allowed)) < len(texts):
        raise RequestRejectedError(
            "this model's tokenizer does not tell the choices apart by one token: name other words for the verdict "
            "(verdict.yes and verdict.no in the prompt set's format.yaml), or set method.judging.verdict=text",
            reason="choices",
        )
    return Parting(tuple(texts[0][:at]), allowed)


def hold_to_choices(logits: torch.Tensor, rows: Sequence[Row | None]) -> None:
    """Leave every row that has choices their tokens alone, in place, and note in it how the model shares them out.

    Args:
        logits: [rows, vocabulary].
        rows: which row each line is of.
    """
    alike: dict[int, list[tuple[int, Row]]] = {}
    for line, row in enumerate(rows):
        if row is not None and row.allowed:
            alike.setdefault(len(row.allowed), []).append((line, row))
    for group in alike.values():
        lines = torch.tensor([line for line, _ in group], device=logits.device)[:, None]
        tokens = torch.tensor([row.allowed for _, row in group], device=logits.device)
        kept = logits[lines, tokens]
        logits[lines[:, 0]] = float("-inf")
        logits[lines, tokens] = kept
        for (_, row), shares in zip(group, torch.softmax(kept.float(), -1).tolist(), strict=True):
            row.shares = tuple(shares)
