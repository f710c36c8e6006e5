"""From an engine's configuration to a running engine."""

import asyncio
import importlib
import inspect
from pathlib import Path

from spar_core.engines.base import Engine
from spar_core.engines.configuration import (
    EngineConfig,
    OpenAIEngineConfig,
    ScriptedEngineConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from spar_core.engines.openai_engine import OpenAIEngine
from spar_core.engines.opening import BY_HAND, Opening
from spar_core.engines.scripted import Script, ScriptedEngine
from spar_core.engines.server_address import api_key_from
from spar_core.errors import ConfigError
from spar_core.hashing import digest, file_digest


async def open_engine(config: EngineConfig, model: str | Path | None = None, opening: Opening = BY_HAND) -> Engine:
    """Open an engine; close it with `await engine.close()`.

    Loading a model or starting a server happens outside the event loop's thread.

    Args:
        config: which engine, and how.
        model: folder or hub id of the model, for kinds that load weights; overrides the configuration's.
            Kinds that do not load weights ("openai", "scripted") take no model here.
        opening: what is known of the model and of what else is loaded.

    Raises:
        ConfigError: no model is named, a model is named twice over, or a script cannot be imported.
        EngineError: the model cannot be loaded or the server does not start.
    """
    if isinstance(config, TransformersEngineConfig):
        return await asyncio.to_thread(_open_transformers, config, _model_of(config, model), opening)
    if isinstance(config, VllmEngineConfig) and opening.cluster is not None:
        from spar_core.engines.ray_engine import RayVllmEngine

        return await asyncio.to_thread(RayVllmEngine, config, _model_of(config, model), opening.cluster, opening)
    if isinstance(config, VllmEngineConfig):
        from spar_core.engines.vllm_engine import VllmEngine

        return await asyncio.to_thread(VllmEngine, config, _model_of(config, model), opening)
    if isinstance(config, OpenAIEngineConfig):
        engine = OpenAIEngine(
            config.base_urls,
            config.model,
            config,
            api_key=api_key_from(config.api_key_env),
            model_digest=config.model_digest,
        )
        await asyncio.to_thread(lambda: engine.model_digest)  # a wrong address or name shows now, not mid-stage
        return engine
    return _open_scripted(config)


def _open_transformers(config: TransformersEngineConfig, model: str, opening: Opening) -> Engine:
    from spar_core.engines.transformers_engine import TransformersEngine

    return TransformersEngine(
        model,
        device=config.device,
        dtype=config.dtype,
        max_batch_rows=config.max_batch_rows,
        cache_gib=config.cache_gib,
        threads=config.threads,
        opening=opening,
        thinking=config,
    )


def _open_scripted(config: ScriptedEngineConfig) -> Engine:
    script = load_script(config.script)
    source = inspect.getsourcefile(script)
    identity = digest(["script", config.script, file_digest(Path(source)) if source else ""])
    return ScriptedEngine(script, model_digest=identity, latency_s=config.latency_s, log=False)


def load_script(name: str) -> Script:
    """The function that `module:function` names.

    Raises:
        ConfigError: there is no such module or function.
    """
    module_name, _, function_name = name.partition(":")
    try:
        script: Script = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"engine.script {name!r} cannot be imported: {error}") from error
    if not callable(script):
        raise ConfigError(f"engine.script {name!r} is not a function")
    return script


def _model_of(config: TransformersEngineConfig | VllmEngineConfig, model: str | Path | None) -> str:
    chosen = model if model is not None else config.model
    if chosen is None:
        raise ConfigError(f"engine kind {config.kind!r} needs a model: set engine.model to a folder or hub id")
    return str(chosen)
