"""Reading what an OpenAI-compatible server sends back, and deciding what each failure means."""

import email.utils
import itertools
import math
import re
from collections.abc import Mapping
from typing import Any

from spar_core.engines import refusal_wordings as wordings
from spar_core.engines.base import Completion
from spar_core.engines.refusal_wordings import Room
from spar_core.engines.thoughts import Split, ThoughtRules
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
_THOUGHT_FIELDS = (
    "reasoning_content",
    "reasoning",
)  # vLLM's, SGLang's, DeepSeek's; OpenRouter's, and vLLM's since 0.11
_PASSING_STATUS = frozenset({408, 409, 425})
_TIMED_OUT_STATUS = frozenset({408, 504})
_BUSY_STATUS = frozenset({429, 503})
_NO_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|billing", re.I)


class RetryableError(Exception):
    """This attempt failed in a way that another attempt may mend.

    `reason` names the rejection once attempts are used up (None: the server is to blame, not the request);
    `crashed` says that it failed while working on the request, `timed_out` that it took too long.
    """

    def __init__(
        self, message: str, reason: str | None = None, *, crashed: bool = False, timed_out: bool = False
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.crashed = crashed
        self.timed_out = timed_out


class BusyError(RetryableError):
    """The server has too much to do; `after_s` is how long it wants to be left alone (0: it does not say)."""

    def __init__(self, message: str, after_s: float, status: int) -> None:
        super().__init__(message)
        self.after_s = after_s
        self.status = status


class OutputLimitError(Exception):
    """`max_tokens` is beyond what the server takes."""

    def __init__(self, message: str, room: Room) -> None:
        super().__init__(message)
        self.room = room


class NoSystemRoleError(Exception):
    """The server's chat template refuses system messages."""


class RefusedFieldError(Exception):
    """The server does not take a field of the request at all."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


def read_answer(body: Any, wanted: int, rules: ThoughtRules) -> tuple[list[Completion], int]:
    """Completions in order of their index, and the prompt's tokens (0 where the server does not say).

    Servers report the completion tokens of all choices together: they are shared out by the length of thought and text.
    Where a server tells the thought apart, `rules` are not needed.

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
    read = [_read_choice(choice, rules) for choice in ordered[:wanted]]
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    sizes = [len(split.thought) + len(split.text) + 1 for split, _ in read]
    shares = _shares(_count(usage.get("completion_tokens")), sizes)
    completions = [
        Completion(split.text, reason, share, split.thought)
        for (split, reason), share in zip(read, shares, strict=True)
    ]
    return completions, _count(usage.get("prompt_tokens"))


def is_passing(status: int) -> bool:
    """Whether another attempt may fare better."""
    return status in _BUSY_STATUS or status in _PASSING_STATUS or status >= 500


def check_status(status: int, headers: Mapping[str, str], body: Any, origin: str, extra: tuple[str, ...] = ()) -> None:
    """Let a 200 pass. `extra` names the further fields that were sent.

    Raises:
        BusyError: the server asks to wait (429, 503).
        RetryableError: a fault of the server.
        NoSystemRoleError: the chat template takes no system message.
        OutputLimitError: fewer new tokens have to be asked for.
        RefusedFieldError: the server does not take one of the request's fields.
        RequestRejectedError: the request itself is refused; for good only where its content is the reason.
        EngineError: address, key, account or model name are wrong, so no request can succeed.
    """
    if status == 200:
        return
    message, parameter, code = error_fields(body)
    said = f"{origin} answered HTTP {status}" + (f": {redacted_text(message)[:300]}" if message else "")
    if status == 402 or (status == 429 and _NO_QUOTA.search(f"{code} {message}")):
        raise EngineError(f"{said}. The account has no quota left: top it up, or use another key")
    if status in _BUSY_STATUS:
        raise BusyError(said, retry_after(headers.get("Retry-After")), status)
    if is_passing(status):
        raise RetryableError(said, crashed=status == 500, timed_out=status in _TIMED_OUT_STATUS)
    if status in (401, 403):
        raise EngineError(f"{said}. The key is missing or wrong: set the environment variable that api_key_env names")
    if status in (404, 405) or status < 400 or parameter == "model" or code == "model_not_found":
        raise EngineError(f"{said}. Check the address and the model name (GET {origin}/models lists what is served)")
    _check_refusal(status, said, body, extra)


def _check_refusal(status: int, said: str, body: Any, extra: tuple[str, ...]) -> None:
    """What a 4xx is about: the length of the prompt, its content, a field, or nobody knows."""
    message, parameter, code = error_fields(body)
    found = wordings.room(message)
    if found is not None:
        raise OutputLimitError(said, found)
    if status == 413 or wordings.is_too_long(message, parameter, code):
        raise RequestRejectedError(said, reason="prompt_too_long")
    if wordings.is_filtered(message, code):
        raise RequestRejectedError(said, reason="content_filter")
    if wordings.is_without_system_role(message):
        raise NoSystemRoleError(said)
    field = wordings.refused_field(f"{message} {code}", parameter, extra)
    if field is not None:
        raise RefusedFieldError(said, field)
    raise RequestRejectedError(said, reason=f"http_{status}", permanent=False)


def _read_choice(choice: dict[str, Any], rules: ThoughtRules) -> tuple[Split, FinishReason]:
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        raise RequestRejectedError("the server's content filter withheld the answer", reason="content_filter")
    message = choice.get("message")
    if not isinstance(message, dict) or reason not in _FINISH:
        raise RetryableError(f"a choice without message or with finish_reason {reason!r}", reason="malformed_answer")
    content = message.get("content")
    said = [message[name] for name in _THOUGHT_FIELDS if isinstance(message.get(name), str)]
    if isinstance(content, list):  # Mistral's
        said.append(_text_of(content, "thinking"))
        content = _text_of(content, "text") or None
    thought: str = next(filter(None, said), "")
    if content is None and (thought or _FINISH[reason] == "length"):
        content = ""  # it ended while the model still thought: this sample is empty, not the request
    if content is None:
        raise RetryableError("a choice without text", reason="empty_choice")
    if not isinstance(content, str):
        raise RetryableError("a choice whose content is not text", reason="malformed_answer")
    split = Split(thought.strip(), content.lstrip()) if thought else rules.split(content)
    return split, _FINISH[reason]


def _text_of(parts: list[Any], kind: str) -> str:
    """The text of a message's parts of one kind, which may be made of parts themselves."""
    found = [part.get(kind) for part in parts if isinstance(part, dict) and part.get("type") == kind]
    return "".join(_text_of(said, "text") if isinstance(said, list) else str(said or "") for said in found)


def error_fields(body: Any) -> tuple[str, str, str]:
    """Message, parameter and code of an error body, whatever of its shapes it has."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]  # Google's
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return str(error or ""), "", ""
    message, parameter, code = (error.get(name) or "" for name in ("message", "param", "code"))
    if isinstance(message, dict):
        message = wordings.validation_text(message.get("detail"))  # Mistral's
    return str(message or wordings.validation_text(error.get("detail"))), str(parameter), str(code)


def retry_after(value: str | None) -> float:
    """Seconds a Retry-After header asks for, given as a number; a date counts from now. 0: it asks for nothing."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        return _until(value)
    return seconds if 0 < seconds < math.inf else 0.0


def _until(date: str) -> float:
    try:
        moment = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return 0.0
    return max(0.0, (moment - email.utils.localtime()).total_seconds()) if moment.tzinfo else 0.0


def _shares(total: int, sizes: list[int]) -> list[int]:
    """Split a total in proportion to sizes, exactly."""
    bounds = [0]
    for size in sizes:
        bounds.append(bounds[-1] + size)
    cuts = [total * bound // bounds[-1] for bound in bounds]
    return [after - before for before, after in itertools.pairwise(cuts)]


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
