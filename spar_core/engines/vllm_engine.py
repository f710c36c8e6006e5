"""An engine that starts a vLLM server for a model folder and talks to it."""

import asyncio

from spar_core.engines.base import Generation, GenerationRequest
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.model_files import resolve_folder
from spar_core.engines.openai_engine import OpenAIEngine
from spar_core.engines.usage import EngineStats
from spar_core.engines.vllm_server import SERVED_NAME, VllmServer
from spar_core.errors import EngineUnavailableError
from spar_core.hashing import model_digest


class VllmEngine:
    """Completes chats through a vLLM server of its own; closing the engine stops the server.

    Args:
        config: how to start the server.
        model: folder or hub id.

    Raises:
        EngineError: the model folder is incomplete or the server does not start.
    """

    def __init__(self, config: VllmEngineConfig, model: str) -> None:
        folder = resolve_folder(model)
        self._digest = model_digest(folder)
        self.server = VllmServer(config, str(folder))
        self._client = OpenAIEngine([self.server.base_url], SERVED_NAME, config, model_digest=self._digest)

    @property
    def model_digest(self) -> str:
        """Content digest of the folder that is served."""
        return self._digest

    @property
    def stats(self) -> EngineStats:
        """Requests, tokens and seconds so far."""
        return self._client.stats

    async def generate(self, request: GenerationRequest) -> Generation:
        """Complete one request.

        Raises:
            RequestRejectedError: as the server says.
            EngineUnavailableError: the server died or does not answer; the message names its log.
        """
        try:
            return await self._client.generate(request)
        except EngineUnavailableError as error:
            state = "runs" if self.server.is_running() else "has died"
            raise EngineUnavailableError(f"{error}. The vLLM server {state}; its log is {self.server.log}") from error

    async def close(self) -> None:
        """Close the connections and stop the server."""
        await self._client.close()
        await asyncio.to_thread(self.server.stop)
