"""How long work takes: from operations and bytes, where nothing was measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml

from spar_core.errors import ConfigError
from spar_core.planning.assumptions import Assumptions
from spar_core.planning.devices import Device
from spar_core.planning.shapes import ModelShape
from spar_core.planning.training_memory import TrainingLoad


class GivenRates(NamedTuple):
    """Tokens per second and GPU, as somebody states them; null: not stated."""

    read: float | None = None
    written: float | None = None
    trained: float | None = None

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """From a YAML file with any of `read`, `written`, `trained`.

        Raises:
            ConfigError: it cannot be read, or holds anything else.
        """
        try:
            values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ConfigError(f"--rates {path} cannot be read: {error}") from error
        good = isinstance(values, Mapping) and all(
            name in cls._fields and isinstance(rate, int | float) and rate > 0 for name, rate in values.items()
        )
        if not good:
            raise ConfigError(
                f"--rates {path} must hold tokens per second and GPU under {', '.join(cls._fields)}, such as "
                "`trained: 5000`; or name the home of an earlier run"
            )
        return cls(**values)


class Replicas(NamedTuple):
    """Copies of a model that answer at once: each split over `split` processors, with room for `sequences`."""

    number: int
    split: int
    sequences: float


def writing_seconds(
    shape: ModelShape, device: Device, replicas: Replicas, tokens: tuple[float, float], assumed: Assumptions
) -> float:
    """Seconds to read and write (`tokens`: both) with all replicas busy.

    Reading is bound by operations, two per parameter and token. Writing a token for every sequence of a batch takes the
    weights and the cached keys and values once through the memory.
    """
    read, written = tokens
    processors = replicas.number * replicas.split
    read_s = read * (1 - assumed.reused_prompt) * 2 * shape.multiplied / (device.flops * assumed.read_mfu * processors)
    element = 2 if device.is_gpu else 4
    context = assumed.instruction_tokens + assumed.template_tokens + assumed.answer_tokens
    batch = max(1.0, replicas.sequences)
    moved = element * shape.parameters / replicas.split + batch * context * shape.cache_bytes(replicas.split, element)
    step_s = max(
        moved / (device.bandwidth * assumed.write_bandwidth),
        batch * 2 * shape.multiplied / (device.flops * assumed.read_mfu * replicas.split),
    )
    return read_s + written / (batch / step_s * replicas.number)


def training_seconds(
    shape: ModelShape,
    device: Device,
    load: TrainingLoad,
    tokens: float,
    processors: int,
    assumed: Assumptions,
    *,
    epochs: float,
    reference: bool,
) -> float:
    """Seconds for `tokens` tokens, all epochs together, on all processors.

    Six operations per parameter and token, two more where the forward pass is made again, two less where weights are
    frozen; and two per token for the reference's log-probabilities: of one epoch, with adapters of each.
    """
    per_token = 4.0 if load.lora_rank else 6.0
    per_token += 2.0 if load.checkpointing else 0.0
    per_token += 2.0 / (1.0 if load.lora_rank else max(1.0, epochs)) if reference else 0.0
    # Attention over the sequence so far, as products of width times half the length.
    mean = min(load.tokens, 2 * (assumed.instruction_tokens + assumed.answer_tokens)) / 2
    weights = shape.multiplied + 2 * shape.layers * shape.query_width * mean / 2
    share = assumed.adapter_mfu if load.lora_rank else assumed.train_mfu if device.is_gpu else assumed.cpu_train_share
    return tokens * per_token * weights / (device.training_flops(load.precision) * share * processors)
