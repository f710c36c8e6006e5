"""A model that a benchmark measures: its name, how it is served, and what the registry knows of it."""

from typing import NamedTuple

from flows.wiring.models import ModelFinder, Served
from spar_core.engines.model_reference import is_registered
from storage.home import Home
from storage.ledger import Ledger
from storage.registry import ModelVersion, Registry
from tasks.engines import ModelRef


class MeasuredModel(NamedTuple):
    """A model by the name the user gave, one of a server by the name the server gives it, wherever it is reached.

    `version` is null for models that are not called by a registered name.
    """

    name: str
    served: Served
    version: ModelVersion | None
    iteration: int | None

    def first_actor(self, home: Home) -> ModelRef:
        """Whose answers this model mends: the first actor of the run that trained it, as self-play measures it;
        the model itself where there was no such run."""
        if self.version is not None:
            for entry in Ledger(home).models(self.version.run_id):
                if entry.role == "actor" and entry.iteration == 0:
                    return ModelRef(entry.digest, str(home.located(entry.uri)))
        return self.served.model


def measured_model(reference: str, home: Home, finder: ModelFinder) -> MeasuredModel:
    """Resolve a model reference; the iteration is known for weights that this home has registered.

    Raises:
        ConfigError, EngineError, StorageError: there is no such model or server.
    """
    served = finder.served(reference)
    version = Registry(home).resolve(reference) if is_registered(reference) else None
    if version is not None:
        return MeasuredModel(reference, served, version, version.iteration)
    known = [entry.iteration for entry in Ledger(home).models() if entry.digest == served.model.digest]
    return MeasuredModel(served.served_name or reference, served, None, known[-1] if known else None)
