"""Rebuild the starter's tokenizer and base model from nothing.

    python -m spar_core.starter.pretrain --out DIR [--seed S] [--tokens N]

First copy exercises, then answers, verifications and refinements together. While it trains, an embedding is the sum
of a word's and a case's vector, so that what is learned about one form of a word holds for the other two; the
exported checkpoint is a plain `LlamaForCausalLM` with both matrices written out.
"""

import argparse
import json
import logging
import math
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch.multiprocessing.spawn import spawn
from transformers import LlamaConfig, LlamaForCausalLM

from spar_core.hashing import derive_seed
from spar_core.records import RefinerExample
from spar_core.starter import teacher
from spar_core.starter.tokenizer import build_tokenizer, vocabulary
from spar_core.starter.world import generate_prompts

logger = logging.getLogger(__name__)
IGNORED = -100
WIDTH_MULTIPLE = 16
LOSS_PLACES_MULTIPLE = 512
Stage = Literal["copies", "faultless", "joint"]
Row = tuple[list[int], list[int]]  # token ids, labels


@dataclass(frozen=True, slots=True)
class Recipe:
    """Sizes and schedule of pre-training; token counts include padding-free sequence tokens only."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384
    tokens: int = 18_000_000
    copy_tokens: float = 0.08  # share of `tokens` spent on exercises alone, first
    faultless_tokens: float = 0.7  # share of `tokens` up to which verifications make no mistakes
    start: str | None = None  # folder of a checkpoint to go on from; None = from nothing
    workers: int = 2
    batch_tokens: int = 3000  # per worker
    learning_rate: float = 3e-3
    warmup_steps: int = 60
    final_rate: float = 0.03  # of the peak, at the end of a cosine
    weight_decay: float = 0.05
    seed: int = 0


# Shares of the joint stage, by examples.
SHARES = {"answer": 0.14, "judgement": 0.36, "refinement": 0.31, "scoring": 0.03, "comparison": 0.05, "replay": 0.11}


class FactoredEmbedding(torch.nn.Module):
    """Rows of the embedding matrix as word vector + case vector, shape (vocabulary, hidden)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        vocab = vocabulary()
        self.words = torch.nn.Parameter(torch.randn(max(vocab.bases) + 1, hidden) * 0.05)
        self.forms = torch.nn.Parameter(torch.randn(4, hidden) * 0.05)
        self.bases: torch.Tensor
        self.cases: torch.Tensor
        self.register_buffer("bases", torch.tensor(vocab.bases))
        self.register_buffer("cases", torch.tensor(vocab.cases))

    def forward(self) -> torch.Tensor:
        """The full matrix."""
        return self.words[self.bases] + self.forms[self.cases]

    def take(self, matrix: torch.Tensor) -> None:
        """Become a matrix that is such a sum."""
        with torch.no_grad():
            self.words[self.bases[self.cases < 2]] = matrix[self.cases < 2]
            self.forms.zero_()
            for case in (2, 3):
                rows = self.cases == case
                self.forms[case] = (matrix[rows] - self.words[self.bases[rows]]).mean(0)


def pretrain(out: Path, recipe: Recipe) -> None:
    """Train with `recipe.workers` one-thread processes and write tokenizer, weights and configuration to `out`."""
    with tempfile.TemporaryDirectory() as scratch:
        spawn(_work, args=(out, recipe, f"file://{scratch}/meeting"), nprocs=recipe.workers)  # type: ignore[no-untyped-call]


def _work(rank: int, out: Path, recipe: Recipe, meeting: str) -> None:
    # One thread each: two threads wait for one another at every operator, two processes once per step.
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING, format="%(asctime)s %(message)s")
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=recipe.workers)
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer()
    model = LlamaForCausalLM(_config(recipe, tokenizer))
    inputs, outputs = FactoredEmbedding(recipe.hidden), FactoredEmbedding(recipe.hidden)
    if recipe.start:
        model = LlamaForCausalLM.from_pretrained(recipe.start)
        inputs.take(model.model.embed_tokens.weight)
        outputs.take(model.lm_head.weight)
    _train(model, inputs, outputs, recipe, _batches(recipe, tokenizer, rank))
    if rank == 0:
        with torch.no_grad():
            model.model.embed_tokens.weight.copy_(inputs())
            model.lm_head.weight.copy_(outputs())
        out.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    dist.destroy_process_group()


