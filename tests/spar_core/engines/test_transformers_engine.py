import asyncio
import random
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models
import torch
from tiny_models import ASSISTANT, CONTEXT, END, UNKNOWN, USER, write_model, write_tokenizer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from spar_core.engines.base import Completion, Engine, Generation, GenerationRequest, Restartable, Sampling
from spar_core.engines.chat_format import ChatFormat
from spar_core.engines.configuration import ThinkingSettings
from spar_core.engines.slot_batch import Finished, SlotBatch
from spar_core.engines.transformers_engine import TransformersEngine
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from spar_core.hashing import model_digest
from spar_core.records import Message

Folders = Callable[[str], Path]
GREEDY = Sampling(temperature=0.0, max_tokens=20)
WARM = Sampling(temperature=1.0, top_p=0.9, max_tokens=20)


def words(seed: int, count: int) -> str:
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(6, 120)}" for _ in range(count))


def request(text: str, sampling: Sampling = WARM, seed: int = 0, n: int = 1) -> GenerationRequest:
    return GenerationRequest((Message("user", text),), sampling, seed, n)


def ask(engine: TransformersEngine, asked: list[GenerationRequest], close: bool = True) -> list[Generation]:
    async def run() -> list[Generation]:
        try:
            return await asyncio.gather(*(engine.generate(one) for one in asked))
        finally:
            if close:
                await engine.close()

    return asyncio.run(run())


def open_tiny(folder: Path, **options) -> TransformersEngine:
    return TransformersEngine(folder, device="cpu", threads=1, **options)


def word_ids(text: str) -> list[int]:
    return [int(word[1:]) for word in text.split()]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "glm", "glm4", "qwen2"])
def test_greedy_equals_the_models_own_generate_on_ragged_prompts(architecture: str, model_folder: Folders) -> None:
    folder = model_folder(architecture)
    prompts = [words(seed, 1 + seed * 3) for seed in range(12)]
    engine = open_tiny(folder, max_batch_rows=5)
    # The automatic choice for Qwen2 replaces the word-level tokenizer by a byte-level one.
    engine._chat = ChatFormat(PreTrainedTokenizerFast.from_pretrained(folder), "the test's model")
    answers = ask(engine, [request(prompt, GREEDY) for prompt in prompts])
    model = AutoModelForCausalLM.from_pretrained(folder)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = [USER, *word_ids(prompt), ASSISTANT]
        whole = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=20, eos_token_id=END)
        new = whole[0, len(ids) :].tolist()
        completion = answer.completions[0]
        assert answer.prompt_tokens == len(ids)
        assert completion.completion_tokens == len(new)
        assert completion.finish_reason == ("stop" if new[-1] == END else "length")
        kept = [token for token in new if token > 5]
        assert word_ids(completion.text) == kept


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_samples_depend_on_seed_and_index_not_on_the_batch(dtype: str, model_folder: Folders) -> None:
    folder = model_folder("llama")
    asked = [request(words(number, 1 + number % 50), seed=number, n=1 + number % 3) for number in range(30)]
    crowded = ask(open_tiny(folder, max_batch_rows=64, dtype=dtype), asked)
    narrow = ask(open_tiny(folder, max_batch_rows=3, dtype=dtype), list(reversed(asked)))[::-1]
    assert crowded == narrow
    assert len({completion.text for answer in crowded for completion in answer.completions}) > 30


def test_every_core_computes_a_batch_and_answers_are_the_same(model_folder: Folders) -> None:
    folder = model_folder("llama")
    asked = [request(words(number, 1 + number % 50), seed=number, n=1 + number % 3) for number in range(60)]
    alone = ask(open_tiny(folder, max_batch_rows=96), asked)
    engine = TransformersEngine(folder, device="cpu", threads=3, max_batch_rows=96)
    sizes = [count_steps(worker.batch) for worker in engine._workers]
    assert ask(engine, asked) == alone
    assert len(sizes) == 3
    assert all(sizes)


def test_few_rows_are_one_batch(model_folder: Folders) -> None:
    engine = TransformersEngine(model_folder("llama"), device="cpu", threads=3, max_batch_rows=32)
    assert len(engine._workers) == 1
    asyncio.run(engine.close())


def count_steps(batch: SlotBatch | None) -> list[int]:
    """Fills with the number of rows at each step of a batch."""
    assert batch is not None
    advance, steps = batch.advance, []

    def counted() -> list[Finished]:
        steps.append(len(batch))
        return advance()

    batch.advance = counted
    return steps


