"""Parameter counts and cache sizes by hand, or by the publishers' counts; reading of folders."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from spar_core.errors import ConfigError
from spar_core.planning import KNOWN, ModelShape

_CONFIG = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 10,
    "max_position_embeddings": 32,
}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("meta-llama/Meta-Llama-3-8B-Instruct", 8_030_261_248),
        ("meta-llama/Meta-Llama-3-70B-Instruct", 70_553_706_496),
        ("THUDM/glm-4-9b-chat-hf", 9_399_951_360),
        ("mistralai/Mistral-7B-Instruct-v0.3", 7_248_023_552),
    ],
)
def test_the_papers_models_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    assert KNOWN[name].parameters == parameters


def test_a_shape_from_a_configuration() -> None:
    shape = ModelShape.of_config(_CONFIG, "tiny")
    # Per block: q 8x8, k and v 8x4 each, o 8x8, three of 8x16, two norms of 8.
    assert shape.block == 64 + 2 * 32 + 64 + 3 * 128 + 16
    assert shape.parameters == 2 * shape.block + 2 * 80 + 8
    assert shape._replace(tied=True).parameters == 2 * shape.block + 80 + 8
    # Keys and values of two layers, one head of four features, two bytes each.
    assert shape.cache_bytes() == 2 * 2 * 4 * 2
    assert KNOWN["meta-llama/Meta-Llama-3-8B-Instruct"].cache_bytes() == 131_072
    # Two key heads cannot be split over eight GPUs: each holds one of them.
    assert KNOWN["THUDM/glm-4-9b-chat-hf"].cache_bytes(8) == 2 * 40 * 1 * 128 * 2


def test_the_weights_are_counted_where_they_are_there(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(_CONFIG | {"tie_word_embeddings": True}))
    assert ModelShape.of_folder(tmp_path, "tiny").extra == 0
    named = {"embed": torch.zeros(10, 8), "lm_head.weight": torch.zeros(10, 8), "rest": torch.zeros(2000)}
    save_file(named, tmp_path / "model.safetensors")
    assert ModelShape.of_folder(tmp_path, "tiny").parameters == 80 + 2000  # the head is the embedding


@pytest.mark.parametrize("text", ["{", '{"hidden_size": 8}', '{"model_type": "whale"}'])
def test_what_is_no_such_model_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        ModelShape.of_folder(tmp_path, "whale")
