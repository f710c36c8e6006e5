import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import VOCABULARY
from transformers import AutoModelForCausalLM

from spar_core.engines.base import Completion, Generation, GenerationRequest, Sampling
from spar_core.engines.choosing import Parting, parting
from spar_core.engines.journaled import JournaledEngine
from spar_core.engines.scripted import ScriptedEngine
from spar_core.engines.transformers_engine import TransformersEngine
from spar_core.errors import RequestRejectedError
from spar_core.records import Message

Folders = Callable[[str], Path]
CHOICES = (" w7", " w8")


def words(seed: int, count: int) -> str:
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(9, VOCABULARY)}" for _ in range(count))


def choosing(seed: int, temperature: float = 1.0, n: int = 1) -> GenerationRequest:
    messages = (Message("user", words(seed, 5 + seed)), Message("assistant", words(seed + 100, 3)))
    return GenerationRequest(messages, Sampling(temperature, 1.0, 16), seed, n, CHOICES)


def ask(folder: Path, asked: list[GenerationRequest], rows: int = 8) -> list[Generation]:
    async def run() -> list[Generation]:
        engine = TransformersEngine(folder, device="cpu", threads=1, max_batch_rows=rows)
        try:
            return await asyncio.gather(*(engine.generate(one) for one in asked))
        finally:
            await engine.close()

    return asyncio.run(run())


def own_shares(folder: Path, request: GenerationRequest) -> list[float]:
    """Softmax over the two words' logits behind the chat, which the template ends with "<assistant> " and the turn."""
    ids = [2, *(int(word[1:]) for word in request.messages[0].content.split()), 3]
    ids += [int(word[1:]) for word in request.messages[1].content.split()]
    logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([ids])).logits[0, -1]
    shares: list[float] = torch.softmax(logits[[7, 8]], 0).tolist()
    return shares


def test_the_choice_has_the_models_own_probability(model_folder: Folders) -> None:
    folder = model_folder("llama")
    asked = [choosing(seed, temperature=0.0) for seed in range(6)]
    for request, said in zip(asked, ask(folder, asked), strict=True):
        (completion,) = said.completions
        expected = own_shares(folder, request)
        assert completion.shares == pytest.approx(expected, abs=1e-5)
        assert completion.text == CHOICES[expected[1] > expected[0]]
        assert (completion.finish_reason, completion.completion_tokens) == ("stop", 1)


def test_choices_are_drawn_by_the_seed_whatever_shares_the_batch(model_folder: Folders) -> None:
    folder = model_folder("llama")
    free = [GenerationRequest((Message("user", words(s, 9)),), Sampling(1.0, 1.0, 12), s) for s in range(6)]
    many = choosing(3, n=40)
    alone = ask(folder, [many], rows=64)[0]
    mixed = ask(folder, [*free, many], rows=7)
    assert mixed[-1] == alone
    assert mixed[:-1] == ask(folder, free)
    assert {completion.text for completion in alone.completions} <= set(CHOICES)


def test_texts_part_at_the_first_token_that_differs() -> None:
    assert parting([[1, 2, 5, 9], [1, 2, 6]]) == Parting((1, 2), (5, 6))


@pytest.mark.parametrize("texts", [[[1, 2], [1, 2]], [[1, 2], [1, 2, 3]], [[4], [5]], [[1, 2], [1, 3], [1, 3]]])
def test_choices_that_no_token_tells_apart_are_refused(texts: list[list[int]]) -> None:
    with pytest.raises(RequestRejectedError, match="other words") as refused:
        parting(texts)
    assert refused.value.reason == "choices"


def test_choices_continue_the_assistants_turn() -> None:
    with pytest.raises(ValueError, match="must be the last"):
        GenerationRequest((Message("user", "x"),), Sampling(), 0, 1, CHOICES)


def test_a_request_without_choices_keeps_its_key_and_others_have_their_own() -> None:
    free, held = choosing(1), choosing(1)
    free = GenerationRequest(free.messages, free.sampling, free.seed, free.n)
    other = GenerationRequest(held.messages, held.sampling, held.seed, held.n, (" w7", " w9"))
    assert len({free.key("m"), held.key("m"), other.key("m")}) == 3


def test_the_journal_keeps_shares() -> None:
    kept: dict[str, str] = {}

    class Store:
        def get(self, key: str) -> str | None:
            return kept.get(key)

        def put(self, key: str, answer: str) -> None:
            kept[key] = answer

    said = Completion(" w7", "stop", 1, shares=(0.75, 0.25))
    engine = JournaledEngine(ScriptedEngine(lambda request, index: said), Store())
    answers = [asyncio.run(engine.generate(choosing(1))) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[1].completions == (said,)
    assert engine.replayed == 1
