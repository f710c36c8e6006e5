"""GRPO: what answers are worth, and trainings by it: tiny ones, and the starter's, whose reward rises."""

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sessions import StopAt, run
from trainable_models import save_tiny_model, tiny_tokenizer
from training_data import WORDS, write_parquet

from spar_core.config.launch import LaunchConfig
from spar_core.config.method import JudgingConfig
from spar_core.config.training import GrpoTrainingConfig
from spar_core.engines.base import GenerationRequest
from spar_core.engines.configuration import TransformersEngineConfig
from spar_core.engines.scripted import ScriptedEngine
from spar_core.errors import TrainingError
from spar_core.hashing import model_digest
from spar_core.records import Constraint, Prompt
from spar_core.starter import base_model_dir
from spar_core.starter.world import generate_prompts
from spar_core.training import TrainingSpec, answer_judge
from spar_core.training.answer_judge import AnswerJudge
from spar_core.training.answer_rewards import AnswerReward
from spar_core.training.chat_tokens import ChatTokenizer
from spar_core.training.examples import tokenise
from spar_core.training.loading import check_packages
from spar_core.training.specification import JudgeSpec

STOP = 0
NOTHING = {"kind": "punctuation:no_comma", "kwargs": "{}"}
NO_COMMA = Constraint.create("punctuation:no_comma")
WORD = Constraint.create("keywords:existence", keywords=["harbor"])
MakeSpec = Callable[..., TrainingSpec]


def valued(kind: str, *answers: tuple[str, bool], constraints: tuple[Constraint, ...] = (NO_COMMA, WORD)) -> Any:
    """Rewards of (text, whole) answers, and what was logged of them."""
    prompt = Prompt("p", "Say where the ships of this town are going at night.", constraints)
    texts = [text for text, _ in answers]
    logged: dict[str, float] = {}
    reward = AnswerReward([prompt], kind, lambda ids: texts[ids[0]], frozenset({STOP - 1}))
    ids = [[place, STOP - 1 if whole else 7] for place, (_, whole) in enumerate(answers)]
    return reward(completion_ids=ids, row=[0] * len(answers), log_metric=logged.__setitem__), logged


def test_an_answer_is_worth_the_share_of_its_constraints_and_nothing_where_it_is_none() -> None:
    good, half = ("The ships lie in the harbor until morning.", True), ("They lie in the harbor, or at sea.", True)
    cut, echo = (good[0], False), ("Say where the ships of this town are going at night: harbor", True)
    rewards, logged = valued("share", good, half, cut, echo, ("", True))
    assert rewards == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert logged == {"answers/cut": 0.2, "answers/tripped": 0.4, "answers/all_met": 0.6}
    assert valued("all_met", good, half, cut, echo)[0] == [1.0, 0.0, 0.0, 0.0]


def test_a_judge_is_asked_about_what_is_an_answer_alone() -> None:
    prompt = Prompt("p", "Say where the ships are.", (NO_COMMA,))
    texts = ["They lie in the harbor.", "They lie", "", "They lie, too."]
    asked: list[tuple[Prompt, str]] = []

    def judge(answers: Sequence[tuple[Prompt, str]]) -> list[float]:
        asked.extend(answers)
        return [0.8, 0.2]

    reward = AnswerReward([prompt], "judged", lambda ids: texts[ids[0]], frozenset({STOP - 1}), judge)
    ids = [[0, STOP - 1], [1, 7], [2, STOP - 1], [3, STOP - 1]]
    assert reward(completion_ids=ids, row=[0] * 4, log_metric=lambda *_: None) == [0.8, 0.0, 0.0, 0.2]
    assert asked == [(prompt, texts[0]), (prompt, texts[3])]


def votes(request: GenerationRequest, sample: int) -> str:
    """YES of an answer with an a, four of five of one with a b, no verdict on any other."""
    said = request.messages[-1].content.rpartition("Response:")[2]
    if "a" in said:
        return "Final verdict: YES"
    return f"Final verdict: {'NO' if sample == 0 else 'YES'}" if "b" in said else "hm"


@pytest.fixture
def judged_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., JudgeSpec]:
    """A refiner that votes as a script does, on a prompt set that shows the response alone."""

    async def opened(*_: object) -> ScriptedEngine:
        return ScriptedEngine(votes, model_digest="refiner", log=False)

    monkeypatch.setattr(answer_judge, "open_engine", opened)
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "judge.txt").write_text("{{prompt}}\nResponse:{{response}}")

    def spec(**judging: Any) -> JudgeSpec:
        settings = JudgingConfig(max_reasks=0, **judging)
        engine = TransformersEngineConfig()
        return JudgeSpec(model_folder=tmp_path, digest="d", engine=engine, prompt_set=str(folder), judging=settings)

    return spec


