"""How the calls of stages are built."""

from types import SimpleNamespace

import pytest

from flows.wiring.request import RunRequest
from flows.wiring.stage_calls import StageRunner, data_ref
from spar_core.errors import ConfigError


def test_limits_of_health_end_self_play_alone(tmp_path):
    """A search, a benchmark, the flow `evaluation` and a search curve show what there is, however little."""
    run = RunRequest(preset="smoke", home=str(tmp_path)).resolve()
    stage = SimpleNamespace(name="responses", version=1, data_digest=lambda: "", run=lambda call, **_: call)

    def limits(*arguments, **options):
        return StageRunner(run, *arguments, **options).run(stage, 0).surroundings.health

    assert limits() == run.config.health
    assert limits({}) is None
    assert limits(only_measures=True) is None


def test_votes_that_only_measure_end_no_run(tmp_path):
    """Under `rules_only` no vote decides anything: a model too weak to judge is what the mode is for."""
    rules = ["method.judging.anchor=rules_only", "health.max_unusable_rewrites=0.7"]
    run = RunRequest(preset="smoke", home=str(tmp_path), overrides=rules).resolve()
    stage = SimpleNamespace(name="responses", version=1, data_digest=lambda: "", run=lambda call, **_: call)
    limits = StageRunner(run).run(stage, 0).surroundings.health
    assert (limits.max_unreadable_votes, limits.max_unusable_rewrites) == (1.0, 0.7)


def test_failing_answers_in_a_chat_are_never_taught(tmp_path):
    chat = ["method.prompt_set=plain", "training.refiner.loss_turns=all"]
    run = RunRequest(preset="smoke", home=str(tmp_path), overrides=chat).resolve()
    with pytest.raises(ConfigError, match=r"set training\.refiner\.loss_turns=last$"):
        StageRunner(run)
    StageRunner(run, {})  # what trains nothing may use the prompt set
    frozen = RunRequest(preset="smoke", home=str(tmp_path), overrides=[*chat, "train_refiner=false"]).resolve()
    StageRunner(frozen)


def test_checks_of_the_whole_are_not_taught_where_each_constraint_is_asked_about(tmp_path):
    each = ["method.prompt_set=per_constraint"]
    run = RunRequest(preset="smoke", home=str(tmp_path), overrides=each).resolve()
    with pytest.raises(ConfigError, match=r"warm_start\.source=starter teaches checks of whole answers: set .*none"):
        StageRunner(run)
    none = RunRequest(preset="smoke", home=str(tmp_path), overrides=[*each, "warm_start.source=none"]).resolve()
    StageRunner(none)


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
