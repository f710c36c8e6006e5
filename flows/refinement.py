"""One prompt through the search, at test time: what `spar refine` shows."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

from flows.wiring.models import ModelFinder, ServerOptions, check_options, default_configuration, default_models
from spar_core.config.loading import load_config
from spar_core.config.run import RunConfig
from spar_core.errors import EngineError
from spar_core.hashing import content_id
from spar_core.prompts import PromptLibrary
from spar_core.records import Prompt, Response, TreeNode, Verdict
from spar_core.roles import Actor, JudgementOutcome, Refiner
from spar_core.roles.ballot import A_NO_IN_FULL, EVERY_VOTE
from spar_core.search.root import Root
from spar_core.search.scheduler import run_trees
from spar_core.search.shares import SHOWN
from spar_core.search.tree_search import SearchResult
from storage.home import Home
from tasks.engines import EnginePool


class RefineRequest(NamedTuple):
    """One prompt, who works on it, and how. Nulls take the home's champions and what suits them."""

    prompt: str
    actor: str | None = None
    refiner: str | None = None
    response: str | None = None
    preset: str | None = None
    config_file: Path | None = None
    overrides: tuple[str, ...] = ()
    servers: ServerOptions = ServerOptions()


class Refined(NamedTuple):
    """The first answer, its judgement, and the search from it (null where the answer passed at once)."""

    prompt: str
    response: str
    outcome: JudgementOutcome
    result: SearchResult | None

    @property
    def decided(self) -> bool:
        """Whether the votes on the first answer made a majority; without one nothing is known of it."""
        return self.outcome.judgement is not None

    @property
    def accepted(self) -> bool:
        """Whether the refiner approves of `answer`."""
        if self.result is not None:
            return self.result.accepted is not None
        judgement = self.outcome.judgement
        return judgement is not None and judgement.verdict is Verdict.YES

    @property
    def problem(self) -> str:
        """What to say where no votes could be read, and what to do; empty where they could."""
        if self.decided:
            return ""
        return (
            f"the votes on the answer gave no majority ({self.outcome.failure}: {self.outcome.detail}): nothing was "
            "searched, and nothing is accepted; take a refiner that ends with its verdict line, or set "
            "method.prompt_set, method.judging.votes or method.judging.max_tokens"
        )

    @property
    def answer(self) -> str:
        """The best answer known."""
        return self.response if self.result is None else self.result.best.response

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        judgement = self.outcome.judgement
        return {
            "prompt": self.prompt,
            "response": self.response,
            "value": None if judgement is None else judgement.value,
            "answer": self.answer,
            "accepted": self.accepted,
            "problem": self.problem or None,
            "stop_reason": None if self.result is None else self.result.tree.stop_reason,
            "nodes": [] if self.result is None else [_plain_node(node) for node in self.result.nodes],
        }


def refine_prompt(request: RefineRequest, home: Home) -> Refined:
    """Answer, judge and search one prompt.

    Raises:
        SparError: a model or server that cannot be used, or a prompt it refuses.
    """
    actor_default, refiner_default = default_models(home)
    refiner_name = request.refiner or refiner_default
    check_options(request.servers, (request.actor, request.refiner))
    home.private()
    config = _configuration(request, refiner_name, home)
    pool = EnginePool(logs=home.logs, records=home.servers)
    finder = ModelFinder(home, config.engine, request.servers)
    refiner = finder.served(refiner_name)
    library = PromptLibrary.load(config.method.prompt_set)
    actor = finder.served(request.actor or actor_default)
    pool.keep([(actor.engine, actor.model), (refiner.engine, refiner.model)], "refine")
    try:
        return asyncio.run(
            _refine(
                request,
                config,
                Actor(
                    pool.engine(actor.engine, actor.model), config.method.responses.model_copy(update={"per_prompt": 1})
                ),
                Refiner(
                    pool.engine(refiner.engine, refiner.model),
                    library,
                    config.method.judging.votes_alone(),  # a prompt that is typed in brings no constraints
                    config.method.refinement,
                ),
            )
        )
    finally:
        pool.close_all()


async def _refine(request: RefineRequest, config: RunConfig, actor: Actor, refiner: Refiner) -> Refined:
    prompt = Prompt.create(request.prompt)
    response = await _first_answer(request, prompt, config, actor)
    search = config.method.search
    wanted = A_NO_IN_FULL if search.votes_asked == "until_decided" else EVERY_VOTE
    outcome = await refiner.judge(response.response_id, prompt.text, response.text, config.seed, wanted=wanted)
    judgement = outcome.judgement
    if judgement is None or judgement.verdict is Verdict.YES:
        return Refined(prompt.text, response.text, outcome, None)
    root = Root.create(prompt, response, judgement)
    async for result in run_trees([root], refiner, search, config.seed, uses=SHOWN):
        return Refined(prompt.text, response.text, outcome, result)
    raise EngineError("the search ended without a result")


async def _first_answer(request: RefineRequest, prompt: Prompt, config: RunConfig, actor: Actor) -> Response:
    if request.response is not None:
        response_id = content_id("response", prompt.prompt_id, "given", request.response)
        return Response(response_id, prompt.prompt_id, 0, request.response, "stop", 0, 0, "given", 0)
    outcome = await actor.answer(prompt, config.seed)
    if not outcome.responses:
        raise EngineError(f"the actor refused the prompt: {outcome.detail or outcome.failure}")
    if outcome.responses[0].lost:
        raise EngineError(
            "the actor thought, but gave no answer within its token limit; raise method.responses.max_tokens or "
            "engine.thought_tokens"
        )
    return outcome.responses[0]


def _configuration(request: RefineRequest, refiner: str, home: Home) -> RunConfig:
    if request.preset is None and request.config_file is None:
        return load_config(base=default_configuration(refiner, home), overrides=request.overrides)
    return load_config(request.preset, request.config_file, request.overrides)


def show_tree(found: Refined) -> None:
    """Print the tree and the final answer."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    console = Console()
    judgement = found.outcome.judgement
    if found.result is None:
        console.print(Text(found.response))
        if judgement is not None:
            console.print(
                f"accepted as it is: {judgement.yes_votes} of {judgement.yes_votes + judgement.no_votes} votes"
            )
        return
    nodes = found.result.nodes
    branches = {nodes[0].node_id: Tree(_label(nodes[0]))}
    for node in nodes[1:]:
        branches[node.node_id] = branches[node.parent_id or nodes[0].node_id].add(_label(node))
    console.print(branches[nodes[0].node_id])
    tree = found.result.tree
    console.print(f"\n{tree.strategy}, {tree.nodes_expanded} rewrites, stopped: {tree.stop_reason}")
    console.print(Text(f"\n{found.answer}", style="bold"))


def _label(node: TreeNode) -> Any:
    from rich.text import Text

    if node.duplicate_of is not None:
        verdict, style = "duplicate", "dim"
    elif node.value is None:
        verdict, style = node.failure or "not judged", "dim"
    else:
        verdict = f"{node.yes_votes} yes, {node.no_votes} no"
        style = "green" if node.accepted else ("yellow" if node.value > 0 else "red")
    label = Text(f"[{verdict}] ", style=style)
    label.append(node.response, style="default")
    return label


def _plain_node(node: TreeNode) -> dict[str, Any]:
    keys = ("node_id", "parent_id", "depth", "response", "critique", "value", "yes_votes", "no_votes", "accepted")
    return {key: getattr(node, key) for key in keys}
