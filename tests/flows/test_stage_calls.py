"""How the calls of stages are built."""

from types import SimpleNamespace

from flows.request import RunRequest
from flows.stage_calls import StageRunner


def test_limits_of_health_end_self_play_alone(tmp_path):
    """A search, a benchmark, the flow `evaluation` and a search curve show what there is, however little."""
    run = RunRequest(preset="smoke", home=str(tmp_path)).resolve()
    stage = SimpleNamespace(name="responses", version=1, data_digest=lambda: "", run=lambda call: call)

    def limits(*arguments, **options):
        return StageRunner(run, *arguments, **options).run(stage, 0).surroundings.health

    assert limits() == run.config.health
    assert limits({}) is None
    assert limits(only_measures=True) is None