def test_samples_of_one_request_differ_and_repeat(model_folder: Folders) -> None:
    asked = request(words(1, 8), seed=5, n=6)
    first, again, other_seed = ask(open_tiny(model_folder("llama")), [asked, asked, request(words(1, 8), seed=6, n=6)])
    assert first == again
    assert len({completion.text for completion in first.completions}) > 1
    assert first != other_seed
    fewer = ask(open_tiny(model_folder("llama")), [request(words(1, 8), seed=5, n=2)])[0]
    assert fewer.completions == first.completions[:2]
    others = ask(open_tiny(model_folder("llama")), [replace(asked, first=2, n=4), replace(asked, first=5, n=1)])
    assert [other.completions for other in others] == [first.completions[2:], first.completions[5:]]


def test_callers_in_many_threads_share_one_engine(model_folder: Folders) -> None:
    engine = open_tiny(model_folder("llama"))
    expected = ask(engine, [request(words(number, 6), seed=number) for number in range(24)], close=False)
    results: dict[int, Generation] = {}

    def caller(first: int) -> None:
        async def run() -> None:
            for number in range(first, 24, 6):
                results[number] = await engine.generate(request(words(number, 6), seed=number))

        asyncio.run(run())

    threads = [threading.Thread(target=caller, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(engine.close())
    assert [results[number] for number in range(24)] == expected


def test_rows_evicted_for_lack_of_cache_resume_with_the_same_draws(model_folder: Folders) -> None:
    folder = model_folder("llama")
    asked = [request(words(number, 40), Sampling(1.0, 1.0, 50), seed=number) for number in range(10)]
    roomy = ask(open_tiny(folder), asked)
    # 2 (keys, values) x 2 layers x 2 heads x 8 x 4 bytes = 256 bytes a position; rows of 64 positions fit
    # ten times, rows of 128 five times: growing past 64 sends half of the rows back.
    tight = open_tiny(folder, cache_gib=10 * 64 * 256 / 2**30)
    assert ask(tight, asked) == roomy
    assert any(completion.completion_tokens > 24 for answer in roomy for completion in answer.completions)


def test_out_of_memory_halves_the_batch_and_loses_nothing(model_folder: Folders, monkeypatch) -> None:
    asked = [request(words(number, 8), seed=number) for number in range(12)]
    expected = ask(open_tiny(model_folder("llama")), asked)
    engine = open_tiny(model_folder("llama"))
    sizes = limit_rows(engine, 3, monkeypatch)
    assert ask(engine, asked) == expected
    assert max(sizes) > 3  # it did run out of memory
    assert sizes[-1] <= 3


def test_out_of_memory_at_one_row_is_a_clear_error(model_folder: Folders, monkeypatch) -> None:
    engine = open_tiny(model_folder("llama"))
    limit_rows(engine, 0, monkeypatch)
    with pytest.raises(EngineError, match="out of memory even with a single row"):
        ask(engine, [request(words(1, 3))])


def limit_rows(engine: TransformersEngine, rows: int, monkeypatch) -> list[int]:
    """Let the model run out of memory above a number of rows; the list fills with the sizes tried."""
    model = engine._workers[0].batch._model
    forward, sizes = model.forward, []

    def limited(*arguments, **named):
        sizes.append(named["input_ids"].shape[0])
        if sizes[-1] > rows:
            raise torch.OutOfMemoryError("pretended")
        return forward(*arguments, **named)

    monkeypatch.setattr(model, "forward", limited)
    return sizes


def test_end_at_once_is_an_empty_completion(tmp_path: Path) -> None:
    folder = constant_model(tmp_path, END)
    assert ask(open_tiny(folder), [request("w9", n=2)])[0].completions == (Completion("", "stop", 1),) * 2


def test_any_of_several_end_tokens_ends(tmp_path: Path) -> None:
    folder = constant_model(tmp_path, 77)
    config = folder / "generation_config.json"
    config.write_text(config.read_text().replace(f'"eos_token_id": {END}', f'"eos_token_id": [{END}, 77]'))
    assert ask(open_tiny(folder), [request("w9")])[0].completions == (Completion("", "stop", 1),)


def test_what_another_template_writes_after_an_answer_ends_it(tmp_path: Path) -> None:
    folder = constant_model(tmp_path, UNKNOWN)  # <unk> ends nothing in the model's own template
    other = "{% for m in messages %}<{{ m.role }}> {{ m.content }} <unk> {% endfor %}"
    own = ask(open_tiny(folder), [request("w9", Sampling(0.7, 1.0, 3))])[0].completions
    assert [(answer.finish_reason, answer.completion_tokens) for answer in own] == [("length", 3)]
    engine = open_tiny(folder, thinking=ThinkingSettings(chat_template=other))
    assert ask(engine, [request("w9")])[0].completions == (Completion("", "stop", 1),)


def test_never_ending_answer_stops_at_max_tokens_and_at_the_context(tmp_path: Path) -> None:
    folder = constant_model(tmp_path, 50)
    short, clamped = ask(
        open_tiny(folder),
        [request("w9 w9", Sampling(0.7, 1.0, 3)), request(words(0, CONTEXT - 6), Sampling(0.7, 1.0, 1000))],
    )
    assert short.completions == (Completion("w50 w50 w50", "length", 3),)
    # 90 words and two role marks are 92 tokens: four fit into the context of 96.
    assert clamped.completions == (Completion("w50 w50 w50 w50", "length", 4),)


def test_longest_prompt_that_fits_gets_one_token_and_the_next_is_rejected(tmp_path: Path) -> None:
    engine = open_tiny(constant_model(tmp_path, 50))
    fits = ask(engine, [request(words(0, CONTEXT - 3))], close=False)[0]
    assert fits.completions == (Completion("w50", "length", 1),)
    with pytest.raises(RequestRejectedError, match=r"96 tokens.*1 to 95") as caught:
        ask(engine, [request(words(0, CONTEXT - 2))])
    assert caught.value.reason == "prompt_too_long"


def constant_model(folder: Path, token: int) -> Path:
    """A model that always says `token`: its last norm is zero but for a direction only that token has."""
    write_model(folder, "llama")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        table = model.model.embed_tokens.weight
        table[:, 0] = 1.0
        # Every hidden state becomes the first unit vector times its sign after this norm; squash the rest.
        model.model.norm.weight.zero_()
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.norm.weight[0] = 100.0
        model.config.tie_word_embeddings = False
        head = torch.zeros_like(table)
        head[token, 0] = 100.0
        model.lm_head.weight = torch.nn.Parameter(head)
    model.save_pretrained(folder)
    return folder


def test_logits_that_are_not_finite_fail_the_request_only(tmp_path: Path) -> None:
    write_model(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        model.model.embed_tokens.weight[9, 3] = float("nan")
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(torch.randn(120, 32))
    model.save_pretrained(tmp_path)
    engine = open_tiny(tmp_path)

    async def run() -> list[Generation | BaseException]:
        return await asyncio.gather(
            engine.generate(request("w9 w10", n=2)),
            engine.generate(request("w20 w21", Sampling(0.0, 1.0, 1))),
            return_exceptions=True,
        )

    broken, healthy = asyncio.run(run())
    asyncio.run(engine.close())
    assert isinstance(broken, EngineError)
    assert "not finite" in str(broken)
    assert isinstance(healthy, Generation)


@pytest.mark.parametrize(
    ("sampling", "n"),
    [(Sampling(-0.1), 1), (Sampling(1.0, 0.0), 1), (Sampling(1.0, 1.1), 1), (Sampling(max_tokens=0), 1), (WARM, 0)],
)
def test_sampling_that_makes_no_sense_is_rejected(sampling: Sampling, n: int, model_folder: Folders) -> None:
    with pytest.raises(RequestRejectedError) as caught:
        ask(open_tiny(model_folder("llama")), [request("w9", sampling, n=n)])
    assert caught.value.reason == "bad_sampling"


def test_statistics_add_up_and_closing_is_final(model_folder: Folders) -> None:
    engine = open_tiny(model_folder("llama"))
    assert isinstance(engine, Engine)
    assert engine.model_digest == model_digest(model_folder("llama"))
    answers = ask(engine, [request(words(number, 5), n=2) for number in range(3)])
    assert engine.stats.requests == 3
    assert engine.stats.prompt_tokens == 3 * 7
    total = sum(completion.completion_tokens for answer in answers for completion in answer.completions)
    assert engine.stats.completion_tokens == total
    assert engine.stats.busy_seconds > 0
    asyncio.run(engine.close())
    with pytest.raises(EngineError, match="closed"):
        asyncio.run(engine.generate(request("w9")))


def test_closing_fails_what_is_unanswered_and_frees_the_model(model_folder: Folders) -> None:
    engine = open_tiny(model_folder("llama"), max_batch_rows=1)

    async def run() -> list[Generation | BaseException]:
        waiting = [
            asyncio.ensure_future(engine.generate(request(words(i, 3), Sampling(1.0, 1.0, 80), i))) for i in range(400)
        ]
        await asyncio.sleep(0)
        await engine.close()
        return await asyncio.gather(*waiting, return_exceptions=True)

    results = asyncio.run(run())
    failures = [result for result in results if isinstance(result, EngineError)]
    assert failures
    assert "closed before" in str(failures[0])
    assert engine._workers[0].batch is None


def test_a_cancelled_request_is_not_computed(model_folder: Folders) -> None:
    engine = open_tiny(model_folder("llama"), max_batch_rows=1)

    async def run() -> None:
        first = asyncio.ensure_future(engine.generate(request(words(0, 3), GREEDY)))
        second = asyncio.ensure_future(engine.generate(request(words(1, 3), GREEDY)))
        await asyncio.sleep(0)
        second.cancel()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        await engine.close()

    asyncio.run(run())


def test_a_prompt_the_model_cannot_compute_fails_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tiny_models, "VOCABULARY", 130)  # the tokenizer knows ten words the embedding has no row for
    write_tokenizer(write_model(tmp_path))
    monkeypatch.undo()
    good = [request(words(number, 4 + number), seed=number) for number in range(6)]
    alone = ask(open_tiny(tmp_path), good)
    engine = open_tiny(tmp_path)

    async def run() -> list[Generation | BaseException]:
        asked = [*good[:3], request("w125 w9", n=3), *good[3:]]
        found = await asyncio.gather(*(engine.generate(one) for one in asked), return_exceptions=True)
        await engine.close()
        return found

    answers = asyncio.run(asyncio.wait_for(run(), 60))
    refused = answers.pop(3)
    assert isinstance(refused, EngineError)
    assert "the model failed: IndexError" in str(refused)
    assert answers == alone


def test_an_error_while_decoding_fails_the_rows_under_way_and_no_others(model_folder: Folders, monkeypatch) -> None:
    engine = open_tiny(model_folder("llama"), max_batch_rows=1)
    model = engine._workers[0].batch._model
    forward, calls = model.forward, []

    def failing_once(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("a bug in the model's code")
        return forward(*arguments, **named)

    monkeypatch.setattr(model, "forward", failing_once)

    async def run() -> list[Generation | BaseException]:
        asked = [request(words(number, 5), Sampling(0.0, 1.0, 4)) for number in range(3)]
        found = await asyncio.gather(*(engine.generate(one) for one in asked), return_exceptions=True)
        await engine.close()
        return found

    first, *others = asyncio.run(asyncio.wait_for(run(), 60))
    assert isinstance(first, EngineError)
    assert first.__cause__ is not None
    frames = [frame for frame, _ in traceback.walk_tb(first.__cause__.__traceback__)]
    assert any(frame.f_code.co_name == "failing_once" for frame in frames)
    assert not any("named" in frame.f_locals for frame in frames)  # no tensor is kept alive by an error that is kept
    assert "ValueError: a bug in the model's code" in str(first)
    assert all(isinstance(other, Generation) for other in others)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_worker_that_is_gone(model_folder: Folders, monkeypatch) -> None:
    engine = open_tiny(model_folder("llama"))

    def breaks(_batch) -> None:
        raise SystemExit("not foreseen")

    monkeypatch.setattr(engine._workers[0], "_advance", breaks)
    for _ in range(2):  # also those who come later learn what happened, and that another may do better
        with pytest.raises(EngineUnavailableError, match=r"worker failed: SystemExit\('not foreseen'\)"):
            asyncio.run(asyncio.wait_for(engine.generate(request("w9")), 60))
    assert isinstance(engine, Restartable)
    assert not asyncio.run(engine.is_healthy())


def test_a_cancelled_request_leaves_the_running_batch(tmp_path: Path, monkeypatch) -> None:
    engine = open_tiny(constant_model(tmp_path, 50))  # never ends by itself
    steps = limit_rows(engine, 10**6, monkeypatch)

    async def run() -> None:
        unwanted = [asyncio.ensure_future(engine.generate(request("w9", Sampling(1.0, 1.0, 80), n=40)))]
        while not steps:
            await asyncio.sleep(0.001)
        for one in unwanted:
            one.cancel()
        await engine.generate(request("w8", Sampling(1.0, 1.0, 5)))
        await asyncio.sleep(0)
        assert len(engine._workers[0].batch) == 0
        await engine.close()

    asyncio.run(asyncio.wait_for(run(), 60))
    # 40 rows until the cancellation is seen, then the other request's one (a batch is never computed below 8 rows).
    assert steps[-5:] == [8] * 5
    assert len(steps) < 75
