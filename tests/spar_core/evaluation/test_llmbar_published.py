"""Prompts in the published layout: found, read as chats, and filled as the published evaluator fills them."""

import asyncio
from pathlib import Path

import pytest
from llmbar_folder import write_llmbar

from spar_core.engines.base import GenerationRequest
from spar_core.engines.scripted import ScriptedEngine
from spar_core.errors import ConfigError
from spar_core.evaluation.llmbar import LLMBar, load_llmbar, run_llmbar
from spar_core.evaluation.llmbar.published import PublishedWording
from spar_core.evaluation.llmbar.strategies import STRATEGIES, Aids, Case

FILES = {
    "comparison/Vanilla": "I: {input}\n(a): {output_1}\n(b): {output_2}\nSay {{one}}.",
    "comparison/Metrics_Reference": "{input} {output_1} {output_2} Q {auxiliary_input_0} R {auxiliary_input_1}",
    "comparison/CoT": "Explain: {input} {output_1} {output_2}",
    "rating/Rating_Reference": "Rate {output} for {input} beside {auxiliary_input_0}",
    "auxiliary/Metrics": "Questions for {input}",
    "auxiliary/Reference": "{input}",
    "swap_and_synthesize/Swap": "{input} {output_1} {output_2}\n(a) {explanation_1}\n(b) {explanation_2}",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "LLMBar" / "LLMEvaluator" / "evaluators" / "prompts"
    for name, text in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        chat = f"<|im_start|>system\nYou judge.\n<|im_end|>\n<|im_start|>user\n{text}\n<|im_end|>\n"
        (place / f"{name}.txt").write_text(chat, encoding="utf-8")
    return tmp_path / "LLMBar"


@pytest.fixture
def bench(tmp_path: Path) -> LLMBar:
    return load_llmbar(write_llmbar(tmp_path / "data"))


def test_texts_are_filled_in_one_pass_and_in_the_order_shown(folder: Path, bench: LLMBar) -> None:
    instance = bench.instances()[0]
    system, user = PublishedWording(folder).comparison("Vanilla", instance, True, Aids())
    assert (system.role, system.content, user.role) == ("system", "You judge.", "user")
    first, second = instance.output_1, instance.output_2
    assert user.content == f"I: {instance.instruction}\n(a): {second}\n(b): {first}\nSay {{one}}."


def test_fields_and_marks_in_a_row_stay_text(folder: Path) -> None:
    (_, user) = PublishedWording(folder).rating("Rating_Reference", "{output}<|im_end|>", "O", Aids(None, "{input}"))
    assert user.content == "Rate O for {output}<|im_end|> beside {input}"


def test_what_the_first_calls_gave_is_numbered_as_they_were_asked(folder: Path, bench: LLMBar) -> None:
    words = PublishedWording(folder)
    user = words.comparison("Metrics_Reference", bench.instances()[0], False, Aids("q?", "r"))[-1]
    assert user.content.endswith("Q q? R r")
    assert words.questions("do it")[-1].content == "Questions for do it"
    assert words.reference("do it")[-1].content == "do it"


def test_a_debate_tells_each_case_in_the_order_shown(folder: Path, bench: LLMBar) -> None:
    # case_1 argues for output_1, which the stored order shows as (a); case_2 for output_2, which swapped shows as (a).
    cases = (Case("Output (a) is exact.", False), Case("Output (a) is richer.", True))
    words = PublishedWording(folder)
    stored = words.debate("Swap", bench.instances()[0], False, *cases)[-1].content
    assert stored.endswith("(a) Output (a) is exact.\n(b) Output (b) is richer.")
    swapped = words.debate("Swap", bench.instances()[0], True, *cases)[-1].content
    assert swapped.endswith("(a) Output (a) is richer.\n(b) Output (b) is exact.")


def test_a_run_with_the_published_name_asks_the_published_prompt(folder: Path, bench: LLMBar) -> None:
    asked = []

    def answer(request: GenerationRequest, index: int) -> str:
        asked.append(request.messages[-1].content)
        return "Output (a)"

    wording = PublishedWording(folder)
    run = asyncio.run(run_llmbar(bench, ScriptedEngine(answer), "Vanilla", evaluator_name="E", published=wording))
    assert run.report.strategy == "Vanilla"
    assert len(asked) == 20
    assert all(text.startswith("I: ") for text in asked)


def test_what_is_missing_or_not_in_form_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no published LLMBar prompts .*princeton-nlp/LLMBar"):
        PublishedWording(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"rating/Rating.txt cannot be read"):
        PublishedWording(folder).check("Rating")
    place = folder / "LLMEvaluator" / "evaluators" / "prompts" / "comparison"
    (place / "Vanilla_1shot.txt").write_text("no chat", encoding="utf-8")
    with pytest.raises(ConfigError, match="a chat that ends with the user's turn"):
        PublishedWording(folder).check("Vanilla_1shot")
    (place / "Reference.txt").write_text("<|im_start|>user\n{secret}<|im_end|>", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"field {secret} is not known"):
        PublishedWording(folder).comparison(
            "Reference", load_llmbar(write_llmbar(tmp_path / "d")).instances()[0], False, Aids()
        )


def test_every_file_a_strategy_needs_is_checked(folder: Path) -> None:
    words = PublishedWording(folder)
    for name in ("Vanilla", "Metrics_Reference", "Swap", "CoT", "Rating_Reference"):
        assert name in STRATEGIES
        words.check(name)
