"""Thoughts of models in this process: split, limited, and nobody else's loss."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spar_core.engines.base import Completion, GenerationRequest, Sampling
from spar_core.engines.configuration import ThinkingSettings, TransformersEngineConfig
from spar_core.engines.factory import open_engine
from spar_core.engines.slot_table import Row, SlotTable
from spar_core.engines.thought_limit import NEVER, ThoughtLimit
from spar_core.engines.thoughts import Tags, ThoughtRules
from spar_core.engines.transformers_engine import TransformersEngine
from spar_core.records import Message
from tests.chat_templates import family_tokenizer, save_family_model

LONG = Sampling(1.0, 1.0, 120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family_model(tmp_path_factory.mktemp("thinker"), "qwen3", shows_all=True)


def sample(folder: Path, sampling: Sampling, count: int, **settings: Any) -> list[Completion]:
    async def run() -> list[Completion]:
        config = TransformersEngineConfig(device="cpu", threads=1, **settings)
        engine = await open_engine(config, folder)
        try:
            answers = await asyncio.gather(
                *(
                    engine.generate(GenerationRequest((Message("user", "hi?"),), sampling, seed, 8))
                    for seed in range(count)
                )
            )
        finally:
            await engine.close()
        return [completion for answer in answers for completion in answer.completions]

    return asyncio.run(run())


def usual_letters(found: list[Completion]) -> Tags:
    """Letters as tags: the one that a random model begins with most often, and the one it writes most often."""
    texts = [entry.text for entry in found if entry.text.strip()]
    opening = Counter(text[0] for text in texts if text[0].isalnum()).most_common(1)[0][0]
    closing = Counter(letter for text in texts for letter in text if letter.isalnum() and letter != opening)
    return Tags(opening, closing.most_common(1)[0][0])


def limited(tokens: list[str], tags: Tags, opened: bool, thought: int, answer: int) -> tuple[str, bool]:
    """What is left of a long text under the limits, and whether one of them ended it."""
    step, limit, inside = 0, thought + 1 if opened else answer, opened
    begun = opened
    for token in tokens:
        step += 1
        if inside and token == tags.closing:
            inside, limit = False, step + answer
        elif not begun and token == tags.opening and step <= 2:
            inside, begun, limit = True, True, step + thought + 1
        if step >= limit:
            break
    return "".join(tokens[:step]), step >= limit


@pytest.mark.parametrize("opened", [False, True])
def test_thought_and_answer_are_limited_apart_and_drawn_as_without_limits(
    folder: Path, tmp_path: Path, opened: bool
) -> None:
    if opened:  # by the template, with a letter that it ends in
        folder = save_family_model(tmp_path, "r1", shows_all=True)
        file = folder / "chat_template.jinja"
        file.write_text(file.read_text().replace("<think>", "q"))
    free = sample(folder, LONG, 16, thoughts="none")
    tags = usual_letters(free)._replace(opening="q") if opened else usual_letters(free)
    got = sample(folder, Sampling(1.0, 1.0, 30), 16, thought_tags=(tags,), thought_tokens=12)
    rules = ThoughtRules("opened" if opened else "auto", (tags,))
    tokenizer = family_tokenizer("r1", shows_all=True)
    kinds = Counter[tuple[bool, bool, str]]()
    for long, short in zip(free, got, strict=True):
        tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode(long.text, add_special_tokens=False))
        if long.completion_tokens != len(tokens) + (long.finish_reason == "stop"):
            continue  # its text lacks a token: a newline that it began with, or an unknown one
        raw, cut = limited(tokens, tags, opened, 12, 30)
        assert (short.thought, short.text) == rules.split(raw)
        assert short.finish_reason == ("length" if cut else long.finish_reason)
        kinds[bool(short.thought), bool(short.text), short.finish_reason] += 1
    assert kinds.total() > 40
    assert kinds[True, False, "length"], f"some thought is cut: {kinds}"
    assert kinds[True, True, "length"], f"some answer behind a thought is cut: {kinds}"


def test_a_cut_thought_is_one_lost_sample_and_its_siblings_live(folder: Path) -> None:
    tags = usual_letters(sample(folder, LONG, 16))
    got = sample(folder, Sampling(1.0, 1.0, 20), 16, thought_tags=(tags,), thought_tokens=3)
    cut = [completion for completion in got if completion.thought and not completion.text]
    assert "length" in {completion.finish_reason for completion in cut}
    assert len(cut) < len(got) == 128


def test_without_a_limit_thought_and_answer_share_the_tokens(folder: Path) -> None:
    free = sample(folder, Sampling(1.0, 1.0, 40), 16, thoughts="none")
    got = sample(folder, Sampling(1.0, 1.0, 40), 16, thought_tags=(usual_letters(free),))
    assert [entry.completion_tokens for entry in free] == [entry.completion_tokens for entry in got]
    assert any(entry.thought for entry in got)


def test_tags_of_several_tokens_share_the_sum_of_both_limits(folder: Path) -> None:
    free = sample(folder, Sampling(1.0, 1.0, 40), 4, thoughts="none")
    got = sample(folder, Sampling(1.0, 1.0, 30), 4, thought_tags=(("<<", ">>"),), thought_tokens=10)
    assert [entry.completion_tokens for entry in free] == [entry.completion_tokens for entry in got]


def test_a_row_sent_back_to_the_queue_keeps_its_limits(folder: Path) -> None:
    settings = {"thought_tags": (usual_letters(sample(folder, LONG, 12)),), "thought_tokens": 15}
    roomy = sample(folder, Sampling(1.0, 1.0, 60), 12, **settings)
    # 2 (keys, values) x 2 layers x 1 head x 32 x 4 bytes = 512 bytes a position: 40 rows of 64 positions fit.
    tight = sample(folder, Sampling(1.0, 1.0, 60), 12, cache_gib=40 * 64 * 512 / 2**30, **settings)
    assert tight == roomy


def test_limits_change_with_the_tokens_that_bound_a_thought() -> None:
    limit = ThoughtLimit(opening=7, closing=8, opened=False, thought=10, answer=5, room=100)
    assert limit.at_first() == (7, 5)
    assert limit.after(7, 1, 5) == (8, 12)  # ten tokens of thought and its closing tag
    assert limit.after(7, 3, 5) == (NEVER, 5)  # in the middle of an answer
    assert limit.after(8, 9, 12) == (NEVER, 14)
    opened = ThoughtLimit(opening=7, closing=8, opened=True, thought=10, answer=5, room=13)
    assert opened.at_first() == (8, 11)
    assert opened.after(8, 11, 11) == (NEVER, 13)  # the context ends there


def test_a_closing_tag_drawn_as_the_last_token_of_the_limit_counts() -> None:
    table = SlotTable()
    limit = ThoughtLimit(opening=7, closing=8, opened=True, thought=2, answer=3, room=50)
    table.claim(1)
    table.seat(0, Row(None, 0, (1,), Sampling(), 0, 0, limit=limit))
    for token in (5, 6, 8):
        table.record(np.array([token]))
    assert (int(table.step[0]), int(table.max_new[0])) == (3, 6)
    row = table.unseat(0)
    assert (row.generated, row.max_new, row.awaited) == ([5, 6, 8], 6, NEVER)


def test_the_switch_of_the_template_changes_what_the_model_is_asked(folder: Path) -> None:
    asked = GenerationRequest((Message("user", "hi?"),), Sampling(max_tokens=2), 1)

    async def prompt_tokens(thinking: ThinkingSettings) -> int:
        engine = TransformersEngine(folder, device="cpu", threads=1, thinking=thinking)
        try:
            return (await engine.generate(asked)).prompt_tokens
        finally:
            await engine.close()

    plain = asyncio.run(prompt_tokens(ThinkingSettings()))
    off = asyncio.run(prompt_tokens(ThinkingSettings(chat_template_kwargs={"enable_thinking": False})))
    assert off - plain == len(["<think>", "\n", "\n", "</think>", "\n", "\n"])


@pytest.mark.parametrize("family", ["qwen3", "glm4", "llama32", "gemma2"])
def test_models_of_every_family_answer_in_process(family: str, tmp_path: Path) -> None:
    got = sample(save_family_model(tmp_path, family), Sampling(1.0, 1.0, 12), 2)
    assert len(got) == 16
    assert len({completion.text for completion in got}) > 8
    assert not any(completion.text.startswith("\n") for completion in got)
