"""Which keys of a run's configuration decide its results, and which say how, where and for how long it is computed.

A key that is named nowhere here decides results. Of an engine's keys those do that its `identity` has.
"""

from collections.abc import Mapping, Set
from fnmatch import fnmatchcase
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from spar_core.config.training import INTERVALS
from spar_core.engines.configuration import EngineConfig
from spar_core.methods.registry import method, names

NO_RESULTS: Final = frozenset(
    {
        "budget.*",
        "deployment.*",
        "tracking.*",
        "health.*",
        "iterations",
        "orchestration.*",
        "probe.*",
        "scale",
        *(f"training.*.{name}" for name in INTERVALS),
        "training.launch.*",
    }
)
"""They enter no stage key: how the work is spread, how far it goes, when it stops. `*` stands for any name; a
section without it leaves no trace, as it came later."""

FITTING: Final = frozenset({"training.*.attention", "training.*.gradient_checkpointing", "training.*.micro_batch_size"})
"""What makes a training fit the hardware. It does not name the run, so that the remedy for a full memory goes on with
the run that ran out of it; it does enter the training's key, since sums in another order round differently, and an
average over the tokens of a micro-batch is another one."""

_ENGINE: TypeAdapter[Any] = TypeAdapter(EngineConfig)


def deciding(config: Mapping[str, Any], without: Set[str] = NO_RESULTS) -> dict[str, Any]:
    """What of a configuration, as plain values, decides results: the rest of it may differ and nothing is made anew."""
    kept = _kept(config, without)
    if _is_idle(config, "grpo"):
        kept["training"].pop("grpo")
    if "engine" in config:
        try:
            kept["engine"] = _ENGINE.validate_python(config["engine"]).identity()
        except ValidationError:  # of a version with other keys: it counts as it stands
            kept["engine"] = config["engine"]
    return kept


def naming(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration tells runs apart: the same on other hardware."""
    return deciding(config, NO_RESULTS | FITTING)


def _is_idle(config: Mapping[str, Any], name: str) -> bool:
    """Whether the section `training.NAME` stands there for a method that is not chosen: it came after the others."""
    chosen = config.get("method", {}).get("pairs", {}).get("method")
    if chosen not in names() or name not in config.get("training", {}):
        return False  # of a version with other keys, or a method that is not installed: it counts as it stands
    from spar_core.methods.plugin import OnlineMethod

    return not any(isinstance(phase, OnlineMethod) for phase in method(chosen).phases)


def _kept(values: Mapping[str, Any], without: Set[str], above: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{above}{name}"
        if any(fnmatchcase(path, pattern) for pattern in without):
            continue
        kept[name] = _kept(value, without, f"{path}.") if isinstance(value, Mapping) else value
    return kept
