"""What is simulated: the servers, the texts, the work, the processes that drive it, and what goes wrong.

All of it is read from a YAML file (`scenarios/*.yaml`) and changed by `--set key.path=value`. Times are seconds,
lengths tokens, shares fractions.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["answer", "vote", "rewrite"]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Service(_Settings):
    """A replica: continuous batching, where every row of the batch gets one token per step."""

    gpus: Count = 1
    """Of one replica."""
    rows: Count
    """Sequences in the batch at most; the others wait in the server."""
    step_s: Seconds
    """Of a step, whatever the batch: the weights' way through the memory."""
    row_step_s: Seconds
    """More for each row: its keys and values."""
    row_compute_s: Seconds = 0.0
    """A step never takes less than this for each row: what the processor computes."""
    prompt_token_s: Seconds
    """Of a prompt's token; all rows wait meanwhile."""
    reused_prompt: Share = 0.0
    """Share of a prompt's tokens that the prefix cache holds."""

    def step(self, rows: float) -> float:
        """Seconds of a step with so many rows."""
        return max(self.step_s + rows * self.row_step_s, rows * self.row_compute_s)


class Texts(_Settings):
    """Lengths of one kind of request. Written tokens follow a log-normal distribution, cut at `limit`."""

    read: Count
    written: Count
    """On average, before the cut."""
    spread: Annotated[float, Field(ge=0)] = 0.6
    """Standard deviation over mean of the written tokens."""
    limit: Count

    def draw(self, random: Random) -> int:
        """Tokens that one row writes."""
        variance = math.log1p(self.spread**2)
        return max(
            1, min(self.limit, round(random.lognormvariate(math.log(self.written) - variance / 2, variance**0.5)))
        )


class Method(_Settings):
    """One iteration's work. The shapes of its trees come from the real search (`tree_shapes`)."""

    prompts: Count
    samples: Count = 5
    votes: Count = 5
    yes_votes: Share = 0.3
    """Share of the votes on rewrites that say YES."""
    failing_prompts: Share = 0.7
    """Share of the prompts that get a tree."""


class Driving(_Settings):
    """The processes that ask, as `orchestration` and `engine` configure them."""

    gpus_per_worker: Count | None = None
    """GPUs that a worker asks, and no other does. The workers take the shards of a stage by turns; each has an event
    loop and connections of its own. Null: one worker asks all."""
    shard_size: Count = 500
    """Prompts, or roots of trees, of a shard."""
    parallel_shards: Count = 2
    """Shards that a worker has open at once."""
    requests_in_flight: Count = 4096
    """Per shard."""
    max_concurrency: Count = 256
    """Requests a worker has in flight at one replica."""
    request_cpu_s: Seconds = 0.0012
    """A worker's CPU for one request: asking, reading, journaling, writing rows. One core does it, as Python does."""
    shard_s: Seconds = 0.02
    """The orchestrator's time for a shard; one server does it for all workers."""
    stage_s: Seconds = 1.0
    """Opening engines, committing the artifact and all else between two stages."""
    prompt_cpu_s: Seconds = 0.0005
    """One core's time for each prompt in the stages that ask no model, which one process does alone."""


class Turns(_Settings):
    """What stands between the stages that ask."""

    load_s: Seconds = 90.0
    """Loading a model into all replicas: the refiner after the actor, both anew after their trainings."""
    training_gpus: Count = 64
    """GPUs a training is spread over, at most; the others wait."""
    training_gpu_s_per_prompt: Seconds = 0.0
    """GPU seconds of both trainings for each prompt of the iteration."""
    training_start_s: Seconds = 60.0
    """Starting a training and writing the model, for each of the two."""


class Trouble(_Settings):
    """What goes wrong, and how long it lasts."""

    slow_replicas: Share = 0.0
    """Share of the replicas that are slow all the time."""
    slow_speed: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Their speed."""
    failures_per_gpu_hour: Seconds = 0.0
    """Deaths of a replica: its rows are lost, other replicas are asked again."""
    restart_s: Seconds = 120.0
    """Until it is back."""
    failures_per_worker_hour: Seconds = 0.0
    """Deaths of a worker: what it had in flight is lost; what was answered is in the journal."""
    worker_restart_s: Seconds = 60.0
    """Until it goes on."""


class Scenario(_Settings):
    """Everything a simulation depends on, but the number of GPUs and the seed."""

    service: Service
    texts: dict[Kind, Texts]
    method: Method
    driving: Driving = Driving()
    turns: Turns = Turns()
    trouble: Trouble = Trouble()
    grain: Count = 1
    """One simulated request stands for so many alike, on a batch with as many times fewer rows: lengths and latencies
    stay, chance plays a larger part. It makes a large simulation that many times faster."""
    slice: Count = 1
    """One simulated replica (or worker, with replicas of its own) stands for so many, as far as their number can be
    divided by it; a worker that asks all replicas has that much less CPU for each. Faster likewise."""
    variants: dict[str, dict[str, dict[str, Any]]] = {}
    """Ways of working to compare, by name: other values of some parts."""

    @classmethod
    def of_file(cls, path: Path, changes: Sequence[str] = ()) -> Self:
        """Read a scenario; `changes` are `key.path=value`.

        Raises:
            OSError: the file cannot be read.
            pydantic.ValidationError: a value is missing, unknown or out of its bounds.
        """
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        for change in changes:
            place, _, value = change.partition("=")
            *folders, name = place.split(".")
            inner: dict[str, Any] = values
            for folder in folders:
                inner = inner.setdefault(folder, {})
            inner[name] = yaml.safe_load(value)
        return cls.model_validate(values)

    def variant(self, name: str) -> "Scenario":
        """The scenario with the values of one of its variants."""
        values = self.model_dump(exclude={"variants"})
        for part, changed in self.variants[name].items():
            values[part] |= changed
        return Scenario.model_validate(values)
