"""From what a user calls a model to an engine and a content digest."""

from typing import TYPE_CHECKING, Any, NamedTuple

from spar_core.config.loading import build_config, load_config
from spar_core.config.run import RunConfig
from spar_core.engines.configuration import EngineConfig, OpenAIEngineConfig
from spar_core.engines.model_reference import STARTER, is_registered, is_server, server_reference
from spar_core.engines.server_identity import Description, description_of
from spar_core.errors import ConfigError, StorageError
from spar_core.hashing import canonical_json
from storage.home import Home
from storage.ledger import Ledger
from tasks.engines import ModelRef
from tasks.known_servers import server_digest
from tasks.models import resolve_model

if TYPE_CHECKING:
    from flows.wiring.handovers import Models
    from flows.wiring.request import Run

SERVER_OPTIONS = frozenset(("timeout_s", "retries", "max_wait_s", "fresh", "model_digest"))
"""Fields of requests that say what `ServerOptions` does; results depend on them by the identity of models alone."""


class ServerOptions(NamedTuple):
    """What a command says of the servers it names; nulls: what the reference says, else the engine's defaults."""

    timeout_s: float | None = None
    retries: int | None = None
    max_wait_s: float | None = None
    fresh: bool = False
    """Take servers for new ones: nothing answered earlier is reused."""
    model_digest: str | None = None
    """Identity of the weights, instead of probing for it."""

    def settings(self) -> dict[str, Any]:
        """The engine's fields that are set."""
        named = {
            "timeout_s": self.timeout_s,
            "max_retries": self.retries,
            "max_wait_s": self.max_wait_s,
            "model_digest": self.model_digest,
        }
        return {name: value for name, value in named.items() if value is not None}


class Served(NamedTuple):
    """A model and the engine that serves it."""

    model: ModelRef
    engine: EngineConfig

    @property
    def served_name(self) -> str | None:
        """What a server calls it; null where it is no server's."""
        return self.model.location if self.engine.kind == "openai" else None


class ModelFinder:
    """Finds models by reference (see `spar_core.engines.model_reference`) for one command; a server is asked once.

    Args:
        home: where registered models are looked up, and seen servers remembered.
        engine: serves models whose weights are here.
        options: what the command says of servers.
    """

    def __init__(self, home: Home, engine: EngineConfig, options: ServerOptions | None = None) -> None:
        self._home = home
        self._engine = engine
        self._options = options or ServerOptions()
        self._found: dict[str, Served] = {}
        self._identities: dict[str, str] = {}

    def served(self, reference: str) -> Served:
        """A model's identity, and what serves it.

        A server is asked what it serves and how it answers, so that one that is not there is noticed before any work.

        Raises:
            ConfigError: the reference is not in form, or the variable of its key is not set.
            EngineError: nothing answers there, or there is no such model.
        """
        if reference not in self._found:
            self._found[reference] = self._asked(reference) if is_server(reference) else self._loaded(reference)
        return self._found[reference]

    def base(self, run: "Run") -> "Models":
        """The models that a run starts from.

        Raises:
            EngineError: there is no such model.
            ConfigError: a model it began with is gone.
        """
        from flows.wiring.champions import (
            base_models,  # with all that flows need: not for commands that look up one model
        )

        return base_models(run)

    def _loaded(self, reference: str) -> Served:
        return Served(resolve_model(reference, self._home), self._engine)

    def _identity(self, engine: OpenAIEngineConfig, description: Description) -> str:
        same = canonical_json([engine.base_urls, engine.model, engine.identity()])
        if same not in self._identities:
            fresh = self._options.fresh
            self._identities[same] = server_digest(self._home, engine, description, fresh=fresh)
        return self._identities[same]

    def _asked(self, reference: str) -> Served:
        options, server = self._options, server_reference(reference)
        description = description_of(server.addresses, server.model, server.settings.get("api_key_env"))
        engine = server.engine(description.model, **options.settings())
        if options.fresh and engine.model_digest is not None:
            raise ConfigError("--fresh makes a new identity, and a model digest states one: give one of them")
        digest = engine.model_digest or self._identity(engine, description)
        return Served(ModelRef(digest, description.model), engine.model_copy(update={"model_digest": digest}))


def check_options(options: ServerOptions, references: tuple[str | None, ...]) -> None:
    """See that one stated identity is meant for one server.

    Raises:
        ConfigError: it is given with several servers, or with none.
    """
    servers = {reference for reference in references if reference is not None and is_server(reference)}
    if options.model_digest is not None and len(servers) != 1:
        raise ConfigError(
            f"--model-digest states the identity of one server, and {len(servers) or 'none'} are named here; "
            "give each its own: https://host/v1#MODEL&digest=TEXT"
        )
    if options.fresh and not servers:
        raise ConfigError("--fresh is for servers given by address; models with weights here are known by content")


def default_configuration(reference: str, home: Home) -> RunConfig:
    """The configuration that suits a model: that of the run that trained it, `starter`'s, or the defaults."""
    if reference == STARTER:
        return load_config(STARTER)
    if not is_registered(reference):
        return RunConfig()
    from storage.registry import Registry

    run = Ledger(home).run(Registry(home).resolve(reference).run_id)
    return RunConfig() if run is None else build_config(run.config)


def by_number(reference: str, home: Home) -> str:
    """`actor/3` for `actor@champion`; any other reference as it is.

    Raises:
        StorageError: no model has that alias.
    """
    if not is_registered(reference) or "@" not in reference:
        return reference
    from storage.registry import Registry

    version = Registry(home).resolve(reference)
    return f"{version.name}/{version.version}"


def default_models(home: Home) -> tuple[str, str]:
    """Actor and refiner used when none is named: the home's champions, else the starter."""
    if not Ledger(home).models():
        return STARTER, STARTER
    from storage.registry import Registry

    try:
        registry = Registry(home)
        registry.resolve("actor@champion")
        registry.resolve("refiner@champion")
    except StorageError:
        return STARTER, STARTER
    return "actor@champion", "refiner@champion"
