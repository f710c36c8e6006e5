"""What votes cost, and what asking fewer of them saves at the same decisions.

    python benchmarks/votes.py --actor DIR --refiner DIR [--prompts N] [--answers N] [--seed N]

Self-play of the starter's prompts by real models (folders, such as those of a warm start), each way of asking in turn:
answers, votes on them, tree searches from failing ones. A completion depends on its request, seed and number alone, so
it is computed once and counted wherever it is asked for: all ways meet the same luck. Printed are completion tokens per
way, per tree and per pair, and whether the accepted texts are those of `all`.
"""

import argparse
import asyncio
import sys
from collections import defaultdict
from dataclasses import replace
from typing import Any, NamedTuple

from spar_core.config.loading import load_config
from spar_core.config.method import MethodConfig
from spar_core.data.negatives import choose_negatives
from spar_core.engines.base import Completion, Engine, Generation, GenerationRequest
from spar_core.engines.factory import open_engine
from spar_core.prompts import PromptLibrary
from spar_core.records import Judgement, Prompt, Response
from spar_core.roles import Actor, Refiner, Subject, judge_all, respond_all
from spar_core.roles.ballot import A_MAJORITY, A_NO_IN_FULL, EVERY_VOTE
from spar_core.roles.batches import Judged
from spar_core.search import SearchResult, run_trees
from spar_core.search.shares import EVERYTHING, SHOWN, Uses
from spar_core.starter.world import generate_prompts

PAIRS_ALONE = Uses(accepted=True, best=False, shares=False)
FEWER: dict[str, Any] = {"votes_asked": "until_decided"}


class Way(NamedTuple):
    """A way of asking: what differs from the method, and what is read of its trees."""

    judging: dict[str, Any]
    search: dict[str, Any]
    uses: Uses = EVERYTHING


class Spent(NamedTuple):
    """Completion tokens of one way, and what it found."""

    judging: int
    rewrites: int
    votes: int
    votes_asked: int
    trees: int
    accepted: dict[str, str]


