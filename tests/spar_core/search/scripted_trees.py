"""A refiner that plays from a table, for trees derived by hand.

`rewrites` maps a response to the rewrites it gets, in order; `votes` maps a response to its votes, one string of
Y, N, U per round. The engine, the prompt set, the parsers and the scheduler are the real ones.
"""

import asyncio
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from spar_core.config.method import MethodConfig, SearchConfig
from spar_core.engines.base import Completion, GenerationRequest
from spar_core.engines.scripted import Answer, Order, ScriptedEngine
from spar_core.prompts import PromptLibrary
from spar_core.records import TreeNode
from spar_core.roles import Refiner, format_rewrite
from spar_core.search import Root, SearchResult, run_trees

OURS = MethodConfig()
_VERDICT_LINE = {"Y": "Final verdict: YES", "N": "Final verdict: NO", "U": "I cannot say."}


def paper() -> MethodConfig:
    """The method's part of the shipped `paper` profile. The table plays in the starter's words, whatever its set."""
    text = (resources.files("spar_core.config") / "profiles" / "paper.yaml").read_text("utf-8")
    return MethodConfig(**yaml.safe_load(text)["method"])


def truncated(text: str) -> Completion:
    """A rewrite cut by the token limit."""
    return Completion(f"<revised_answer>\n{text}", "length", 9)


class Table:
    """Scripted engine over the two tables. `asked` lists what was asked: ("refine" or "judge", response, n)."""

    def __init__(
        self, rewrites: Mapping[str, Sequence[Answer]], votes: Mapping[str, str], order: Order | None = None
    ) -> None:
        self.engine = ScriptedEngine(self._answer, order=order)
        self._rewrites = rewrites
        self._votes = {response: rounds.split() for response, rounds in votes.items()}
        self._seeds: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def refiner(self, method: MethodConfig = OURS) -> Refiner:
        return Refiner(self.engine, PromptLibrary.load("starter"), method.judging, method.refinement)

    def search(
        self, *, method: MethodConfig = OURS, root: Root | None = None, run_seed: int = 0, **search: Any
    ) -> SearchResult:
        config = SearchConfig(**{**method.search.model_dump(), **search})
        start = root or root_of("R")

        async def run() -> SearchResult:
            return await anext(run_trees([start], self.refiner(method), config, run_seed))

        return asyncio.run(run())

    @property
    def asked(self) -> list[tuple[str, str, int]]:
        return [(*_read(request), request.n) for request in self.engine.requests]

    def _answer(self, request: GenerationRequest, index: int) -> Answer:
        kind, response = _read(request)
        # A later request for the same response (another seed) goes on in the table where the last one ended.
        seeds = self._seeds.setdefault((kind, response), [])
        if all(seed != request.seed for seed, _ in seeds):
            seeds.append((request.seed, request.n))
        earlier = [n for seed, n in seeds if seed != request.seed]
        if kind == "judge":
            rounds = self._votes[response]
            letter = rounds[len(earlier) % len(rounds)][index]
            return f"{response} {letter}{index}\n{_VERDICT_LINE[letter]}"
        answer = self._rewrites[response][sum(earlier) + index]
        return format_rewrite(answer) if isinstance(answer, str) else answer


def root_of(response: str, value: float | None = 0.2) -> Root:
    return Root("p", "the task", f"id of {response}", response, "it fails", value, 1, 4)


def children(*letters: str) -> dict[str, Sequence[Answer]]:
    """`"R:abc"` -> R is rewritten as a, b, c."""
    return {entry[0]: list(entry[2:]) for entry in letters}


def texts(result: SearchResult) -> str:
    """Responses in visit order; one letter per node."""
    return "".join(node.response for node in result.nodes)


def node(result: SearchResult, response: str) -> TreeNode:
    return next(node for node in result.nodes if node.response == response)


def parent_of(result: SearchResult, response: str) -> str:
    return next(n.response for n in result.nodes if n.node_id == node(result, response).parent_id)


def outcome(result: SearchResult) -> tuple[str, str | None]:
    return result.tree.stop_reason, result.accepted.response if result.accepted else None


def _read(request: GenerationRequest) -> tuple[str, str]:
    content = request.messages[-1].content
    response = content.split("\nAnswer:\n", 1)[1]
    if content.startswith("Check every rule."):
        return "judge", response
    return "refine", response.split("\nReview:\n", 1)[0]
