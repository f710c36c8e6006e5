import asyncio
import json
from pathlib import Path

import pytest
from llmbar_folder import write_llmbar

from spar_core.engines.base import Completion, GenerationRequest
from spar_core.engines.scripted import Answer, ScriptedEngine
from spar_core.errors import ConfigError, RequestRejectedError
from spar_core.evaluation.llmbar import (
    STRATEGIES,
    LLMBar,
    eval_items,
    load_llmbar,
    run_by_value,
    run_llmbar,
    score_file,
)
from spar_core.evaluation.llmbar.strategies import Case, OurWording, reletter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_llmbar(tmp_path / "data")


@pytest.fixture
def bench(folder: Path) -> LLMBar:
    return load_llmbar(folder)


def prefers_first(request: GenerationRequest, index: int) -> Answer:
    """An evaluator that always likes the stored output_1, whatever is asked and in whichever order."""
    text = request.messages[-1].content
    if "whole number from 0" in text:
        return "7" if "# Output\nfirst" in text else "4"
    if "Two evaluators" not in text and "Propose at most three" in text:
        return "Is it exact?"
    if "# Output (a)" not in text:
        return "reference"
    letter = "a" if "# Output (a)\nfirst" in text else "b"
    return (
        f"Output ({letter}) is exact. Therefore, Output ({letter}) is better."
        if "Therefore" in text
        else f"Output ({letter})"
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_sees_through_the_order(bench: LLMBar, folder: Path, tmp_path: Path, strategy: str) -> None:
    engine = ScriptedEngine(prefers_first)
    run = asyncio.run(run_llmbar(bench, engine, f"ours-{strategy}", evaluator_name="E"))
    for statistics in run.report.statistics.values():
        # Output 1 wins in both orders; it is right on one of the two labels.
        assert (statistics.accuracy_pct, statistics.agreement_pct, statistics.n) == (50.0, 100.0, 2)
    plan = STRATEGIES[strategy]
    assert engine.calls == 10 * (2 + plan.questions + plan.reference)
    # The transcripts are a file of judgements: scoring them again gives the same report.
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(transcript.row) + "\n" for transcript in run.transcripts), encoding="utf-8")
    assert score_file(path, folder).runs == (run.report,)


def test_swap_asks_again_where_the_orders_conflict(bench: LLMBar) -> None:
    def always_a_then_output_2(request: GenerationRequest, index: int) -> Answer:
        text = request.messages[-1].content
        if "Two evaluators" in text:
            return "Output (b)" if "# Output (a)\nfirst" in text else "Output (a)"
        return "I like it: Output (a) is better."

    engine = ScriptedEngine(always_a_then_output_2)
    run = asyncio.run(run_llmbar(bench, engine, "ours-Swap", evaluator_name="E"))
    assert engine.calls == 10 * 4
    assert all(transcript.judged.pair == ("2", "2", True) for transcript in run.transcripts)


def test_debate_reletters_for_the_order_shown(bench: LLMBar) -> None:
    instance = bench.instances()[0]
    case_1 = Case("Output (a) is exact; Output (b) is not.", False)  # argues for output_1, stored order
    case_2 = Case("Output (a) is richer.", True)  # argues for output_2, which was shown as (a)
    stored = OurWording().debate("Swap", instance, False, case_1, case_2)[-1].content
    assert "## For Output (a)\nOutput (a) is exact; Output (b) is not." in stored
    assert "## For Output (b)\nOutput (b) is richer." in stored
    swapped = OurWording().debate("Swap", instance, True, case_1, case_2)[-1].content
    assert "# Output (a)\nsecond of 1" in swapped
    assert "## For Output (a)\nOutput (a) is richer." in swapped
    assert "## For Output (b)\nOutput (b) is exact; Output (a) is not." in swapped
    assert reletter(reletter(case_1.text)) == case_1.text


def test_refused_requests_are_unparsed(bench: LLMBar) -> None:
    engine = ScriptedEngine(lambda request, index: RequestRejectedError("too long"))
    run = asyncio.run(run_llmbar(bench, engine, "ours-Vanilla", evaluator_name="E"))
    accuracy = next(score for score in run.report.scores if score.metric == "accuracy/overall")
    assert (accuracy.value, accuracy.n, accuracy.unscored) == (None, 0, 20)
    assert {item.value for item in eval_items(run, "refiner", "digest")} == {None}


def test_values_of_single_outputs_decide(bench: LLMBar) -> None:
    async def value(instruction: str, output: str, call_id: str) -> float | None:
        if instruction == "wish 2" and call_id.startswith("Natural"):
            return None if output.startswith("second") else 0.5
        return {"first": 0.8, "second": 0.8 if "2" in output else 0.2}[output.split()[0]]

    run = asyncio.run(run_by_value(bench, value, evaluator_name="refiner"))
    natural = run.report.statistics["Natural"]
    assert (natural.correct_both, natural.unparsed_unswapped) == (1, 1)
    # Elsewhere: right in both orders on the first instance, a tie (half right) on the second.
    assert run.report.statistics["Adversarial/Manual"].accuracy_pct == 75.0


def test_a_cut_reply_is_noted(bench: LLMBar) -> None:
    engine = ScriptedEngine(lambda request, index: Completion("Output (a) is", "length", 32))
    run = asyncio.run(run_llmbar(bench, engine, "ours-Vanilla", evaluator_name="E"))
    assert all(transcript.row["truncated"] for transcript in run.transcripts)


def test_a_published_name_needs_the_published_prompts(bench: LLMBar) -> None:
    with pytest.raises(ConfigError, match=r"Vanilla is a published prompt.*--judge-prompts .*: ours-Vanilla"):
        asyncio.run(run_llmbar(bench, ScriptedEngine(prefers_first), "Vanilla", evaluator_name="E"))


def test_unknown_strategy_is_named(bench: LLMBar) -> None:
    with pytest.raises(ConfigError, match=r"unknown LLMBar strategy 'Best'; allowed: Vanilla_NoRules"):
        asyncio.run(run_llmbar(bench, ScriptedEngine(prefers_first), "Best", evaluator_name="E"))