class KeptCompletions:
    """An engine that computes each completion once and counts the tokens of those that are asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: dict[str, dict[int, Completion]] = defaultdict(dict)
        self.model_digest = engine.model_digest

    async def generate(self, request: GenerationRequest) -> Generation:
        """The completions asked for; those lacking are asked of the engine."""
        kept = self._kept[replace(request, n=1, first=0).key("")]
        numbers = range(request.first, request.first + request.n)
        lacking = [number for number in numbers if number not in kept]
        if lacking:
            asked = replace(request, first=lacking[0], n=lacking[-1] - lacking[0] + 1)
            made = await self._engine.generate(asked)
            kept.update(zip(range(asked.first, asked.first + asked.n), made.completions, strict=True))
        return Generation(tuple(kept[number] for number in numbers), 0)

    async def close(self) -> None:
        """Close the wrapped engine."""
        await self._engine.close()


def ways(ours: MethodConfig, published: MethodConfig) -> dict[str, Way]:
    """The published schedule, ours, and ours with fewer votes; each row adds to the one before."""
    paper = Way(published.judging.model_dump(), published.search.model_dump())
    limit = {"max_tokens": ours.judging.max_tokens}
    return {
        "published": paper._replace(judging={**paper.judging, **limit}),
        "all": Way({}, {}),
        "until_decided, for pairs": Way({}, FEWER, PAIRS_ALONE),
        "  and equal answers once": Way({"equal_texts": "once"}, FEWER, PAIRS_ALONE),
        "  and equal rewrites once": Way({"equal_texts": "once"}, {**FEWER, "cache_values": True}, PAIRS_ALONE),
        "until_decided, at test time": Way({}, FEWER, SHOWN),
    }


async def search(way: Way, method: MethodConfig, refiner: Engine, answers: dict[Prompt, list[Response]]) -> Spent:
    """Judge the answers and search from those chosen."""
    judging = type(method.judging).model_validate({**method.judging.model_dump(), **way.judging})
    config = type(method.search).model_validate({**method.search.model_dump(), **way.search})
    asked = Refiner(refiner, PromptLibrary.load(method.prompt_set), judging, method.refinement)
    subjects = [Subject(prompt.text, answer) for prompt, own in answers.items() for answer in own]
    first = A_NO_IN_FULL if way.uses.best else A_MAJORITY
    wanted = first if config.votes_asked == "until_decided" else EVERY_VOTE
    judging_all = judge_all(subjects, asked, 0, equal_texts=judging.equal_texts, wanted=wanted)
    judged: list[Judged] = [j async for j in judging_all]
    judgements: list[Judgement] = [j.judgement for j in judged if j.judgement is not None]
    responses = [answer for own in answers.values() for answer in own]
    roots = choose_negatives(answers, responses, judgements, run_seed=0).roots
    found: list[SearchResult] = [tree async for tree in run_trees(roots, asked, config, 0, uses=way.uses)]
    return Spent(
        sum(vote.completion_tokens or 0 for j in judged for vote in j.votes),
        sum(node.completion_tokens or 0 for tree in found for node in tree.nodes),
        sum(vote.completion_tokens or 0 for tree in found for vote in tree.votes),
        sum(len(tree.votes) for tree in found),
        len(found),
        {tree.tree.prompt_id: tree.accepted.response for tree in found if tree.accepted},
    )


def table(found: dict[str, Spent], answering: int) -> list[str]:
    """A line per way; ratios are to `all`, those of the last column to `published`."""
    all_, published = found["all"], found["published"]
    heads = (
        "judging",
        "rewrites",
        "votes in trees",
        "trees",
        "pairs",
        "per tree",
        "ratio",
        "per pair",
        "ratio",
        "same",
    )
    lines = [f"answers: {answering} tokens", f"{'':32}" + "".join(f"{head:>15}" for head in heads)]

    def per_tree(spent: Spent) -> float:
        return (spent.rewrites + spent.votes) / max(1, spent.trees)

    def per_pair(spent: Spent) -> float:
        return (answering + spent.judging + spent.rewrites + spent.votes) / max(1, len(spent.accepted))

    for name, spent in found.items():
        same = sum(spent.accepted.get(prompt) == text for prompt, text in all_.accepted.items())
        cells = (
            *(f"{spent.judging}", f"{spent.rewrites}", f"{spent.votes}", f"{spent.trees}", f"{len(spent.accepted)}"),
            *(f"{per_tree(spent):.0f}", f"{per_tree(spent) / per_tree(all_):.3f}"),
            *(f"{per_pair(spent):.0f}", f"{per_pair(spent) / per_pair(published):.3f}"),
            f"{same}/{len(all_.accepted)}",
        )
        lines.append(f"{name:32}" + "".join(f"{cell:>10}" for cell in cells))
    return lines


async def measure(options: argparse.Namespace) -> list[str]:
    """Answers once, then every way over the same completions."""
    config = load_config("starter")
    published = load_config("starter", overrides=["profile=paper"]).method
    prompts = generate_prompts(options.prompts, options.seed, "train")
    engine = await open_engine(config.engine, options.actor)
    sampling = config.method.responses.model_copy(update={"per_prompt": options.answers})
    answered = [each async for each in respond_all(prompts, Actor(engine, sampling), options.seed)]
    await engine.close()
    answers = {each.prompt: list(each.responses) for each in answered}
    refiner = KeptCompletions(await open_engine(config.engine, options.refiner))
    found = {}
    for name, way in ways(config.method, published).items():
        found[name] = await search(way, config.method, refiner, answers)
        sys.stderr.write(f"{name}: {found[name].votes_asked} votes in {found[name].trees} trees\n")
    await refiner.close()
    return table(found, sum(answer.completion_tokens for own in answers.values() for answer in own))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actor", required=True, help="model folder")
    parser.add_argument("--refiner", required=True, help="model folder")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--answers", type=int, default=5, help="per prompt")
    parser.add_argument("--seed", type=int, default=0)
    sys.stdout.write("".join(f"{line}\n" for line in asyncio.run(measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
