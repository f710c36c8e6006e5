"""The shape of a decoder-only model, as far as memory and time depend on it: from config.json, weights or a table."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Self

from spar_core.errors import ConfigError

_HEADER_LIMIT = 100_000_000  # bytes; that of the safetensors format
_STORED_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class ModelShape(NamedTuple):
    """A decoder with gated feed-forward layers (Llama, Mistral, GLM-4, Qwen, Gemma). Widths count features.

    `extra` are parameters beyond those the widths tell of, such as biases; `stored_bytes` per parameter on disk.
    """

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    tied: bool = False
    stored_bytes: int = 2
    extra: int = 0

    @property
    def weights(self) -> float:
        """Bytes on the disk."""
        return float(self.parameters * self.stored_bytes)

    @property
    def query_width(self) -> int:
        """Features of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Features of all key heads together, which are as many as those of the values."""
        return self.kv_heads * self.head_dim

    @property
    def linear_inputs(self) -> tuple[int, ...]:
        """Input features of a block's linear layers: q, k, v, o, gate, up, down."""
        return (self.hidden, self.hidden, self.hidden, self.query_width, self.hidden, self.hidden, self.intermediate)

    @property
    def linear_outputs(self) -> tuple[int, ...]:
        """Output features of the same layers."""
        wide = self.intermediate
        return (self.query_width, self.kv_width, self.kv_width, self.hidden, wide, wide, self.hidden)

    @property
    def block_linear(self) -> int:
        """Parameters of one block's matrices."""
        return sum(rows * columns for rows, columns in zip(self.linear_inputs, self.linear_outputs, strict=True))

    @property
    def block(self) -> int:
        """Parameters of one block: matrices and two norms."""
        return self.block_linear + 2 * self.hidden

    @property
    def head(self) -> int:
        """Parameters of the output head (those of the embedding where they are tied)."""
        return self.vocabulary * self.hidden

    @property
    def outside(self) -> int:
        """Parameters outside of the blocks: embedding, head, final norm."""
        return self.head * (1 if self.tied else 2) + self.hidden

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.layers * self.block + self.outside + self.extra

    @property
    def multiplied(self) -> int:
        """Parameters that every token is multiplied with: all matrices, without the embedding's look-up."""
        return self.layers * self.block_linear + self.head

    def cache_bytes(self, split: int = 1, element_bytes: int = 2) -> int:
        """Bytes of keys and values per token and GPU, where the heads are split over `split` GPUs."""
        return 2 * self.layers * max(1, -(-self.kv_heads // split)) * self.head_dim * element_bytes

    @classmethod
    def of_config(cls, config: Mapping[str, Any], name: str, parameters: int | None = None) -> Self:
        """The shape that a model's config.json describes.

        Args:
            config: its content.
            name: what the model is called.
            parameters: the exact number, where the weights are there to count.

        Raises:
            ConfigError: it lacks a width.
        """
        text = config.get("text_config") or config
        try:
            heads, hidden = int(text["num_attention_heads"]), int(text["hidden_size"])
            shape = cls(
                name=name,
                layers=int(text["num_hidden_layers"]),
                hidden=hidden,
                intermediate=int(text["intermediate_size"]),
                heads=heads,
                kv_heads=int(text.get("num_key_value_heads") or heads),
                head_dim=int(text.get("head_dim") or hidden // heads),
                vocabulary=int(text["vocab_size"]),
                context=int(text.get("max_position_embeddings") or 0),
                tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
                stored_bytes=_STORED_BYTES.get(str(config.get("dtype") or config.get("torch_dtype")), 2),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"the config.json of {name} does not tell the model's widths ({error}); memory is planned for "
                "decoder-only models with hidden_size, intermediate_size, num_hidden_layers, num_attention_heads"
            ) from error
        return shape if parameters is None else shape._replace(extra=parameters - shape.parameters)

    @classmethod
    def of_folder(cls, folder: Path, name: str) -> Self:
        """The shape of the model in a folder: its config.json, and its weights' headers where they are there.

        Raises:
            ConfigError: there is no config.json, or it lacks a width.
        """
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{folder} holds no readable config.json ({error}); name a model folder") from error
        return cls.of_config(config, name, _counted(folder, bool(config.get("tie_word_embeddings", False))))


def _counted(folder: Path, tied: bool) -> int | None:
    """Parameters by the headers of the folder's safetensors files; None where there are none that can be read."""
    shapes: dict[str, list[int]] = {}
    for file in folder.glob("*.safetensors"):
        try:
            with file.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(length)) if 0 < length < _HEADER_LIMIT else {}
            shapes |= {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
        except (OSError, ValueError, LookupError, TypeError):
            return None
    if tied:
        shapes.pop("lm_head.weight", None)  # written out beside the embedding that it is
    return sum(prod(shape) for shape in shapes.values()) or None
