"""Prompts by id out of an artifact that is too large to hold: the parts in which they lie are read."""

from collections.abc import Iterable
from functools import lru_cache

from spar_core.records import Prompt
from storage.artifacts import ArtifactRef


def prompts_of(artifact: ArtifactRef, prompt_ids: Iterable[str]) -> list[Prompt]:
    """The prompts of these ids, in the artifact's order; an id it does not hold is left out.

    Quick where the prompts lie close together, as those of a part of another artifact do.
    """
    wanted, parts = set(prompt_ids), _parts(artifact)
    found = sorted({parts[prompt_id] for prompt_id in wanted if prompt_id in parts})
    return [prompt for part in found for prompt in artifact.read("prompts", part=part) if prompt.prompt_id in wanted]


@lru_cache(maxsize=1)
def _parts(artifact: ArtifactRef) -> dict[str, int]:
    """The part of each prompt, found out once for all shards of a process."""
    count = len(artifact.manifest().parts)
    return {prompt.prompt_id: part for part in range(count) for prompt in artifact.read("prompts", part=part)}
