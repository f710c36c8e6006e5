"""Who gets a place, and when the router looks again."""

import asyncio

from spar_core.engines.endpoint_router import Endpoint, EndpointRouter
from spar_core.engines.throttle import Throttle


def test_a_server_that_is_down_is_not_looked_at_over_and_over() -> None:
    looks = 0

    class Counted(EndpointRouter):
        def _hand_out(self) -> None:
            nonlocal looks
            looks += 1
            super()._hand_out()

    async def run() -> None:
        dead, full = (Endpoint(url, Throttle(8, 0.5, 60.0, 0.01)) for url in ("dead", "full"))
        router, ends = Counted([dead, full]), {dead: asyncio.Event(), full: asyncio.Event()}

        async def hold() -> None:
            async with router.place() as place:
                place.sent()
                await ends[place.endpoint].wait()

        held = [asyncio.ensure_future(hold()) for _ in range(16)]  # eight each: the limit of both
        await asyncio.sleep(0.1)  # the first step of both is over
        dead.down_until = asyncio.get_running_loop().time() + 60
        ends[dead].set()
        waits = asyncio.ensure_future(hold())
        await asyncio.sleep(0.05)
        before = looks
        await asyncio.sleep(0.1)
        assert looks - before <= 2  # nothing to do before a request at the other ends, or a minute has passed
        ends[full].set()
        await asyncio.gather(*held, waits)

    asyncio.run(run())
