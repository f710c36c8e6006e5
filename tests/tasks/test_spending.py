"""A run that reaches its budget ends with everything that was under way kept, and a higher budget goes on."""

import asyncio
import dataclasses
import math
from pathlib import Path

import pytest

from spar_core.config.budget import BudgetConfig
from spar_core.engines.base import Completion, Generation, GenerationRequest, Sampling
from spar_core.engines.journaled import JournaledEngine
from spar_core.errors import BudgetError
from spar_core.records import Message
from storage.entries import Spent
from storage.home import Home
from storage.ledger import Ledger
from tasks.engines import ModelRef
from tasks.responses import RESPONSES
from tasks.runtime import Runtime
from tasks.spending import BudgetedEngine, Spending
from tests.tasks import moody_model
from tests.tasks.test_stages import Bench


class Slow:
    """Answers 10 tokens to 5, each request after it was waited for a moment."""

    model_digest = "weights"

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def generate(self, request: GenerationRequest) -> Generation:
        self.asked.append(request.seed)
        await asyncio.sleep(0.01)
        return Generation((Completion("text", "stop", 10),), 5)

    async def close(self) -> None: ...


class Kept(dict[str, str]):
    """A journal in memory."""

    def put(self, key: str, answer: str) -> None:
        self[key] = answer


def request(seed: int) -> GenerationRequest:
    return GenerationRequest((Message("user", "x"),), Sampling(), seed)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    found = Ledger(Home(tmp_path))
    found.open_run("r", {})
    return found


def test_what_is_under_way_at_the_limit_is_answered_and_kept(ledger: Ledger) -> None:
    engine, kept, spending = Slow(), Kept(), Spending(ledger, "r")
    paid = JournaledEngine(BudgetedEngine(engine, spending, BudgetConfig(tokens=30)), kept)

    async def ask() -> list[Generation | BaseException]:
        questions = [paid.generate(request(seed)) for seed in range(5)]
        first = await asyncio.gather(*questions, return_exceptions=True)
        again = await asyncio.gather(*(paid.generate(request(seed)) for seed in (0, 1)))
        return [*first, *again]

    answers = asyncio.run(ask())
    # 15 tokens each: the third of those asked together would go beyond the limit, so it waits, and then fails.
    assert engine.asked == [0, 1]
    assert len(kept) == 2
    assert [type(answer) for answer in answers] == [Generation] * 2 + [BudgetError] * 3 + [Generation] * 2
    assert "30 of budget.tokens=30" in str(answers[2])
    assert spending.spent.tokens == 30  # replayed answers cost nothing


def test_nobody_fails_before_the_last_answer_is_there(ledger: Ledger) -> None:
    spending = Spending(ledger, "r")
    paid = BudgetedEngine(Slow(), spending, BudgetConfig(tokens=1))
    order: list[str] = []

    async def ask(seed: int, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            await paid.generate(request(seed))
            order.append("answered")
        except BudgetError:
            order.append("refused")

    async def all_of_them() -> None:
        spending.answered(Generation((Completion("", "stop", 0),), 0))
        with spending.asking():
            late = asyncio.ensure_future(ask(1, 0.0))
            spending.answered(Generation((Completion("", "stop", 9),), 0))
            await asyncio.sleep(0.05)
            order.append("still asking")
        await late

    asyncio.run(all_of_them())
    assert order == ["still asking", "refused"]


def test_hours_count_over_all_starts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.record_spent(Spent(run_id="r", seconds=3000.0, gpu_seconds=6000.0))
    clock = [100.0]
    monkeypatch.setattr("tasks.spending.time.monotonic", lambda: clock[0])
    spending, budget = Spending(ledger, "r"), BudgetConfig(hours=1)
    with spending.clocked(4), spending.clocked(4):
        spending.check(budget)
        clock[0] += 601.0
        assert spending.is_over(budget)
        with pytest.raises(BudgetError, match=r"1.00 of budget.hours=1 hours"):
            spending.check(budget)
        spending.check(BudgetConfig(hours=2))
    assert ledger.spent("r") == Spent(run_id="r", seconds=3601.0, gpu_seconds=6000.0 + 4 * 601.0)


@pytest.mark.usefixtures("prefect_server")
def test_a_stage_stops_within_its_shards_and_goes_on_with_a_higher_budget(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "home")
    cut = bench.run(bench.split)
    moody_model.asked.clear()
    moody_model.goes_down_after.clear()
    call = bench.call(RESPONSES, {"prompts": cut}, {"actor": ModelRef("weights", "nowhere")})
    orchestration = call.surroundings.orchestration.model_copy(update={"requests_in_flight": 1, "parallel_shards": 1})

    def limited(tokens: int | None) -> object:
        surroundings = dataclasses.replace(
            call.surroundings, budget=BudgetConfig(tokens=tokens), orchestration=orchestration
        )
        sampling = {"responses": {"per_prompt": 1, "max_tokens": 8}}
        return bench.run_call(
            RESPONSES, dataclasses.replace(call, surroundings=surroundings, config=sampling), workers=1
        )

    per_prompt = math.ceil(len("prompt 0") / 4) + math.ceil(len("answer to prompt 0") / 4)
    with pytest.raises(BudgetError, match=r"higher limit"):
        limited(2 * per_prompt)
    assert len(moody_model.asked) == 2
    entry = {stage.stage: stage for stage in Ledger(bench.home).stages("run")}["responses"]
    assert (entry.state, entry.detail[:11]) == ("failed", "BudgetError")

    limited(None)
    assert sorted(moody_model.asked) == [f"prompt {number}" for number in range(7)]  # each once
    entry = {stage.stage: stage for stage in Ledger(bench.home).stages("run")}["responses"]
    assert (entry.state, entry.cached, entry.made_here) == ("completed", False, True)
    assert Runtime.of(str(bench.home.root)).spending("run").spent.tokens == 0  # closed: nothing was clocked
