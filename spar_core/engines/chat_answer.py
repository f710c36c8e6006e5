"""Reading what an OpenAI-compatible server sends back, and deciding what each failure means."""

import email.utils
import itertools
import re
from typing import Any

from spar_core.engines.base import Completion
from spar_core.errors import EngineError, RequestRejectedError
from spar_core.records import FinishReason
from spar_core.secrets import redacted_text

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
}
_TOO_LONG = re.compile(r"maximum (model|input) length|max_model_len|context length|too many (input )?tokens", re.I)
# vLLM's two wordings: beyond the whole context, and beyond what the prompt leaves of it.
_OUTPUT_LIMIT = re.compile(
    r"max_tokens(?:=\d+ cannot be greater than max_model_len=|.*too large.*\d+ > )"
    r"(?P<context>\d+)(?: - (?P<prompt>\d+))?",
    re.DOTALL,
)
_NO_SYSTEM_ROLE = re.compile(r"system role|roles must alternate|'system'|only user and assistant", re.I)
_RETRIED_STATUS = frozenset({408, 409, 425, 429})


class RetryableError(Exception):
    """This attempt failed in a way that another attempt may mend.

    `reason` names the rejection once attempts are used up (None: the server is to blame, not the request);
    `after_s` is how long the server asked to wait; `crashed` says that it failed while working on the request.
    """

    def __init__(self, message: str, reason: str | None = None, after_s: float = 0.0, crashed: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.after_s = after_s
        self.crashed = crashed


class OutputLimitError(Exception):
    """`max_tokens` is beyond what the server takes: `allowed` for this request, `context` for any."""

    def __init__(self, message: str, allowed: int, context: int) -> None:
        super().__init__(message)
        self.allowed = allowed
        self.context = context


class NoSystemRoleError(Exception):
    """The server's chat template refuses system messages."""


def read_answer(body: Any, wanted: int) -> tuple[list[Completion], int]:
    """Completions in order of their index, and the prompt's tokens (0 where the server does not say).

    Servers report the completion tokens of all choices together: they are shared out by text length.

    Returns fewer than `wanted` completions only if there is exactly one (a server that ignores `n`).

    Raises:
        RetryableError: not an answer at all, too few choices, or a choice without text.
        RequestRejectedError: a choice was withheld by a content filter.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        raise RetryableError("the answer has no choices", reason="malformed_answer")
    if len(choices) < wanted and len(choices) != 1:
        raise RetryableError(f"{len(choices)} choices instead of {wanted}", reason="malformed_answer")
    ordered = sorted(choices, key=lambda choice: choice["index"] if isinstance(choice.get("index"), int) else 0)
    read = [_read_choice(choice) for choice in ordered[:wanted]]
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    shares = _shares(_count(usage.get("completion_tokens")), [len(text) + 1 for text, _ in read])
    completions = [Completion(text, reason, share) for (text, reason), share in zip(read, shares, strict=True)]
    return completions, _count(usage.get("prompt_tokens"))


def check_status(status: int, headers: Any, body: Any, origin: str) -> None:
    """Let a 200 pass.

    Raises:
        RetryableError: overload or a fault of the server.
        NoSystemRoleError: the chat template takes no system message.
        OutputLimitError: fewer new tokens have to be asked for.
        RequestRejectedError: the request itself is refused.
        EngineError: address, key or model name are wrong, so no request can succeed.
    """
    if status == 200:
        return
    message, parameter, code = _error_fields(body)
    said = f"{origin} answered HTTP {status}" + (f": {redacted_text(message)[:300]}" if message else "")
    if status in _RETRIED_STATUS or status >= 500:
        raise RetryableError(said, after_s=_retry_after(headers.get("retry-after")), crashed=status == 500)
    if status in (401, 403):
        raise EngineError(f"{said}. The key is missing or wrong: set the environment variable that api_key_env names")
    if status == 404 or status < 400:
        raise EngineError(f"{said}. Check the address and the model name (GET {origin}/models lists what is served)")
    too_many = _OUTPUT_LIMIT.search(message)
    if too_many and parameter != "input_tokens":
        context = int(too_many["context"])
        raise OutputLimitError(said, context - int(too_many["prompt"] or 0), context)
    if parameter == "input_tokens" or code == "context_length_exceeded" or _TOO_LONG.search(message):
        raise RequestRejectedError(said, reason="prompt_too_long")
    if _NO_SYSTEM_ROLE.search(message):
        raise NoSystemRoleError(said)
    raise RequestRejectedError(said, reason=f"http_{status}")


def _read_choice(choice: dict[str, Any]) -> tuple[str, FinishReason]:
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        raise RequestRejectedError("the server's content filter withheld the answer", reason="content_filter")
    message = choice.get("message")
    if not isinstance(message, dict) or reason not in _FINISH:
        raise RetryableError(f"a choice without message or with finish_reason {reason!r}", reason="malformed_answer")
    text = message.get("content")
    if text is None:
        raise RetryableError("a choice without text", reason="empty_choice")
    if not isinstance(text, str):
        raise RetryableError("a choice whose content is not text", reason="malformed_answer")
    # Servers keep the space that a tokenizer puts before the first word; in-process decoding does not.
    return text.removeprefix(" "), _FINISH[reason]


def _error_fields(body: Any) -> tuple[str, str, str]:
    """Message, parameter and code of an error body, whatever of its shapes it has."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return str(error or ""), "", ""
    return tuple(str(error.get(name) or "") for name in ("message", "param", "code"))  # type: ignore[return-value]


def _retry_after(value: str | None) -> float:
    """Seconds a Retry-After header asks for, given as a number; a date counts from now."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    now = email.utils.localtime()
    return max(0.0, (moment - now).total_seconds()) if moment.tzinfo else 0.0


def _shares(total: int, sizes: list[int]) -> list[int]:
    """Split a total in proportion to sizes, exactly."""
    bounds = [0]
    for size in sizes:
        bounds.append(bounds[-1] + size)
    cuts = [total * bound // bounds[-1] for bound in bounds]
    return [after - before for before, after in itertools.pairwise(cuts)]


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
