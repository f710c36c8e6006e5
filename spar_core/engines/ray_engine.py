"""An engine that asks the vLLM servers which it starts on a Ray cluster."""

import asyncio
import threading
from collections.abc import Sequence

from spar_core.config.scale import RayConfig
from spar_core.engines.base import Generation, GenerationRequest
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.model_files import resolve_folder
from spar_core.engines.openai_engine import OpenAIEngine
from spar_core.engines.opening import Opening
from spar_core.engines.ray_replicas import RayReplicas
from spar_core.engines.served_template import served_template
from spar_core.engines.vllm_server import SERVED_NAME
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from spar_core.hashing import model_digest

_LOOK_S = 0.1


class RayVllmEngine:
    """Completes chats through servers on a Ray cluster; closing the engine stops them.

    What was under way when a server ended is asked of the others; while there is none, it waits for the next to start.

    Args:
        config: how to start the servers.
        model: folder or hub id, the same on all machines.
        cluster: how many servers; this process has joined the cluster.
        opening: what is known of the model.

    Raises:
        EngineError: the model folder is incomplete, the cluster has no room, or a server does not start.
    """

    def __init__(self, config: VllmEngineConfig, model: str, cluster: RayConfig, opening: Opening) -> None:
        folder = resolve_folder(model)
        self._digest = opening.digest or model_digest(folder)
        rules, template = served_template(folder, config)
        read = {"thoughts": rules.reading, "thought_tags": tuple(rules.tags)}
        self._settings = config.model_copy(update=read)
        self._lock = threading.Lock()
        self._clients: list[tuple[OpenAIEngine, frozenset[str]]] = []
        self.replicas = RayReplicas(config, str(folder), cluster, opening, template)
        self._ask_at(self.replicas.urls)
        self.replicas.watch(self._ask_at)

    @property
    def model_digest(self) -> str:
        """Content digest of the folder that is served."""
        return self._digest

    async def generate(self, request: GenerationRequest) -> Generation:
        """Complete one request.

        Raises:
            RequestRejectedError: as a server says.
            EngineUnavailableError: the servers ended too often, or do not answer.
        """
        while True:
            client = await self._client()
            try:
                return await client.generate(request)
            except RequestRejectedError as error:
                # A server that loses its engine answers 500 to whatever is under way.
                if error.reason != "http_500" or not await asyncio.to_thread(self.replicas.end_sick):
                    raise
            except EngineError:
                if self._is_used(client):
                    raise
            while self._is_used(client):  # until the end of the sick server is noticed
                await asyncio.sleep(_LOOK_S)

    async def is_healthy(self) -> bool:
        """Whether any server lives and says that it can answer."""
        return await asyncio.to_thread(self.replicas.is_any, "is_healthy")

    async def is_writing(self, url: str) -> bool:
        """Whether any server is at work, that at `url` or another; slow ones are not taken for dead ones."""
        return await asyncio.to_thread(self.replicas.is_any, "is_writing")

    async def close(self) -> None:
        """Close the connections and stop the servers."""
        with self._lock:
            clients, self._clients = self._clients, []
        try:
            for client, _ in clients:
                await client.close()
        finally:
            await asyncio.to_thread(self.replicas.stop)

    async def _client(self) -> OpenAIEngine:
        while True:
            with self._lock:
                if self._clients:
                    return self._clients[-1][0]
            if not self.replicas.has_hope:
                raise EngineUnavailableError(
                    "the vLLM servers on the Ray cluster have ended; their logs lie in logs/replica-*"
                )
            await asyncio.sleep(_LOOK_S)

    def _is_used(self, client: OpenAIEngine) -> bool:
        with self._lock:
            return any(client is used for used, _ in self._clients)

    def _ask_at(self, urls: Sequence[str]) -> None:
        """From now on ask these; connections to servers that are gone are closed, with what waits there."""
        there = frozenset(urls)
        with self._lock:
            lost = [client for client, known in self._clients if not known <= there]
            self._clients = [(client, known) for client, known in self._clients if known <= there]
            if urls:
                opened = OpenAIEngine(
                    urls, SERVED_NAME, self._settings, model_digest=self._digest, writing=self.is_writing
                )
                self._clients.append((opened, there))
        for client in lost:
            asyncio.run(client.close())
