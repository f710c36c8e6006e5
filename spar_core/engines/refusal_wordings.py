"""What servers write when a request does not fit: wordings of full contexts and of fields they do not take.

The wordings are those of vLLM 0.4 to 0.33, SGLang 0.4 and 0.5, TGI 2 and 3, llama.cpp, OpenAI, Azure, OpenRouter,
Mistral, Groq, xAI, Together, Google, Bedrock, DashScope and DeepSeek; a server behind a gateway is quoted by it, so
they are searched for anywhere in the message.
"""

import re
from typing import Any, NamedTuple


class Room(NamedTuple):
    """How many new tokens fit: `allowed` for this request, `context` for any."""

    allowed: int
    context: int


# Named groups: `context` counts prompt and answer, `prompt` the prompt, `asked` the new tokens; `answer` is a limit of
# new tokens alone. Where `at_least` matches, the server stopped counting the prompt: it may be longer.
_ROOM = tuple(
    re.compile(pattern, re.I | re.S)
    for pattern in (
        # OpenAI, DeepSeek, vLLM up to 0.8
        r"maximum context length is (?P<context>\d+) tokens.{0,40}requested \d+ tokens "
        r"\((?P<prompt>\d+) in (?:the messages|your prompt)[,;] (?:\d+ in the functions[,;] )?"
        r"(?P<asked>\d+) (?:in|for) the completion",
        # vLLM 0.9 to 0.11
        r"max_(?:completion_)?tokens.{0,40}is too large: (?P<asked>\d+).*context length is (?P<context>\d+)"
        r"(?: tokens and your request has (?P<prompt>\d+))?",
        # vLLM 0.12 and later
        r"You passed (?P<prompt>\d+) input tokens and requested (?P<asked>\d+) output tokens.*"
        r"context length is only (?P<context>\d+)",
        r"maximum context length is (?P<context>\d+) tokens.{0,40}requested (?P<asked>\d+) output tokens and your "
        r"prompt contains (?P<at_least>at least )?(?P<prompt>\d+) input tokens",
        r"max_(?:completion_)?tokens=(?P<asked>\d+) cannot be greater than max_model_len=(?:max_total_tokens=)?"
        r"(?P<context>\d+)",
        # SGLang
        r"maximum context length of (?P<context>\d+) tokens.*: (?P<prompt>\d+) tokens from the input messages and "
        r"(?P<asked>\d+) tokens for the completion",
        # TGI
        r"`inputs` tokens \+ `max_new_tokens` must be <= (?P<context>\d+)\. Given: (?P<prompt>\d+) `inputs` tokens and "
        r"(?P<asked>\d+)",
        # OpenRouter
        r"maximum context length is (?P<context>\d+) tokens.{0,40}requested about \d+ tokens "
        r"\((?P<prompt>\d+) of (?:the )?text input, (?:\d+ of tool input, )?(?P<asked>\d+) in the output",
        # Anthropic
        r"exceed context limit: (?P<prompt>\d+) \+ (?P<asked>\d+) > (?P<context>\d+)",
        # TGI
        r"`max_new_tokens` must be <= (?P<answer>\d+)\. Given: \d+",
        # OpenAI, SGLang
        r"max_(?:completion_)?tokens is too large: (?P<asked>\d+).*at most (?P<answer>\d+) completion tokens",
    )
)
_TOO_LONG = re.compile(
    r"maximum (allowed )?(model|input|context|prompt) length|max_model_len|context[ _](length|window|size|limit)"
    r"|too many (input )?tokens|`inputs` must have less than|prompt is too long|longer than the model"
    r"|(input|prompt).{0,40}too (long|large)|reduce the length of the (messages|input|prompt)|context_length_exceeded"
    r"|configured limit of \d+ tokens|input length \(?\d+.{0,10}exceeds the maximum|range of input length should be"
    r"|(input|prompt) token count.{0,20}exceeds the (maximum|limit)|prompt exceeds the KV memory budget",
    re.I,
)
_FILTERED = re.compile(r"content[ _]?(filter|management policy|policy)|responsibleai", re.I)
_NO_SYSTEM_ROLE = re.compile(r"system role|roles must alternate|'system'|only user and assistant", re.I)
_LEAST_ANSWER = 16  # new tokens below which asking is no use where the prompt's length is not known


