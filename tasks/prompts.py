"""Stage `prompts`: the prompts of one iteration, none of them an earlier one's and, if asked, none a benchmark's."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from spar_core.config.prompts import PromptsConfig
from spar_core.constraints.contradictions import contradiction
from spar_core.hashing import derive_seed
from spar_core.prompts import PromptLibrary
from spar_core.records import Drop, Prompt
from spar_core.starter.world import generate_prompts
from spar_core.synthesis.decontamination import decontaminate, read_benchmark, read_benchmarks
from spar_core.synthesis.deduplication import deduplicate
from spar_core.synthesis.following import Drawing
from spar_core.synthesis.sources import PromptRow, read_prompt_rows, seed_prompts
from spar_core.synthesis.taxonomy import evolve
from spar_core.synthesis.verifiable import COUNTS, verifiable_prompts
from tasks.calls import FileRef
from tasks.shards import ShardContext, ShardRows, write_in_parts
from tasks.sources import SEED_PROMPTS, STARTER_WORLD
from tasks.stages import Stage

_log = logging.getLogger(__name__)
HELD_OUT = "held-out instructions"
"""How drops name them, beside the benchmarks."""
BENCHMARK = "benchmark."
"""How the data of benchmarks are called among the stage's files, before their names."""


class Candidates(NamedTuple):
    """Prompts before cleaning, and what was lost on the way to them.

    `reused`: a file too short for the run has started over, so that prompts of earlier iterations are meant to return.
    """

    prompts: Sequence[Prompt]
    drops: Sequence[Drop]
    reused: bool = False


def _work(context: ShardContext) -> ShardRows:
    config = PromptsConfig.model_validate(context.call.config["prompts"])
    candidates = _candidates(context, config)
    kept, drops = _cleaned(context, candidates, config)
    write_in_parts(context, "prompts", kept)
    context.part.write("drops", [*candidates.drops, *drops])
    return ShardRows(len(candidates.prompts) + len(candidates.drops), len(kept))


def _candidates(context: ShardContext, config: PromptsConfig) -> Candidates:
    """The prompts of these numbers: iteration 0 is a warm start's, the iterations go on after `skip`."""
    call, count = context.call, config.per_iteration
    iteration, skip = call.config["iteration"], call.config.get("skip", 0)
    first = skip + max(iteration - 1, 0) * count
    numbers = range(first, first + count)
    file = call.files.get("prompts")
    drawing = Drawing.of(call.config["drawing"]) if "drawing" in call.config else None
    asked = drawing.counts if drawing is not None else config.constraints
    weights = drawing.weights if drawing is not None else None
    if config.source == "starter":
        draw = str(iteration) if iteration else f"warm_start/{skip}"
        seed = derive_seed(call.seed, "prompts", draw)
        return Candidates(generate_prompts(count, seed, "train", counts=asked, weights=weights), ())
    if config.source == "file":
        return _from_file(_read(file, config), numbers)
    rows = _read(file, config) if file is not None else ()
    seeds = [row.prompt.text for row in rows if isinstance(row, PromptRow)] if file is not None else seed_prompts()
    lost = [row for row in rows if isinstance(row, Drop)]
    if config.source == "verifiable":
        drawn = verifiable_prompts(seeds, numbers, call.seed, "train", asked or COUNTS, weights, config.kinds)
        return Candidates(list(drawn), lost)
    if numbers.stop > len(seeds):
        _log.warning(
            "%d seed instructions for %d prompts so far: each is evolved up to %d times; name more in prompts.path",
            len(seeds),
            numbers.stop,
            -(-numbers.stop // len(seeds)),
        )
    evolved = asyncio.run(_evolved(context, seeds, numbers))
    return Candidates(evolved.prompts, [*lost, *evolved.drops])


def _read(file: FileRef | None, config: PromptsConfig) -> Sequence[PromptRow | Drop]:
    return [] if file is None else list(read_prompt_rows(file.location, skip_bad=config.skip_bad))


def _from_file(rows: Sequence[PromptRow | Drop], numbers: range) -> Candidates:
    """The rows whose turn it is; a file shorter than the run starts over."""
    prompts = [row.prompt for row in rows if isinstance(row, PromptRow)]
    drops = [row for row in rows if isinstance(row, Drop)]
    reused = len(prompts) < numbers.stop
    if reused:
        _log.warning("the prompts file holds %d prompts; iterations reuse some of them", len(prompts))
    turn = [prompts[number % len(prompts)] for number in numbers[: len(prompts)]] if prompts else []
    return Candidates(turn, drops, reused)


async def _evolved(context: ShardContext, seeds: Sequence[str], numbers: Iterable[int]) -> Candidates:
    library = PromptLibrary.load(context.call.surroundings.prompt_set)
    prompts: list[Prompt] = []
    drops: list[Drop] = []
    limit = context.call.surroundings.orchestration.requests_in_flight
    engine = context.engine("evolver")
    async for made in evolve(seeds, numbers, engine, library, context.call.seed, max_requests_in_flight=limit):
        if made.prompt is not None:
            prompts.append(made.prompt)
        if made.drop is not None:
            drops.append(made.drop)
    return Candidates(prompts, drops)


def _cleaned(
    context: ShardContext, candidates: Candidates, config: PromptsConfig
) -> tuple[Sequence[Prompt], Sequence[Drop]]:
    possible, impossible = _possible(candidates.prompts) if config.drop_contradictions else (candidates.prompts, [])
    kept, drops = deduplicate(possible, config.near_duplicates, () if candidates.reused else _earlier(context))
    # A user's seeds or prompts may hold what the verifiable world measures on.
    held_out = {HELD_OUT: (*seed_prompts("dev"), *seed_prompts("test"))}
    clean = decontaminate(kept, held_out | _benchmarks(context), config.decontaminate_ngram)
    for name, count in clean.counts.items():
        if not count:
            continue
        _log.info("decontamination: %d prompts share %d words with %s", count, config.decontaminate_ngram, name)
    return clean.kept, [*impossible, *drops, *clean.drops]


def _possible(prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[Drop]]:
    """Without the prompts whose constraints no answer can meet together."""
    reasons = {prompt.prompt_id: contradiction(prompt.constraints) for prompt in prompts}
    drops = [Drop("prompts", prompt_id, "contradiction", reason) for prompt_id, reason in reasons.items() if reason]
    return [prompt for prompt in prompts if reasons[prompt.prompt_id] is None], drops


def _earlier(context: ShardContext) -> Iterator[Prompt]:
    """The prompts of the warm start and of earlier iterations, in their order: the stage's inputs."""
    for artifact in context.call.inputs.values():
        yield from artifact.read("prompts")


def _benchmarks(context: ShardContext) -> dict[str, tuple[str, ...]]:
    files = context.call.files
    if "benchmarks" in files:
        return read_benchmarks(Path(files["benchmarks"].location))
    named = ((name.removeprefix(BENCHMARK), file) for name, file in files.items() if name.startswith(BENCHMARK))
    return {name: read_benchmark(name, Path(file.location)) for name, file in named}


_DATA = (*STARTER_WORLD, *SEED_PROMPTS, "spar_core.synthesis.taxonomy")
PROMPTS = Stage("prompts", version=2, work=_work, splits=True, data=_DATA)
