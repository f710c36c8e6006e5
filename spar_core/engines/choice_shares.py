"""The probabilities of a request's choices, out of the log-probabilities that a server tells of the first token."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from spar_core.engines.base import Completion


def with_shares(completions: list[Completion], body: Any, choices: Sequence[str]) -> list[Completion]:
    """The completions, each with how likely the choices were among themselves, where the answer says so.

    A choice that is not among the likeliest tokens that are told has the share 0: it is smaller than theirs.

    Args:
        completions: of one answer, in order of their index.
        body: the answer, as a chat-completion server writes it.
        choices: what the completions were held to.
    """
    told = sorted(body["choices"], key=lambda choice: choice["index"] if isinstance(choice.get("index"), int) else 0)
    return [
        dataclasses.replace(completion, shares=_shares(choice, choices))
        for completion, choice in zip(completions, told, strict=False)
    ]


def _shares(choice: dict[str, Any], choices: Sequence[str]) -> tuple[float, ...]:
    try:
        likely = [(str(entry["token"]), float(entry["logprob"])) for entry in _first_token(choice)["top_logprobs"]]
    except (KeyError, TypeError, ValueError, IndexError):
        return ()
    weights = [0.0] * len(choices)
    for token, logprob in likely:
        meant = [place for place, word in enumerate(choices) if _begins(word, token)]
        if len(meant) == 1 and math.isfinite(logprob):
            weights[meant[0]] += math.exp(logprob)
    total = sum(weights)
    return tuple(weight / total for weight in weights) if total else ()


def _first_token(choice: dict[str, Any]) -> dict[str, Any]:
    """The first token that says anything: a space of its own may stand before it."""
    tokens: list[dict[str, Any]] = choice["logprobs"]["content"]
    return next(token for token in [*tokens, {}] if not token or str(token["token"]).strip())


def _begins(word: str, token: str) -> bool:
    return bool(token.strip()) and word.strip().startswith(token.strip())
