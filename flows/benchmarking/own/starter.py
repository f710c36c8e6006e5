"""Accuracy on self-play's held-out prompts; with a refiner also its judgement and its repairs."""

from typing import ClassVar

from flows.benchmarking.session import BenchmarkSession, StageBenchmark
from storage.artifacts import ArtifactRef
from tasks.evaluation import EVAL_REFINER
from tasks.repairs import STARTER_SCORES


class Starter(StageBenchmark):
    """The measurements of self-play, filed as a benchmark."""

    name = "starter"
    summary = "a checker, on held-out prompts: `accuracy`; with `--refiner` also `fix_rate` and the refiner as a judge"
    answered: ClassVar[bool] = True
    headlines = ("accuracy", "judge_balanced_accuracy", "fix_rate", "answer_refused")

    def stages(self, session: BenchmarkSession) -> list[ArtifactRef]:
        """Answers of the model, and the refiner's votes and repairs where one is given."""
        answering = session.held_out_answering
        held = session.held_out(session.model.served.model, answering)
        models, inputs = {"actor": session.model.served.model}, {"actor": held["answers"]}
        if session.request.refiner:
            mending = {"refiner": session.refiner.served.model}
            models |= mending
            inputs["refiner"] = session.run(
                EVAL_REFINER, held, mending, {**session.mending(), **answering.told()}, seed=session.held_out_seed
            )
        wanted = answering.settings or session.request.samples or session.request.pass_k
        sizes = answering.scored() if wanted else {}
        return [session.run(STARTER_SCORES, inputs, models, sizes)]


BENCHMARK = Starter()
