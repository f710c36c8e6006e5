"""How the calls of stages are built."""

from types import SimpleNamespace

from flows.wiring.request import RunRequest
from flows.wiring.stage_calls import StageRunner, data_ref


def test_limits_of_health_end_self_play_alone(tmp_path):
    """A search, a benchmark, the flow `evaluation` and a search curve show what there is, however little."""
    run = RunRequest(preset="smoke", home=str(tmp_path)).resolve()
    stage = SimpleNamespace(name="responses", version=1, data_digest=lambda: "", run=lambda call: call)

    def limits(*arguments, **options):
        return StageRunner(run, *arguments, **options).run(stage, 0).surroundings.health

    assert limits() == run.config.health
    assert limits({}) is None
    assert limits(only_measures=True) is None


def test_data_are_known_by_their_content_and_what_is_taken_of_them(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.json").write_text("[]")
    (tmp_path / "two" / "notes.txt").write_text("no data")
    one, two = (data_ref(tmp_path / place) for place in ("one", "two"))
    assert one.digest == two.digest
    assert two.location == str(tmp_path / "two")
    assert data_ref(f"{tmp_path}/one/a.json").digest == data_ref(tmp_path / "two" / "a.json").digest
    chosen = data_ref(f"{tmp_path}/one#kind=answer")
    assert chosen.location == f"{tmp_path}/one#kind=answer"
    assert chosen.digest not in (one.digest, data_ref(f"{tmp_path}/one#kind=judgement").digest)
    (tmp_path / "two" / "b.json").write_text("[]")
    assert data_ref(tmp_path / "two").digest != one.digest
    assert data_ref("someone/set") == data_ref("someone/set")
    assert data_ref("someone/set").digest != data_ref("someone/set#revision=v1").digest
