"""What was observed takes the place of what was assumed, in proportion to the work."""

from spar_core.config.loading import load_config
from spar_core.planning.assumptions import Assumptions
from spar_core.planning.calibration import Observed, calibrated
from spar_core.planning.facts import Facts
from spar_core.planning.stage_work import Work, work_of


def test_twice_the_work_takes_twice_the_tokens_and_the_time() -> None:
    before = Work("write", 10, {"responses": 50}, 10, read=1000, written=5000)
    happened = Work("write", 10, {"responses": 40}, 10, read=1500, written=2000)
    found = calibrated(
        before._replace(rows=20, tables={"responses": 100}, read=2000, written=10_000),
        [Observed(before, happened, seconds=30)],
    )
    assert found is not None
    assert found.work.tables == {"responses": 80}
    assert (found.work.read, found.work.written) == (3000, 4000)
    assert found.seconds == 60


def test_several_earlier_stages_count_together() -> None:
    work = Work("write", 10, {}, 10, read=0, written=100)
    seen = [Observed(work, work, seconds=10), Observed(work._replace(written=300), work._replace(written=300), 50)]
    found = calibrated(work._replace(written=200), seen)
    assert found is not None
    assert found.seconds == 60 * 200 / 400


def test_a_training_pays_its_start_once_and_every_step() -> None:
    work = Work("train", 64, {}, read=1000, steps=4)
    found = calibrated(work._replace(steps=10), [Observed(work, work, seconds=28, start_s=20)])
    assert found is not None
    assert found.seconds == 20 + 10 * 2


def test_nothing_like_it_tells_nothing() -> None:
    work = Work("write", 1, {})
    assert calibrated(work, []) is None
    assert calibrated(work, [Observed(Work("compute", 1, {}), work, 1.0)]) is None


def test_more_votes_are_more_tokens() -> None:
    config = load_config("starter")
    facts = Facts(config, Assumptions(critique_tokens=30, template_tokens=100, instruction_tokens=20), {"responses": 7})
    work = work_of("judgements", facts)
    assert work is not None
    # 7 answers x 5 votes x 30 tokens; each request holds template, instruction and an answer of 96 / 2 tokens.
    assert work.written == 7 * 5 * 30
    assert work.read == 7 * (100 + 20 + 48)
    assert work.tables == {"judgements": 7, "votes": 35}
    assert work_of("whale", facts) is None
