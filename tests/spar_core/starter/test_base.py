import json
import subprocess
import sys

import pytest
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from spar_core.hashing import model_digest
from spar_core.starter import base_model_dir, world


@pytest.fixture(scope="module")
def base():
    return AutoModelForCausalLM.from_pretrained(base_model_dir())


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = "import sys, spar_core.starter as s; s.base_model_dir(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_base_is_a_plain_llama_with_both_matrices_stored_and_small(base) -> None:
    folder = base_model_dir()
    assert type(base).__name__ == "LlamaForCausalLM"
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert {"lm_head.weight", "model.embed_tokens.weight"} <= set(weights.keys())
    assert sum(file.stat().st_size for file in folder.iterdir()) < 20 * 2**20


def test_digest_is_that_of_the_files_alone(tmp_path) -> None:
    copied = tmp_path / "elsewhere"
    copied.mkdir()
    for file in base_model_dir().iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    assert model_digest(copied) == model_digest(base_model_dir())


def test_special_tokens_agree_in_every_file(base) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_model_dir())
    for settings in (base.config, base.generation_config):
        assert settings.bos_token_id == tokenizer.bos_token_id
        assert settings.eos_token_id == tokenizer.eos_token_id
        assert settings.pad_token_id == tokenizer.pad_token_id
    assert base.config.vocab_size == len(tokenizer)


def test_base_answers_a_bare_request_with_the_right_number_of_items(base) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_model_dir())
    turns = [{"role": "user", "content": "Name three birds. Use bullet points."}]
    request = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")
    output = base.generate(**request, max_new_tokens=40, do_sample=False)
    answer = tokenizer.decode(output[0, request["input_ids"].shape[1] :], skip_special_tokens=True)
    assert len(world.named_items("birds", answer)) == 3
