"""Which model answers at an address: what the server says of itself, and how it answers a few fixed prompts.

An address says nothing of the weights behind it, and a name little. So a server is known again by content: by its own
description and by greedy answers to a short probe, wherever it has moved. Servers are not quite deterministic (batches
and kernels move last bits), so an identity remembers every variant of an answer it has seen, and half of the prompts
suffice. Weights that answer the whole probe alike are taken for one: `model_digest` tells them apart.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import httpx
from pydantic import BaseModel, ConfigDict

from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.configuration import OpenAIEngineConfig
from spar_core.engines.server_address import api_key_from, proxy_for, with_version
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from spar_core.hashing import digest
from spar_core.records import Message
from spar_core.secrets import redacted_text

# Open questions, whose answers differ between weights; a few words each, since a probe costs its tokens at every start.
PROBES: Final = (
    "Write the first sentence of a story about a lighthouse.",
    "Name three things that are seldom blue.",
    "Explain in one sentence why bread rises.",
    "Continue: The old map showed",
    "Give a title for a poem about rain, then its first line.",
    "What would you put into a suitcase for the moon?",
)
_PROBE_TOKENS = 24
_TIMEOUT_S = 10.0
_DESCRIBING = ("id", "root", "parent", "max_model_len", "owned_by")  # not `created`: vLLM's is the time of its start
_KEEPS_ITS_LIST = frozenset((404, 405, 501))


class Description(NamedTuple):
    """What a server says of the model it serves as `model`: fields of its entry in the list, or the name alone.

    `listed` are the names in its list; hosted servers answer by others too.
    """

    model: str
    fields: dict[str, Any]
    listed: tuple[str, ...] = ()


class ServerIdentity(BaseModel):
    """A server that was seen. `answers` holds per probe every answer observed; times are UTC."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    identity: str
    description: dict[str, Any]
    settings: dict[str, Any] = {}
    """Settings of the engine that were sent with the probe and may have changed its answers."""
    answers: tuple[tuple[str, ...], ...]
    salt: str | None = None
    """What told it apart from a server that looks the same, where the user asked for that."""
    first_seen: datetime
    last_seen: datetime

    def describes(self, description: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
        """Whether a server says the same of itself as this one did, and was asked with the same settings."""
        return self.description == description and self.settings == settings

    def answered_like(self, answers: Sequence[str]) -> bool:
        """Whether at least half of the probe's answers were observed before."""
        if len(answers) != len(self.answers):
            return False
        known = sum(answer in variants for answer, variants in zip(answers, self.answers, strict=True))
        return 2 * known >= len(answers)

    def seen_again(self, answers: Sequence[str], now: datetime) -> "ServerIdentity":
        """The same with new variants of its answers."""
        variants = tuple(
            known if answer in known else (*known, answer) for answer, known in zip(answers, self.answers, strict=True)
        )
        return self.model_copy(update={"answers": variants, "last_seen": now})


def new_identity(
    description: Mapping[str, Any],
    settings: Mapping[str, Any],
    answers: Sequence[str],
    now: datetime,
    salt: str | None = None,
) -> ServerIdentity:
    """An identity made of what is seen now; the same in every home that sees the same."""
    return ServerIdentity(
        identity=digest(["server", description, settings, list(answers), salt]),
        description=dict(description),
        settings=dict(settings),
        answers=tuple((answer,) for answer in answers),
        salt=salt,
        first_seen=now,
        last_seen=now,
    )


def describe(
    addresses: Sequence[str], model: str | None, headers: Mapping[str, str], key_variable: str | None = None
) -> Description:
    """Ask the first server that answers what it serves.

    A server may keep its list to itself, or leave models out of it, where the model is named; but it must answer.

    Args:
        addresses: addresses of servers of the same model.
        model: its name; null: the only one there is.
        headers: of the request, with the key.
        key_variable: the environment variable that holds the key, for messages.

    Raises:
        EngineUnavailableError: nothing answers.
        EngineError: the key is missing or wrong, or the model has to be named.
    """
    failures = []
    for address in map(with_version, addresses):
        try:
            answer = _get(f"{address}/models", headers)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            failures.append(f"{address} ({type(error).__name__})")
            continue
        return _read(answer, address, model, key_variable)
    raise EngineUnavailableError(
        f"no OpenAI-compatible server answers at {', '.join(failures)}; start it, or check the address (it ends in /v1)"
    )


def description_of(addresses: Sequence[str], model: str | None, key_variable: str | None = None) -> Description:
    """What `describe` says, with the key in an environment variable.

    Raises:
        ConfigError: the variable is not set.
        EngineError: as `describe`.
    """
    key = api_key_from(key_variable)
    return describe(addresses, model, {"Authorization": f"Bearer {key}"} if key else {}, key_variable)


def probe(config: OpenAIEngineConfig, listed: Sequence[str] = ()) -> tuple[str, ...]:
    """The server's greedy answers to `PROBES`; one it refuses counts by the reason.

    `listed`: the models in its list, for messages.

    Raises:
        EngineError: the server does not answer, or address, key or model name are wrong.
    """
    try:
        return asyncio.run(_answers(config))
    except EngineUnavailableError:
        raise
    except EngineError as error:
        others = "" if not listed or config.model in listed else f"; its list has {', '.join(map(repr, listed))}"
        raise EngineError(
            f"{error} ({config.model!r} was asked for{others}; {_key_in_use(config.api_key_env)})"
        ) from error


async def _answers(config: OpenAIEngineConfig) -> tuple[str, ...]:
    from spar_core.engines.factory import open_engine

    # With a digest, whatever it is, opening asks the server nothing.
    engine = await open_engine(config.model_copy(update={"model_digest": "unknown", "thought_tokens": None}))
    try:

        async def answer(prompt: str) -> str:
            request = GenerationRequest((Message("user", prompt),), Sampling(0.0, 1.0, _PROBE_TOKENS), seed=0, n=1)
            try:
                said = (await engine.generate(request)).completions[0]
                return said.thought + said.text  # a model that thinks gets no further in so few words
            except RequestRejectedError as error:
                return f"refused: {error.reason}"

        return tuple(await asyncio.gather(*map(answer, PROBES)))
    finally:
        await engine.close()


def _read(answer: httpx.Response, address: str, model: str | None, key_variable: str | None) -> Description:
    status = answer.status_code
    if status in (401, 403):
        raise EngineError(f"{address} answered HTTP {status}: {_key_in_use(key_variable)}")
    if model is not None and status in _KEEPS_ITS_LIST:
        return Description(model, {"id": model})
    if status != httpx.codes.OK:
        said = redacted_text(answer.text)[:200]
        hint = "name its model: #MODEL" if status in _KEEPS_ITS_LIST else "check the server, then run again"
        raise EngineError(f"{address} does not list its models (HTTP {status}: {said}); {hint}")
    try:
        listed = {str(entry["id"]): entry for entry in answer.json()["data"]}
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"no OpenAI-compatible server answers at {address}: its list of models cannot be read "
            f"({type(error).__name__}); check the address (it ends in /v1)"
        ) from error
    if model is None:
        if len(listed) != 1:
            raise EngineError(f"{address} serves {', '.join(listed) or 'no model'}; name one: {address}#MODEL")
        model = next(iter(listed))
    entry = listed.get(model, {"id": model})
    fields = {name: entry[name] for name in _DESCRIBING if entry.get(name) is not None}
    return Description(model, fields, tuple(listed))


def _get(url: str, headers: Mapping[str, str]) -> httpx.Response:
    return httpx.get(
        url,
        headers=headers,
        timeout=_TIMEOUT_S,
        proxy=proxy_for(url),
        trust_env=False,
        verify=url.startswith("https"),  # certificates take a while to load
    )


def _key_in_use(variable: str | None) -> str:
    """What to say of the key where a server refuses."""
    if variable is None:
        return "no key was sent; if it wants one, export it in a variable and name that: #MODEL&key=VARIABLE"
    return f"the key was that in the environment variable {variable}; check that it is right for this server"
