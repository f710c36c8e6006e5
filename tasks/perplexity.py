"""Stage `perplexity`: how likely a model finds plain text, which training on something else must not harm."""

import math
from dataclasses import replace
from pathlib import Path

from spar_core.engines.configuration import TransformersEngineConfig
from spar_core.engines.likelihood import TextLikelihood, text_likelihoods
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.passages import passages, read_text, shipped_text
from spar_core.evaluation.scores import score_record
from spar_core.evaluation.statistics import clustered_sums
from spar_core.hashing import content_id
from spar_core.records import EvalItem, EvalScore, ModelRole
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage

BENCHMARK = "perplexity"
BITS_PER_BYTE = "bits_per_byte"
PER_TOKEN = "perplexity"


def _measure(context: ShardContext) -> ShardRows:
    config, model, engine = context.call.config, context.call.models["model"], context.call.engines["model"]
    given = context.call.files.get("text")
    texts = passages(shipped_text() if given is None else read_text(Path(given.location)), config["limit"])
    own = engine if isinstance(engine, TransformersEngineConfig) else TransformersEngineConfig()
    found = list(text_likelihoods(Path(model.location), texts, own.device, own.dtype))
    items = [_item(config["role"], model.digest, text, each) for text, each in zip(texts, found, strict=True)]
    context.part.write("eval_items", items)
    context.part.write("eval_scores", _scores(config["role"], model.digest, texts, found))
    return ShardRows(len(texts), len(items))


def _item(role: ModelRole, digest: str, text: str, likelihood: TextLikelihood) -> EvalItem:
    item_id = content_id(text)
    value = likelihood.nats / math.log(2) / len(text.encode())
    return EvalItem(BENCHMARK, role, digest, item_id, item_id, BITS_PER_BYTE, value, f"{likelihood.tokens} tokens")


def _scores(role: ModelRole, digest: str, texts: list[str], found: list[TextLikelihood]) -> list[EvalScore]:
    """Bits per byte over the whole text, comparable between tokenizers, and perplexity per token; by passage."""
    bits = [each.nats / math.log(2) for each in found]
    per_byte = replace(clustered_sums(bits, [len(text.encode()) for text in texts], None), n=len(texts))
    nats = clustered_sums([each.nats for each in found], [each.tokens for each in found], None)
    per_token = Estimate(math.exp(nats.value), math.exp(nats.ci_low), math.exp(nats.ci_high), len(texts))
    estimates = {BITS_PER_BYTE: per_byte, PER_TOKEN: per_token}
    return [score_record(BENCHMARK, role, digest, name, estimate) for name, estimate in estimates.items()]


PERPLEXITY = Stage("perplexity", version=1, work=_measure, stays=True)
