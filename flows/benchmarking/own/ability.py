"""General ability by lm-eval: what training must not harm."""

from typing import ClassVar

from flows.benchmarking.session import BenchmarkSession, StageBenchmark
from storage.artifacts import ArtifactRef
from tasks.general_ability import ABILITY, CODE_TASKS, asked_tasks, require_harness, settings_of


class Ability(StageBenchmark):
    """GSM8K, TriviaQA, MMLU and, where that is allowed, HumanEval."""

    name = "ability"
    summary = "lm-eval (extra `ability`): `gsm8k`, `triviaqa`, `mmlu`, with `--unsafe-code` `humaneval`"
    in_all: ClassVar[bool] = False
    headlines = ("gsm8k", "triviaqa", "mmlu", "humaneval")

    def stages(self, session: BenchmarkSession) -> list[ArtifactRef]:
        """One stage; what cannot be measured on this model is noted."""
        require_harness()
        served, unsafe = session.model.served, session.request.unsafe_code
        tasks, left_out = asked_tasks(served.engine, unsafe_code=unsafe)
        if not unsafe:
            left_out = [*left_out, f"{', '.join(CODE_TASKS)}: executes what the model writes; --unsafe-code runs it"]
        session.notes += [f"left out, {reason}" for reason in left_out]
        reads = {"tasks": tasks, "limit": session.request.limit, "role": session.role(self)}
        found = session.run(ABILITY, models={"model": served.model}, config=reads)
        session.notes += settings_of(found)
        return [found]


BENCHMARK = Ability()