def encode(example: RefinerExample, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Token ids and labels of one example: loss on the answer, and on the verification inside a refine request."""
    request, answer = (message.content for message in example.messages)
    head, sep, review = request.partition("\nReview:\n") if example.kind == "refinement" else (request, "", "")
    ids = [tokenizer.bos_token_id, *_ids(tokenizer, "<user>" + head + sep)]
    labels = [IGNORED] * len(ids)
    tail = _ids(tokenizer, review)
    ids += tail
    labels += tail
    ids += _ids(tokenizer, "<assistant>")
    labels.append(IGNORED)
    target = [*_ids(tokenizer, answer), tokenizer.eos_token_id]
    return ids + target, labels + target


def _train(
    model: LlamaForCausalLM,
    inputs: FactoredEmbedding,
    outputs: FactoredEmbedding,
    recipe: Recipe,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor, int]],
) -> None:
    body = [p for n, p in model.named_parameters() if "embed_tokens" not in n and "lm_head" not in n]
    parameters = [*body, *inputs.parameters(), *outputs.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
    )
    seen, step, started = 0, 0, time.monotonic()
    for ids, labels, tokens in batches:
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _rate(step, seen / recipe.tokens, recipe)
        loss = _loss(model, inputs(), outputs(), ids, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        seen, step = seen + _share_gradients(parameters, tokens, recipe.workers), step + 1
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            speed = seen / (time.monotonic() - started)
            logger.info("step %d, %.2f M tokens, loss %.4f, %.0f tokens/s", step, seen / 1e6, loss.item(), speed)
        if seen >= recipe.tokens:
            return


def _share_gradients(parameters: list[torch.nn.Parameter], tokens: int, workers: int) -> int:
    """Average the gradients over the workers; returns the tokens that all of them saw in this step."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([*[g.flatten() for g in gradients], torch.tensor([float(tokens)])])
    dist.all_reduce(flat)
    offset = 0
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient) / workers)
        offset += gradient.numel()
    return int(flat[-1])


def _loss(
    model: LlamaForCausalLM, matrix: torch.Tensor, head: torch.Tensor, ids: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    targets = labels[:, 1:].flatten()
    places = (targets != IGNORED).nonzero().squeeze(1)
    # A few fixed shapes only: the matrix kernels are compiled once per shape. Padding repeats place 0 with no target.
    padded = F.pad(places, (0, -len(places) % LOSS_PLACES_MULTIPLE))
    wanted = targets[padded]
    wanted[len(places) :] = IGNORED
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(inputs_embeds=F.embedding(ids, matrix), use_cache=False).last_hidden_state
        logits = F.linear(hidden[:, :-1].flatten(0, 1)[padded], head)
    return F.cross_entropy(logits.float(), wanted, ignore_index=IGNORED)


def _batches(recipe: Recipe, tokenizer: Any, rank: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    """Token ids, labels and the number of real tokens; right padding, which causal attention needs no mask for."""
    rng = random.Random(derive_seed(recipe.seed, "starter.pretrain", f"batches {rank}"))
    seen, chunk = 0, rank
    while True:
        share = seen * recipe.workers / recipe.tokens
        stage: Stage = "copies" if share < recipe.copy_tokens else "joint"
        if stage == "joint" and share < recipe.faultless_tokens:
            stage = "faultless"
        rows = [encode(example, tokenizer) for example in _examples(stage, recipe.seed, chunk)]
        batches = list(_bucketed(rows, recipe.batch_tokens))
        rng.shuffle(batches)
        for width, batch in batches:
            tokens = sum(len(ids) for ids, _ in batch)
            seen += tokens
            yield (
                torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in batch]),
                torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in batch]),
                tokens,
            )
        chunk += recipe.workers


def _bucketed(rows: list[Row], batch_tokens: int) -> Iterator[tuple[int, list[Row]]]:
    """Batches of one width from a small set; incomplete ones are left out, so that every shape recurs."""
    buckets: dict[int, list[Row]] = {}
    for row in rows:
        width = -(-len(row[0]) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE
        bucket = buckets.setdefault(width, [])
        bucket.append(row)
        if len(bucket) == batch_tokens // width:
            yield width, buckets.pop(width)


def _examples(stage: Stage, seed: int, chunk: int, count: int = 4000) -> list[RefinerExample]:
    rng = random.Random(derive_seed(seed, "starter.pretrain", f"chunk {chunk}"))
    if stage == "copies":
        return [teacher.replay_example(rng) for _ in range(count)]
    makers = {
        "judgement": teacher.judgement_example,
        "refinement": teacher.refinement_example,
        "scoring": teacher.scoring_example,
        "comparison": teacher.comparison_example,
    }
    prompt_seed = derive_seed(seed, "starter.pretrain.prompts", str(chunk))
    prompts = generate_prompts(count, prompt_seed, "train", many_words=True)
    kinds = rng.choices(list(SHARES), weights=list(SHARES.values()), k=count)
    examples = []
    for kind, prompt in zip(kinds, prompts, strict=True):
        if kind == "replay":
            examples.append(teacher.replay_example(rng))
        elif kind == "answer":
            examples.append(teacher.answer_example(prompt, rng))
        else:
            examples.append(makers[kind](prompt, rng, mistakes=stage == "joint"))
    return examples


def _rate(step: int, progress: float, recipe: Recipe) -> float:
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return warm * (recipe.final_rate + (1 - recipe.final_rate) * cosine)


def _config(recipe: Recipe, tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,  # both matrices stored: engines that reload weights rely on it
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer._tokenizer.encode(text, add_special_tokens=False).ids
    return found


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description="Rebuild the starter's tokenizer and base model.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=Recipe.__dataclass_fields__["tokens"].default)
    parser.add_argument("--start", help="folder of a checkpoint to go on from (no copy exercises alone, lower rate)")
    arguments = parser.parse_args()
    recipe = Recipe(seed=arguments.seed, tokens=arguments.tokens, start=arguments.start)
    if arguments.start:
        recipe = replace(recipe, copy_tokens=0.0, faultless_tokens=0.55, learning_rate=2e-3)
    pretrain(arguments.out, recipe)


if __name__ == "__main__":
    main()