def test_the_judge_votes_as_in_self_play(judged_by: Callable[..., JudgeSpec]) -> None:
    prompt = Prompt("p", "Say it.", (NO_COMMA,))
    answers = [(prompt, text) for text in ("an x", "b, x", "x")]
    judge = AnswerJudge(judged_by(), [prompt], 0)
    assert judge(answers) == [1.0, 0.8, 0.0]  # what makes no judgement is worth nothing
    spent = judge.usage.completion_tokens
    assert spent > 0
    judge.close()
    ruled = AnswerJudge(judged_by(anchor="rules_then_votes"), [prompt], 0)
    assert ruled(answers[:2]) == [1.0, 0.0]  # a broken rule is a NO
    assert 0 < ruled.usage.completion_tokens < spent
    ruled.close()


@pytest.fixture(autouse=True)
def _no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder tests/vllm is on the path of this process, and TRL takes it for a vLLM without a version."""
    monkeypatch.setattr(import_module("trl.import_utils"), "is_vllm_available", lambda *_, **__: False)


@pytest.fixture
def make_spec(tmp_path: Path) -> MakeSpec:
    """Six prompts, a step of which takes two with four answers each; what counts is that an answer ends in time."""

    def make(model: Path, output: str = "out", rows: int = 6, tokens: int | None = None, **settings: Any) -> Any:
        asked = [
            {
                "prompt_id": f"p{i}",
                "text": f"say {WORDS[i]}?",
                "constraints": [{"kind": NO_COMMA.kind, "kwargs": NO_COMMA.kwargs}],
                "source": "user",
            }
            for i in range(rows)
        ]
        common = {"learning_rate": 1e-2, "batch_size": 8, "micro_batch_size": 4, "group": 4}
        lengths = {"max_length": 100, "max_tokens": 24, "log_steps": 1}
        return TrainingSpec(
            kind="grpo",
            model_folder=model,
            data_files=(write_parquet(tmp_path / f"{rows}.parquet", asked),),
            output_folder=tmp_path / output,
            config=GrpoTrainingConfig(**{**common, **lengths, **settings}),
            launch=LaunchConfig(threads=1),
            tokens=tokens,
        )

    return make


def curve(spec: TrainingSpec, name: str) -> list[float]:
    lines = (spec.work / "metrics.jsonl").read_text().splitlines()
    return [entry["metrics"][name] for entry in map(json.loads, lines) if name in entry["metrics"]]


def test_a_kill_changes_nothing_and_every_token_is_counted(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    settings = {"epochs": 2.0, "checkpoint_steps": 100, "log_steps": 3}
    whole_spec = make_spec(start, "whole", **settings)
    resumed_spec = make_spec(start, "resumed", **settings, checkpoint_minutes=1e-9)
    whole = run(whole_spec)
    with pytest.raises(KeyboardInterrupt):
        run(resumed_spec, StopAt(5))  # in the second epoch, one step after a checkpoint
    resumed = run(resumed_spec)
    assert (whole.steps, resumed.steps, resumed.resumed_from_step) == (6, 6, 4)
    assert model_digest(whole.model_folder) == model_digest(resumed.model_folder) != model_digest(start)
    for name in ("completion_tokens", "prompt_tokens"):
        assert whole.metrics[name] == resumed.metrics[name] == sum(curve(whole_spec, name)) > 0
    assert whole.metrics["completion_tokens"] <= 6 * 8 * 24


def test_it_ends_with_the_step_that_spends_its_tokens(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    spec = make_spec(start, tokens=500)
    outcome = run(spec)
    written = curve(spec, "completion_tokens")
    assert sum(written) == outcome.metrics["completion_tokens"] >= 500 > sum(written[: outcome.steps - 1])
    assert outcome.steps > 3  # more than a pass over the prompts
    assert spec.identity("m", []) != make_spec(start).identity("m", [])


@pytest.mark.parametrize(
    "settings",
    [
        {"beta": 0.1, "loss": "grpo", "scale_rewards": "none"},
        {"lora": {"rank": 2, "learning_rate": 1e-2}, "loss": "dr_grpo", "scale_rewards": "batch", "reward": "all_met"},
    ],
)
def test_what_else_can_be_set_trains_too(make_spec: MakeSpec, tmp_path: Path, settings: dict[str, Any]) -> None:
    start = save_tiny_model(tmp_path / "m")
    spec = make_spec(start, max_steps=2, warmup_ratio=0.0, **settings)
    outcome = run(spec)
    assert model_digest(outcome.model_folder) != model_digest(start)
    assert ("kl" in outcome.metrics) == ("beta" in settings)


def test_answers_that_are_all_alike_teach_nothing_and_say_so(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    with pytest.raises(TrainingError, match=r"nothing was learned.*prompts\.constraints.*group.*max_tokens"):
        run(make_spec(start, max_tokens=1))  # no answer ends


def test_prompts_that_cannot_be_asked_are_dropped_with_their_reason(make_spec: MakeSpec, tmp_path: Path) -> None:
    rows = [
        {"prompt_id": name, "text": text, "constraints": constraints, "source": "user"}
        for name, text, constraints in (
            ("good", "say red?", [{"kind": NO_COMMA.kind, "kwargs": "{}"}]),
            ("free", "say blue?", []),
            ("odd", "say blue?", [{"kind": "shop:sku", "kwargs": "{}"}]),
            ("long", "red " * 40, [{"kind": NO_COMMA.kind, "kwargs": "{}"}]),
        )
    ]
    chat = ChatTokenizer(tiny_tokenizer("llama"))
    spec = make_spec(tmp_path, batch_size=4)
    file = write_parquet(tmp_path / "prompts.parquet", rows)
    read = tokenise(spec.model_copy(update={"data_files": (file,)}), chat, 100)
    assert [prompt.prompt_id for prompt in read.prompts] == ["good"]
    reasons = {"free": "no_constraints", "odd": "unknown_constraint", "long": "too_long"}
    assert {drop.record_id: drop.reason for drop in read.dropped} == reasons
    file = write_parquet(tmp_path / "prompts.parquet", rows[3:])
    with pytest.raises(TrainingError, match=r"1 too_long.*prompts\.source=verifiable"):
        tokenise(spec.model_copy(update={"data_files": (file,)}), chat, 100)


def test_too_few_prompts_for_a_step_are_told(make_spec: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="1 prompts are fewer than the 2 of a step"):
        run(make_spec(save_tiny_model(tmp_path / "m"), rows=1))


def test_vllm_must_be_where_the_training_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="vllm must be installed in this very environment"):
        check_packages(GrpoTrainingConfig(generation="vllm"))


def test_it_trains_on_what_a_judge_says_and_counts_the_votes(
    make_spec: MakeSpec, tmp_path: Path, judged_by: Callable[..., JudgeSpec]
) -> None:
    start = save_tiny_model(tmp_path / "m")
    asked = tmp_path / "6.parquet"
    judge = judged_by()
    plain = make_spec(start, "plain", max_steps=2, warmup_ratio=0.0)
    write_parquet(
        asked,
        [{"prompt_id": f"p{i}", "text": f"say {WORDS[i]}?", "constraints": [NOTHING], "source": "u"} for i in range(6)],
    )
    given = plain.model_dump() | {"judge": judge, "output_folder": tmp_path / "judged"}
    spec = TrainingSpec(**given | {"config": plain.config.model_copy(update={"reward": "judged"})})
    outcome = run(spec)
    drawn = sum(curve(spec, "completions/mean_length")) * 8
    assert outcome.metrics["completion_tokens"] > drawn
    assert model_digest(outcome.model_folder) != model_digest(start)
    assert spec.identity("m", []) != plain.identity("m", [])
    with pytest.raises(ValueError, match="a judge is given where, and only where"):
        TrainingSpec(**given)


@pytest.mark.slow
def test_the_starters_reward_rises(tmp_path: Path) -> None:
    rows = [
        {
            "prompt_id": prompt.prompt_id,
            "text": prompt.text,
            "constraints": [{"kind": each.kind, "kwargs": each.kwargs} for each in prompt.constraints],
            "source": prompt.source,
        }
        for prompt in generate_prompts(128, 5, "train")
    ]
    lengths = {"batch_size": 64, "micro_batch_size": 64, "max_length": 256, "max_tokens": 48, "log_steps": 1}
    spec = TrainingSpec(
        kind="grpo",
        model_folder=base_model_dir(),
        data_files=(write_parquet(tmp_path / "prompts.parquet", rows),),
        output_folder=tmp_path / "out",
        config=GrpoTrainingConfig(learning_rate=3e-4, max_steps=40, warmup_ratio=0.0, **lengths),
        launch=LaunchConfig(threads=1),
    )
    run(spec)
    rewards = curve(spec, "reward")
    first, last = sum(rewards[:8]) / 8, sum(rewards[-8:]) / 8
    assert last > first + 0.1, rewards
