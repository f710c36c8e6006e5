"""The servers a home has seen, and which of them one is: so that results are kept when a server moves, and not taken
for those of new weights behind an old name."""

import logging
import secrets
from typing import Any

from pydantic import ValidationError

from spar_core.engines.configuration import OpenAIEngineConfig
from spar_core.engines.server_identity import Description, ServerIdentity, new_identity, probe
from storage.disk import read_json
from storage.entries import utc_now
from storage.home import Home

_log = logging.getLogger(__name__)
_NOT_SENT = {"kind", "base_urls", "model", "model_digest"}


def server_digest(home: Home, engine: OpenAIEngineConfig, description: Description, *, fresh: bool = False) -> str:
    """The identity of the weights behind `engine`: one this home knows, else a new one, which it remembers.

    Says by a warning when earlier answers are reused, and when the server answers otherwise than it did.

    Args:
        home: remembers what was seen, in `models/servers.json`.
        engine: how the server is asked.
        description: what it says of itself.
        fresh: take it for a new one in any case; the next call without `fresh` finds this one again.

    Raises:
        EngineError: the server does not answer the probe.
    """
    file = home.models / "servers.json"
    known = _read(read_json(file) or {})
    settings = _sent(engine)
    answers, now = probe(engine, description.listed), utc_now()
    alike = [entry for entry in known.values() if entry.describes(description.fields, settings)]
    same = max((entry for entry in alike if entry.answered_like(answers)), key=_last_seen, default=None)
    where = f"{description.model} at {', '.join(engine.base_urls)}"
    if fresh or same is None:
        seen = new_identity(description.fields, settings, answers, now, secrets.token_hex(8) if fresh else None)
        if alike and not fresh:
            _log.warning(
                "%s: answers differ from those of %s: new identity %s; earlier results are not reused",
                where,
                _date(max(alike, key=_last_seen)),
                seen.identity[:8],
            )
    else:
        seen = same.seen_again(answers, now)
        _log.warning("%s: answers of %s reused (identity %s; --fresh asks anew)", where, _date(same), seen.identity[:8])
    kept = known | {seen.identity: seen}
    home.share_json(file, {identity: entry.model_dump(mode="json") for identity, entry in kept.items()})
    return seen.identity


def _sent(engine: OpenAIEngineConfig) -> dict[str, Any]:
    return {name: value for name, value in engine.identity().items() if name not in _NOT_SENT}


def _read(entries: dict[str, Any]) -> dict[str, ServerIdentity]:
    known = {}
    for identity, entry in entries.items():
        try:
            known[identity] = ServerIdentity.model_validate(entry)
        except ValidationError:
            _log.warning("an entry of models/servers.json is unreadable and left out: %s", identity)
    return known


def _last_seen(entry: ServerIdentity) -> Any:
    return entry.last_seen


def _date(entry: ServerIdentity) -> str:
    return f"{entry.first_seen:%Y-%m-%d %H:%M} UTC"
