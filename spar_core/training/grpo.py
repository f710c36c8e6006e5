"""TRL's GRPO trainer for prompts that are tokenised already: what is overridden is said here, the rest is TRL's."""

from collections.abc import Mapping, Sequence
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset
from transformers.trainer_callback import (
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from spar_core.config.training import GrpoTrainingConfig
from spar_core.records import Prompt
from spar_core.training.adapters import begin_adapters, peft_config
from spar_core.training.answer_judge import AnswerJudge
from spar_core.training.answer_rewards import AnswerReward
from spar_core.training.batches import GroupSampler
from spar_core.training.chat_tokens import ChatTokenizer
from spar_core.training.drawn import READ, WRITTEN, tokens_of
from spar_core.training.specification import TrainingSpec


class _TokenBudget(TrainerCallback):  # type: ignore[misc]
    """Ends a training whose answers and votes have come to so many tokens, and has the tokens logged before each
    checkpoint, so that a resumed training has counted them all."""

    def __init__(self, tokens: int | None) -> None:
        self._tokens = tokens
        self.trainer: AnswerTrainer | None = None

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        assert self.trainer is not None
        written = tokens_of(state.log_history).get(WRITTEN, 0.0) + self.trainer.unlogged[WRITTEN]
        over = self._tokens is not None and written >= self._tokens
        control.should_training_stop = control.should_training_stop or over
        control.should_log |= control.should_save or over or state.global_step >= state.max_steps


class AnswerTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPO on rows with prompt (a key of `prompt_ids`) and row; counts the tokens of what it asks and draws."""

    def __init__(
        self, *args: Any, prompt_ids: Mapping[str, list[int]], judge: AnswerJudge | None = None, **kwargs: Any
    ) -> None:
        self._prompt_ids = prompt_ids
        self.judge = judge
        self.unlogged = {READ: 0.0, WRITTEN: 0.0}
        super().__init__(*args, **kwargs)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Ids as an engine sends them; no images."""
        return [self._prompt_ids[prompt] for prompt in prompts], None, {}

    def _generate(self, prompts: list[str]) -> Any:
        found = super()._generate(prompts)
        for name, ids in ((READ, found[0]), (WRITTEN, found[1])):
            self.unlogged[name] += sum(gather_object([sum(map(len, ids))]))
        return found

    def _get_train_sampler(self, dataset: Any = None) -> GroupSampler:
        """TRL's order, but that of a later epoch follows from its number, so that a resumed training has it too."""
        arguments, rows = self.args, len(self.train_dataset if dataset is None else dataset)
        prompts = arguments.generation_batch_size // arguments.num_generations
        steps = rows // prompts
        return GroupSampler(
            rows,
            prompts,
            arguments.num_generations,
            arguments.steps_per_generation,
            arguments.seed,
            lambda: self.state.global_step // steps,
        )

    def _calculate_rewards(self, *args: Any) -> Any:
        if self.judge is None:
            return super()._calculate_rewards(*args)
        before = self.judge.usage
        found = super()._calculate_rewards(*args)
        after = self.judge.usage
        self.unlogged[READ] += sum(gather_object([after.prompt_tokens - before.prompt_tokens]))
        self.unlogged[WRITTEN] += sum(gather_object([after.completion_tokens - before.completion_tokens]))
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's figures, and the tokens since the last ones."""
        logs.update(self.unlogged)
        self.unlogged = dict.fromkeys(self.unlogged, 0.0)
        super().log(logs, start_time)


def build_answer_trainer(
    spec: TrainingSpec,
    arguments: GRPOConfig,
    model: Any,
    tokenizer: Any,
    rows: Sequence[Mapping[str, list[int]]],
    chat: ChatTokenizer,
    prompts: Sequence[Prompt],
    callbacks: list[TrainerCallback],
) -> AnswerTrainer:
    """Trainer over prompts (see `examples.TokenRows`) that writes checkpoints to `spec.work`."""
    config = spec.config
    assert isinstance(config, GrpoTrainingConfig)
    names = [prompt.prompt_id for prompt in prompts]
    budget = _TokenBudget(spec.tokens)
    judge = None if spec.judge is None else AnswerJudge(spec.judge, prompts, spec.seed)
    trainer = AnswerTrainer(
        prompt_ids=dict(zip(names, (row["prompt_ids"] for row in rows), strict=True)),
        args=arguments,
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": names, "row": list(range(len(names)))}),
        reward_funcs=[AnswerReward(prompts, config.reward, chat.answer_text, chat.stop_ids, judge)],
        judge=judge,
        callbacks=[*callbacks, budget],  # what is saved is decided before
        peft_config=peft_config(config.lora) if config.lora else None,
    )
    budget.trainer = trainer
    if config.lora:
        begin_adapters(trainer.model, spec.seed)
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    return trainer
