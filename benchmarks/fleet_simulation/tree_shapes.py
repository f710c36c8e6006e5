"""What a tree asks, and in which order: recorded from the real search on a scripted refiner."""

import asyncio
from random import Random
from typing import NamedTuple

from benchmarks.fleet_simulation.scenario import Kind
from spar_core.config.method import MethodConfig
from spar_core.engines.base import GenerationRequest
from spar_core.engines.scripted import ScriptedEngine
from spar_core.prompts import PromptLibrary
from spar_core.roles import Refiner, format_rewrite
from spar_core.search.asks import Expand
from spar_core.search.root import Root
from spar_core.search.tree_search import search_tree


class Ask(NamedTuple):
    """One request: its kind and how many rows it gives the batch."""

    kind: Kind
    rows: int


Shape = tuple[tuple[Ask, ...], ...]
"""Rounds: all requests of a round at once, the next when all are answered."""


def recorded(count: int, votes: int, yes_share: float, seed: int) -> list[Shape]:
    """Shapes of trees under the default search, with so many votes on a rewrite of which a share says YES."""

    def answer(request: GenerationRequest, index: int) -> str:
        own = Random(f"{request.seed} {index}")
        if request.messages[0].content.startswith("Mend"):
            return format_rewrite(f"rewrite {request.seed} {index}")
        return f"Looked at it.\nFinal verdict: {'YES' if own.random() < yes_share else 'NO'}"

    method = MethodConfig.model_validate({"judging": {"votes": votes, "quorum": min(votes, 3)}})
    engine = ScriptedEngine(answer, log=False)
    refiner = Refiner(engine, PromptLibrary.load("starter"), method.judging, method.refinement)
    return asyncio.run(_all_shapes(count, refiner, method, seed))


async def _all_shapes(count: int, refiner: Refiner, method: MethodConfig, seed: int) -> list[Shape]:
    return [await _shape(number, refiner, method, seed) for number in range(count)]


async def _shape(number: int, refiner: Refiner, method: MethodConfig, seed: int) -> Shape:
    root = Root(f"p{number}", f"task {number}", f"r{number}", f"response {number}", "Final verdict: NO", 0.2, 1, 4)
    search, rounds = search_tree(root, method.search, seed), []
    asks = next(search)
    while True:
        answers, made = [], []
        for ask in asks:
            if isinstance(ask, Expand):
                made.append(Ask("rewrite", ask.wanted))
                answers.append(
                    tuple(await refiner.refine(ask.prompt, ask.response, ask.critique, ask.seed, ask.wanted))
                )
            else:
                made.append(Ask("vote", method.judging.votes))
                answers.append(await refiner.judge(ask.node_id, ask.prompt, ask.response, ask.seed, seed_id=ask.place))
        rounds.append(tuple(made))
        try:
            asks = search.send(tuple(answers))
        except StopIteration:
            return tuple(rounds)
