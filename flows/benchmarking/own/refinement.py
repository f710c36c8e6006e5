"""How a refiner mends held-out answers that fail: one rewrite against tree search."""

from flows.benchmarking.session import BenchmarkSession, StageBenchmark
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from tasks.repairs import REFINEMENT_SCORES, REPAIRS


class Refinement(StageBenchmark):
    """With `--refiner` the model answers and the refiner mends; else the model mends what its run began with."""

    name = "refinement"
    subject: ModelRole = "refiner"
    summary = "a checker, on held-out answers that fail: `single`, `tree`, accepted only, `tree_minus_single` (paired)"
    headlines = (
        *("single", "tree", "tree_minus_single", "first_rewrite"),
        *("single_accepted", "tree_accepted", "tree_minus_single_accepted"),
    )

    def stages(self, session: BenchmarkSession) -> list[ArtifactRef]:
        """Held-out answers, and their repairs."""
        given = session.request.refiner is not None
        held = session.held_out(session.model.served.model if given else session.model.first_actor(session.home))
        models, reads = {"refiner": session.refiner.served.model}, session.mending(decisions_alone=True)
        repairs = session.run(REPAIRS, held, models, reads, seed=session.held_out_seed)
        return [session.run(REFINEMENT_SCORES, {"repairs": repairs}, models)]


BENCHMARK = Refinement()
