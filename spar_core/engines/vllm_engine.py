"""An engine that starts vLLM servers for a model folder and talks to them."""

import asyncio
import contextlib
import threading

from spar_core.engines.base import Generation, GenerationRequest
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.model_files import resolve_folder
from spar_core.engines.openai_engine import OpenAIEngine
from spar_core.engines.opening import BY_HAND, Opening
from spar_core.engines.served_template import served_template
from spar_core.engines.usage import EngineStats
from spar_core.engines.vllm_fleet import VllmFleet
from spar_core.engines.vllm_server import SERVED_NAME
from spar_core.errors import EngineUnavailableError, RequestRejectedError
from spar_core.hashing import model_digest


class VllmEngine:
    """Completes chats through vLLM servers of its own; closing the engine stops them.

    Args:
        config: how to start the servers, and how many.
        model: folder or hub id.
        opening: what is known of the model and of its neighbours.

    Raises:
        EngineError: the model folder is incomplete or a server does not start.
    """

    def __init__(self, config: VllmEngineConfig, model: str, opening: Opening = BY_HAND) -> None:
        folder = resolve_folder(model)
        self._digest = opening.digest or model_digest(folder)
        rules, template = served_template(folder, config)
        self.fleet = VllmFleet(config, str(folder), opening, template)
        update = {"thoughts": rules.reading, "thought_tags": tuple(rules.tags)}
        self._client = OpenAIEngine(
            [server.base_url for server in self.fleet.servers],
            SERVED_NAME,
            config.model_copy(update=update),
            model_digest=self._digest,
            writing=self.is_writing,
            failed=self.fleet.look_at,
        )
        self.fleet.on_move(self._client.set_open)

    @property
    def model_digest(self) -> str:
        """Content digest of the folder that is served."""
        return self._digest

    @property
    def capacity(self) -> int:
        """Requests that its servers bear at once."""
        return self._client.capacity

    @property
    def stats(self) -> EngineStats:
        """Requests, tokens and seconds so far."""
        return self._client.stats

    async def generate(self, request: GenerationRequest) -> Generation:
        """Complete one request; the end of the last server ends the wait at once.

        Raises:
            RequestRejectedError: as the server says.
            EngineUnavailableError: the servers died or do not answer; the message names a log and how it ends.
        """
        asking = asyncio.ensure_future(self._client.generate(request))
        loop, died = asyncio.get_running_loop(), threading.Event()

        def give_up() -> None:
            died.set()
            with contextlib.suppress(RuntimeError):  # a loop that is closed waits for nothing any more
                loop.call_soon_threadsafe(asking.cancel)

        with self.fleet.told_of_its_end(give_up):
            try:
                return await asking
            except asyncio.CancelledError:
                caller = asyncio.current_task()
                if not died.is_set() or (caller is not None and caller.cancelling()):
                    raise  # the caller wants no answer any more, whatever became of the server
                raise EngineUnavailableError(
                    f"the server ended with requests under way. {self.fleet.state()}"
                ) from None
            except EngineUnavailableError as error:
                raise EngineUnavailableError(f"{error}. {self.fleet.state()}") from error
            except RequestRejectedError as error:
                if error.reason != "http_500" or await self.is_healthy():
                    raise  # a server that loses its engine answers 500 to whatever is under way
                raise EngineUnavailableError(f"{error}. {self.fleet.state()}") from error

    async def is_healthy(self) -> bool:
        """Whether a server lives and says that it can answer."""
        return await asyncio.to_thread(self.fleet.is_healthy)

    async def is_writing(self, url: str) -> bool:
        """Whether the server at an address is at work on anything; a slow one is not taken for a dead one."""
        return await asyncio.to_thread(self.fleet.is_writing, url)

    async def close(self) -> None:
        """Close the connections and stop the servers."""
        try:
            await self._client.close()
        finally:
            await asyncio.to_thread(self.fleet.stop)
