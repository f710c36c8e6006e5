"""How likely a model finds texts that it did not write: the log-probabilities of their tokens, one text at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from spar_core.engines.model_folder import DtypeName, pick_device, pick_dtype
from spar_core.errors import EngineError


class TextLikelihood(NamedTuple):
    """`nats`: negative log-likelihood of the tokens after the first; `tokens`: how many those are."""

    nats: float
    tokens: int


def text_likelihoods(
    folder: Path, texts: Iterable[str], device: str = "auto", dtype: DtypeName = "auto"
) -> Iterator[TextLikelihood]:
    """The likelihood of each text, as plain text (no chat template), cut at the model's context.

    Raises:
        EngineError: the model cannot be loaded.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = pick_device(device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=pick_dtype(dtype, place)).to(place).eval()
    except (OSError, ValueError) as error:
        raise EngineError(f"model folder {folder}: {error}") from error
    context = int(model.config.get_text_config().max_position_embeddings)
    for text in texts:
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=context).input_ids.to(place)
        with torch.inference_mode():
            logits = model(input_ids=tokens).logits[0, :-1].float()
        nats = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum")
        yield TextLikelihood(float(nats), tokens.shape[1] - 1)
