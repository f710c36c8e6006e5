"""`spar eval perplexity`: a model's likelihood of plain text, against transformers' own loss."""

import json
import math
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from flows.benchmarking.own.perplexity import BENCHMARK
from flows.benchmarking.session import BenchmarkSession
from flows.cli import invoke
from spar_core.errors import ConfigError
from spar_core.starter import base_model_dir
from storage.catalog import open_catalog


def _measured(capsys, *options):
    invoke(["eval", "perplexity", "--json", *options])
    return {score["metric"]: score for score in json.loads(capsys.readouterr().out)["scores"]}


@pytest.mark.usefixtures("prefect_server")
def test_perplexity_is_that_of_the_models_own_loss(tmp_path, capsys):
    words = [" ".join(f"word{number} and {line}" for number in range(40)) for line in range(6)]
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(words), encoding="utf-8")
    found = _measured(capsys, "--model", "starter", "--home", str(tmp_path / "home"), "--prompts", str(text))

    model = AutoModelForCausalLM.from_pretrained(base_model_dir(), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base_model_dir())
    with open_catalog(tmp_path / "home") as catalog:
        rows = catalog.rows("SELECT value FROM eval_items WHERE metric = 'bits_per_byte'")
    nats = tokens = size = 0.0
    passages = ["\n\n".join(words[:2]), "\n\n".join(words[2:4]), "\n\n".join(words[4:])]
    for passage in passages:
        ids = tokenizer(passage, return_tensors="pt").input_ids
        with torch.inference_mode():
            nats += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
        size += len(passage.encode())
    assert len(rows) == found["bits_per_byte"]["n"] == len(passages)
    assert found["perplexity"]["value"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert found["bits_per_byte"]["value"] == pytest.approx(nats / math.log(2) / size, rel=1e-4)
    assert found["perplexity"]["ci_low"] <= found["perplexity"]["value"] <= found["perplexity"]["ci_high"]


def test_a_server_cannot_be_measured_so():
    asked = SimpleNamespace(model="http://127.0.0.1:1/v1#m", prompts=None)
    session = cast("BenchmarkSession", SimpleNamespace(request=asked, model=SimpleNamespace(served=None)))
    with pytest.raises(ConfigError, match="log-probabilities"):
        BENCHMARK.stages(session)