def room(message: str) -> Room | None:
    """What the server says of its limits; None where it speaks of something else, or gives no figures."""
    for pattern in _ROOM:
        found = pattern.search(message)
        if found:
            return _room(found.groupdict(), message)
    return None


def is_too_long(message: str, parameter: str, code: str) -> bool:
    """Whether a refusal is about the length of the prompt."""
    return parameter == "input_tokens" or bool(_TOO_LONG.search(f"{code} {message}"))


def is_filtered(message: str, code: str) -> bool:
    """Whether the prompt met a content filter."""
    return bool(_FILTERED.search(f"{code} {message}"))


def is_without_system_role(message: str) -> bool:
    """Whether the chat template takes no system message."""
    return bool(_NO_SYSTEM_ROLE.search(message))


def _room(figures: dict[str, str | None], message: str) -> Room:
    numbers = {name: int(value) for name, value in figures.items() if value and value.isdigit()}
    if "answer" in numbers:
        return Room(numbers["answer"], numbers["answer"])
    context, prompt, asked = numbers["context"], numbers.get("prompt", 0), numbers["asked"]
    # vLLM counts the prompt no further than one token beyond what the answer leaves: its true length is unknown.
    stopped = bool(figures.get("at_least")) or (prompt + asked == context + 1 and "You passed" in message)
    allowed = context - prompt
    if allowed == asked:  # some SGLang take no request that fills the context to its last token
        allowed -= 1
    if stopped and asked > 0:
        allowed = min(allowed, asked // 2)
        allowed = allowed if allowed >= _LEAST_ANSWER else 0
    return Room(allowed, context)


# The request's own fields, with the forms in which servers name them.
_FIELDS = ("max_completion_tokens", "max_tokens", "temperature", "top_p", "seed", "n")
_REFUSING = re.compile(
    r"unsupported|not support|does ?n[o']t support|unrecogni[sz]ed|unknown (name|field|param|arg)"
    r"|unexpected (field|key|arg)|not (permitted|allowed|available)|extra_forbidden|extra (inputs|fields)"
    r"|cannot both be|only the default|use 'max_completion_tokens'|invalid n value|at most 1\b|must be 1\b"
    r"|only (one|1) (completion )?choice|only n ?= ?1",
    re.I,
)
_ONE_CHOICE = re.compile(
    r"invalid n value|only (one|1) (completion )?choice|\bn\b ?[:=]? ?(must be|number must be)|only n ?= ?1", re.I
)


def refused_field(message: str, parameter: str, extra: tuple[str, ...] = ()) -> str | None:
    """The field of a request that the server does not take; None where the refusal is not about a field's presence.

    Args:
        message: what the server wrote.
        parameter: the field it names apart, "" if none.
        extra: names of further fields that were sent.
    """
    known = (*_FIELDS, *extra)
    if not _REFUSING.search(message):
        return None
    if parameter in known:
        return parameter
    quoted = {found[1] for found in re.finditer(r"[\"'`]([a-z_]+)[\"'`]", message)}
    plain = {found[0] for found in re.finditer(r"[a-z_]{4,}", message)}
    for names in (quoted, plain):
        if found_names := [name for name in known if name in names]:
            # "'max_tokens' is not supported. Use 'max_completion_tokens' instead": what is to be used is no culprit.
            return "max_tokens" if "max_tokens" in found_names else found_names[-1]
    return "n" if _ONE_CHOICE.search(message) else None


def validation_text(detail: Any) -> str:
    """Validation errors as FastAPI lists them, each with its field in quotes; "" for other things."""
    if isinstance(detail, str):
        return detail
    entries = [entry for entry in detail if isinstance(entry, dict)] if isinstance(detail, list) else []
    return "; ".join(_validation_error(entry) for entry in entries)


def _validation_error(entry: dict[str, Any]) -> str:
    place = entry.get("loc")
    name = place[-1] if isinstance(place, list) and place else ""
    return f"'{name}': {entry.get('msg', '')} ({entry.get('type', '')})"
