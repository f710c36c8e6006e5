"""Secrets are named, never written down: which names and values count as secrets, how one is fetched, and how texts
are freed of them.

Configuration holds names of environment variables (`$NAME`, or `{from_env: NAME}`); the value is fetched where a
process or a request needs it. What is refused is never repeated in the message.
"""

import logging
import os
import re
import threading
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from spar_core.errors import ConfigError

HIDDEN = "***"
FROM_ENV = "from_env"
# `key` and `token` at the end only (HF_TOKEN, but not token_threshold), the other words anywhere; never max_tokens.
_SECRET_NAME = re.compile(
    r"(?:secret|password|passwd|credential|authorization)s?(?:$|[^a-z0-9])|(?:keys?|token)(?:[^a-z0-9]*\d+)?$", re.I
)
_NOT_THE_SECRET = re.compile(r"[_-](?:env|file|path)$", re.I)  # names of variables, and where a secret lies
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USUAL_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_BY_NAME = re.compile(r"\$(?:\{(?P<braced>\w+)\}|(?P<bare>\w+))")
# How the keys of well-known services begin, JSON web tokens, and bearer tokens.
_KEY_VALUE = re.compile(
    r"\b(?:sk[-_][\w-]{8,}|hf_\w{16,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{12,}|xox[abprs]-[\w-]{8,}"
    r"|AKIA[0-9A-Z]{12,}|AIza[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)|\bBearer\s+[^\s\"']+"
)
_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@\"']+@", re.I)
_QUERY = re.compile(r"(?<=[?&])(?P<name>[\w.-]+)=[^&#\s\"']+")
_ADDRESS_QUERY = re.compile(r"://[^\s#\"']*\?[^\s#\"']*")
_SHORTEST = 8  # characters; shorter values (`EMPTY`) would be found in ordinary words

_NAME_IT = "export the key in an environment variable and name that (#MODEL&key=VARIABLE after a server's address)"

_fetched: set[str] = set()
_lock = threading.Lock()


def looks_secret(name: str) -> bool:
    """Whether a variable or field of this name holds a secret: HF_TOKEN, api_key; but not max_tokens, api_key_env."""
    return bool(_SECRET_NAME.search(name)) and not _NOT_THE_SECRET.search(name)


def holds_secret(text: str) -> bool:
    """Whether a text itself looks like a key, or is an address with a password in it."""
    return bool(_KEY_VALUE.search(text) or _USERINFO.search(text))


def variable_name(name: str) -> str:
    """The name of an environment variable that holds a secret.

    Raises:
        ValueError: it looks like the secret itself; the message does not repeat it.
    """
    usual = _USUAL_VARIABLE.fullmatch(name) or (_VARIABLE.fullmatch(name) and name in os.environ)
    if not usual or holds_secret(name):
        raise ValueError(
            "takes the name of an environment variable (such as OPENAI_API_KEY), and what is given looks like a value; "
            "export the value in a variable and name that"
        )
    return name


def fetched(variable: str, what: str) -> str:
    """The value of the environment variable; from then on it is hidden in all texts that are freed of secrets.

    Raises:
        ConfigError: the variable is not set.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"environment variable {variable} ({what}) is not set: export it, then run again")
    with _lock:
        _fetched.add(value)
    return value


def with_values(environment: Mapping[str, str], what: str) -> dict[str, str]:
    """Environment variables for a process that starts now: `$NAME` is replaced by the value of this process's NAME.

    Raises:
        ConfigError: a variable that is named is not set; `what` names the setting.
    """
    values = {}
    for name, value in environment.items():
        source = named_variable(value)
        values[name] = value if source is None else fetched(source, f"{what}.{name}")
    return values


def with_fields(value: Any, what: str) -> Any:
    """JSON-like fields of a request that is sent now: `{from_env: NAME}` is replaced by the value of NAME.

    Raises:
        ConfigError: a variable that is named is not set; `what` names the setting.
    """
    if isinstance(value, Mapping):
        if set(value) == {FROM_ENV}:
            return fetched(str(value[FROM_ENV]), what)
        return {key: with_fields(entry, f"{what}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [with_fields(entry, what) for entry in value]
    return value


def refuse_literals(value: Any, name: str = "") -> Any:
    """`value` as it is, where it holds secrets by name only.

    Raises:
        ValueError: naming the key that holds a literal secret, not its value.
    """
    if isinstance(value, Mapping):
        if set(value) == {FROM_ENV}:
            variable_name(str(value[FROM_ENV]))
            return value
        for key, entry in value.items():
            refuse_literals(entry, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for entry in value:
            refuse_literals(entry, name)
    elif isinstance(value, str) and named_variable(value) is None:
        if _USERINFO.search(value):
            raise ValueError(f"{name or 'this'} holds an address with a user or password in it; {_NAME_IT}")
        if holds_secret(value) or (value and looks_secret(name.rpartition(".")[2])):
            raise ValueError(
                f"{name or 'this'} holds a secret; export it in an environment variable and name that: "
                f"{name.rpartition('.')[2] or 'key'}: {{{FROM_ENV}: VARIABLE}}"
            )
    return value


def refuse_secret_arguments(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Arguments of a process as they are, where none is a secret: everybody on the machine reads a command line.

    Raises:
        ValueError: naming the option, not its value.
    """
    for argument in arguments:
        option = argument.partition("=")[0]
        if holds_secret(argument) or (argument.startswith("-") and looks_secret(option.lstrip("-"))):
            shown = HIDDEN if holds_secret(option) else option
            raise ValueError(
                f"{shown} would show a secret in the list of processes; give it in the environment instead: "
                f"env: {{NAME: {{{FROM_ENV}: VARIABLE}}}} (vLLM reads VLLM_API_KEY and HF_TOKEN)"
            )
    return arguments


