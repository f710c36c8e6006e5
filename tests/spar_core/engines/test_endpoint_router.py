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


class Servers:
    """A router over servers that answer nothing before they are told to, and whom each prefix was sent to."""

    def __init__(self, count: int, places: int = 64) -> None:
        self.router = EndpointRouter(
            [Endpoint(f"http://{n}/v1", Throttle(places, 0.5, 60.0, 0.001)) for n in range(count)]
        )
        self.sent: list[tuple[str, str]] = []
        self._ends: dict[asyncio.Task[None], asyncio.Event] = {}

    @classmethod
    async def opened(cls, count: int) -> "Servers":
        """Servers that have borne all that they may hold: while a server is tried in steps, who gets a request depends
        on whose step ends first, and so on time."""
        servers = cls(count)
        await servers.ask(*[""] * sum(endpoint.throttle.limit for endpoint in servers.router.endpoints))
        await servers.answer_all()
        servers.sent.clear()
        return servers

    async def ask(self, *prefixes: str) -> list[asyncio.Task[None]]:
        """Ask, and return once all that has room is sent."""
        asked = []
        for prefix in prefixes:
            ends = asyncio.Event()
            asked.append(asyncio.ensure_future(self._hold(prefix, ends)))
            self._ends[asked[-1]] = ends
            await asyncio.sleep(0)
        while self._is_opening():
            await asyncio.sleep(0.001)
        return asked

    def answer(self, asked: "asyncio.Task[None]") -> None:
        self._ends[asked].set()

    async def answer_all(self) -> None:
        for ends in self._ends.values():
            ends.set()
        await asyncio.gather(*self._ends)
        self._ends.clear()

    @property
    def loads(self) -> list[int]:
        return [endpoint.throttle.in_flight for endpoint in self.router.endpoints]

    def _is_opening(self) -> bool:
        return self.router._somebody_waits() and any(e.is_open and e.throttle.is_opening for e in self.router.endpoints)

    async def _hold(self, prefix: str, ends: asyncio.Event) -> None:
        async with self.router.place(prefix=prefix) as place:
            place.sent()
            self.sent.append((prefix, place.endpoint.url))
            await ends.wait()
            place.answered()


def homes(servers: Servers) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for prefix, url in servers.sent:
        found.setdefault(prefix, set()).add(url)
    return found


def test_what_shares_a_prefix_goes_to_one_server_while_it_is_not_overloaded() -> None:
    async def run() -> None:
        servers = await Servers.opened(4)
        trees = [f"tree {number}" for number in range(64)]
        for _ in range(3):
            await servers.ask(*trees)
            await servers.answer_all()
        together = [len(urls) == 1 for urls in homes(servers).values()]
        assert sum(together) / len(together) > 0.6  # chance alone: 1 in 16
        # Every process chooses alike: nothing of it depends on what was asked before.
        first, second = await Servers.opened(4), await Servers.opened(4)
        await first.ask("tree 5")
        await second.ask("tree 5")
        assert first.sent == second.sent

    asyncio.run(run())


def test_a_prefix_that_all_share_idles_no_server() -> None:
    async def run() -> None:
        servers = await Servers.opened(4)
        await servers.ask(*["the same"] * 40)
        assert sum(servers.loads) == 40
        assert max(servers.loads) <= 1.25 * 10 + 1
        assert min(servers.loads) >= 8
        await servers.answer_all()

    asyncio.run(run())


def test_a_place_that_becomes_free_goes_to_those_of_the_servers_own_prefixes_first() -> None:
    async def run() -> None:
        servers = Servers(2, places=8)
        asked = await servers.ask(*[""] * 16)
        assert servers.loads == [8, 8]
        first, second = servers.router.endpoints
        trees = [f"tree {number}" for number in range(100)]
        ours = [tree for tree in trees if servers.router._home(tree) is first][:4]
        theirs = [tree for tree in trees if servers.router._home(tree) is second][:4]
        await servers.ask(*ours, *theirs)
        of_second = [one for one, (_, url) in zip(asked, servers.sent, strict=True) if url == second.url]
        for one in of_second[:6]:  # four of its own, though others have waited longer, and then two of these
            servers.answer(one)
            await one
        assert servers.sent[16:] == [(tree, second.url) for tree in (*theirs, *ours[:2])]
        await servers.answer_all()

    asyncio.run(run())


def test_a_server_that_is_taken_out_gets_nothing_and_moves_only_its_own() -> None:
    async def run() -> None:
        servers = Servers(3)
        trees = [f"tree {number}" for number in range(60)]
        before = {tree: servers.router._home(tree) for tree in trees}
        gone = servers.router.endpoints[0]
        servers.router.set_open(gone.url, False)
        after = {tree: servers.router._home(tree) for tree in trees}
        assert gone not in after.values()
        assert all(after[tree] is home for tree, home in before.items() if home is not gone)
        await servers.ask(*trees)
        assert servers.loads[0] == 0
        servers.router.set_open(gone.url, True)
        assert {tree: servers.router._home(tree) for tree in trees} == before
        await servers.answer_all()

    asyncio.run(run())


def test_those_who_wait_for_the_only_server_go_on_when_it_is_back() -> None:
    async def run() -> None:
        servers = Servers(1)
        (url,) = (endpoint.url for endpoint in servers.router.endpoints)
        servers.router.set_open(url, False)
        (asked,) = await servers.ask("tree")
        assert servers.sent == []
        servers.router.set_open(url, True)
        servers.answer(asked)
        await asked
        assert servers.sent == [("tree", url)]

    asyncio.run(run())