def _by_name(values: Any) -> Any:
    """`{from_env: NAME}` as `$NAME`."""
    if not isinstance(values, Mapping):
        return values
    plain = {}
    for name, value in values.items():
        named = isinstance(value, Mapping) and set(value) == {FROM_ENV}
        plain[name] = f"${value[FROM_ENV]}" if named else value
    return plain


def _checked_environment(values: dict[str, str]) -> dict[str, str]:
    for value in values.values():
        source = named_variable(value)
        if source is not None:
            variable_name(source)
    refuse_literals(values)
    return values


VariableName = Annotated[str, AfterValidator(variable_name)]
"""The name of an environment variable that holds a secret."""
Environment = Annotated[dict[str, str], BeforeValidator(_by_name), AfterValidator(_checked_environment)]
"""Environment variables of a process that is started; secrets by name (`$NAME` or `{from_env: NAME}`)."""


def redacted(value: Any, name: str = "") -> Any:
    """JSON-like values without secrets: what is stored or shown of a configuration goes through here."""
    if isinstance(value, Mapping):
        return {key: redacted(entry, str(key)) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(entry, name) for entry in value]
    if not isinstance(value, str):
        return value
    if value and looks_secret(name) and named_variable(value) is None:
        return HIDDEN
    return redacted_text(value)


def redacted_text(text: str) -> str:
    """A text without the values of known secrets, keys of well-known services, and passwords in addresses."""
    for value in _known():
        text = text.replace(value, HIDDEN)
    text = _KEY_VALUE.sub(HIDDEN, text)
    text = _USERINFO.sub(rf"\g<scheme>{HIDDEN}@", text)
    return _ADDRESS_QUERY.sub(lambda address: _QUERY.sub(_without_value, address.group()), text)


def hide_in_logs() -> None:
    """From now on no log record of this process holds a secret, whatever writes it. May be called again."""
    made = logging.getLogRecordFactory()
    if getattr(made, "hides_secrets", False):
        return

    def record(*arguments: Any, **options: Any) -> logging.LogRecord:
        entry = made(*arguments, **options)
        try:
            text = entry.getMessage()
        except (TypeError, ValueError, KeyError):
            return entry  # a faulty call: logging reports it
        if (clean := redacted_text(text)) != text:
            entry.msg, entry.args = clean, ()
        if entry.exc_info and entry.exc_info[0] is not None:
            entry.exc_text = redacted_text(logging.Formatter().formatException(entry.exc_info))
        return entry

    record.hides_secrets = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(record)


def _known() -> list[str]:
    """Values of secrets in this process, longest first: those fetched, and variables whose name says so."""
    named = {value.strip() for name, value in os.environ.items() if looks_secret(name)}
    with _lock:
        known = named | _fetched
    return sorted((value for value in known if len(value) >= _SHORTEST), key=len, reverse=True)


def named_variable(value: str) -> str | None:
    """The variable that `$NAME` or `${NAME}` names; None for any other text."""
    named = _BY_NAME.fullmatch(value)
    return None if named is None else named["braced"] or named["bare"]


def _without_value(parameter: re.Match[str]) -> str:
    return f"{parameter['name']}={HIDDEN}" if looks_secret(parameter["name"]) else parameter.group()
