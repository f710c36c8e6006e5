"""`spar gc` takes what no kept run, champion, pin or unfinished run needs, and is right after a kill at any moment."""

import errno
import os
import shutil
import signal
from pathlib import Path

import pytest

from spar_core.errors import StorageError
from spar_core.records import Prompt
from storage.artifacts import ArtifactStore
from storage.catalog import open_catalog
from storage.collection import _item, collect, plan
from storage.entries import StageRun, Start
from storage.home import Home
from storage.journal import Journal
from storage.ledger import Ledger
from storage.pins import Pins
from storage.retention import Retention
from tests.storage.nights import NOW, Nights

NOTHING = Retention(runs=0, days=0, models=1)
ONE_NIGHT = Retention(runs=9, days=0, models=1)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def _nights(home, run_id="r", count=4, **fields) -> Nights:
    nights = Nights(home, run_id, **fields)
    for number in range(count):
        nights.night(number)
    return nights


def _collected(home, retention, champions=()) -> set[str]:
    """What is left, as stage-key of every artifact."""
    collect(home, plan(home, retention, frozenset(champions)))
    again = plan(home, retention, frozenset(champions))
    assert again.items == ()
    return {f"{ref.stage} {ref.stage_key}" for ref, _ in ArtifactStore(home).scan().whole}


def _night(run_id, number):
    return {f"{stage} {run_id}-{number}" for stage in ("prompts", "judgements", "train_actor", "eval_scores")}


def _scores(run_id, *numbers):
    return {f"eval_scores {run_id}-{number}" for number in numbers}


def test_a_finished_run_keeps_its_start_its_newest_nights_and_all_scores(home):
    _nights(home, count=6)
    left = _collected(home, Retention(runs=1, days=0, models=2))
    assert left == _night("r", 0) | _night("r", 4) | _night("r", 5) | _scores("r", 1, 2, 3)


def test_a_champion_and_a_pinned_model_keep_the_night_that_made_them_even_when_their_run_goes(home):
    _nights(home, count=4)
    Pins(models=frozenset({"actor/3"})).write(home)
    left = _collected(home, NOTHING, champions=["actor/2"])
    assert left == _night("r", 1) | _night("r", 2)
    assert [run.run_id for run in Ledger(home).runs()] == ["r"]
    with open_catalog(home) as catalog:
        data = catalog.rows("SELECT critique FROM votes ORDER BY iteration")
        assert [row["critique"] for row in data] == ["r 1", "r 2"]


def test_runs_stay_by_count_by_age_by_pin_and_while_unfinished(home):
    _nights(home, "old", 2, age=9)
    _nights(home, "older", 2, age=10)
    _nights(home, "young", 2, age=1)
    _nights(home, "failed", 3, age=99, state="failed")
    _nights(home, "killed", 3, age=99, state="running")
    _nights(home, "pinned", 3, age=99)
    Pins(runs=frozenset({"pinned"})).write(home)
    left = _collected(home, Retention(runs=0, days=5, models=1))
    assert {key.split()[1].split("-")[0] for key in left} == {"young", "failed", "killed", "pinned"}
    assert _night("failed", 1) | _night("killed", 1) | _night("pinned", 1) <= left
    assert {run.run_id for run in Ledger(home).runs()} == {"young", "failed", "killed", "pinned"}
    assert _collected(home, Retention(runs=2, days=0, models=1)) == left  # the newest two finished ones
    Pins().write(home)
    assert "pinned" not in {key.split()[1].split("-")[0] for key in _collected(home, NOTHING)}


def test_an_unfinished_run_keeps_the_models_that_another_run_trained_for_it(home):
    first = _nights(home, "first", 3)
    going = Nights(home, "going", state="failed")
    going.model = first.model
    going.night(0)
    left = _collected(home, NOTHING)
    assert left == _night("going", 0) | {"train_actor first-2", "judgements first-2", "prompts first-2"}


def test_a_run_that_was_begun_anew_keeps_what_it_had_done_until_it_is_finished(home):
    """The same run id with another seed: what it had done is superseded until the run comes to it again."""
    _nights(home, count=3)
    Ledger(home).open_run("r", {"seed": 9}, whole=True)
    assert Ledger(home).stages("r") == []
    assert plan(home, NOTHING, frozenset()).items == ()
    Ledger(home).close_run("r", "completed")
    assert {item.kind for item in plan(home, NOTHING, frozenset()).items} == {"artifact", "run"}


def test_a_model_that_a_kept_run_starts_from_by_its_folder_stays(home):
    _nights(home, "first", 2)
    folder = home.artifacts / "stage=train_actor" / "stage_key=first-1" / "model"
    Nights(home, "second", config={"models": {"actor": str(folder)}}).night(0)
    Ledger(home).open_run("second", {**Ledger(home).run("second").config, "iterations": 9})  # unfinished again
    assert "train_actor first-1" in _collected(home, NOTHING)
    assert folder.is_dir()


def test_collected_stages_are_not_missed_and_are_entered_anew_when_they_are_made_again(home):
    _nights(home, count=3)
    _collected(home, ONE_NIGHT)
    collected = {(s.stage, s.iteration) for s in Ledger(home).stages() if s.collected}
    assert collected == {("prompts", 1), ("judgements", 1), ("train_actor", 1)}
    entry = next(stage for stage in Ledger(home).stages() if stage.collected)
    Ledger(home).record_stage(StageRun(**entry.model_dump(exclude={"collected"})))
    assert len([s for s in Ledger(home).stages() if s.collected]) == 2


def test_the_newest_night_of_a_run_begun_anew_for_fewer_is_its_own(home):
    _nights(home, count=3, config={"iterations": 2})
    ledger = Ledger(home)
    ledger.open_run("r", {"iterations": 1}, whole=True)
    for entry in ledger.stages(superseded=True):
        if entry.iteration < 2:
            ledger.record_stage(entry.model_copy(update={"generation": 1}))
    for model in ledger.models():
        if model.iteration < 2:
            ledger.record_model(model)
    ledger.close_run("r", "completed")
    left = _collected(home, ONE_NIGHT)
    assert "train_actor r-1" in left
    assert "train_actor r-2" not in left


def test_a_night_that_was_cut_off_beyond_the_end_of_a_finished_run_goes_on(home):
    """It needs the models of the night before it, and what it has been answered so far."""
    nights = _nights(home, count=3)
    place = {"run_id": "r", "iteration": 3, "started": NOW}
    Ledger(home).record_stage(StageRun(stage="responses", stage_key="cut", state="failed", **place))
    Journal(home.journal_file("responses", "cut", 0)).put("k", "answer")
    left = _collected(home, ONE_NIGHT)
    assert {"train_actor r-0", "train_actor r-2"} <= left
    assert "train_actor r-1" not in left
    assert len(Journal(home.journal_file("responses", "cut", 0))) == 1
    assert nights.model == ArtifactStore(home).require("train_actor", "r-2").model_digest


def test_scratch_goes_unless_an_unfinished_run_goes_on_from_it(home):
    nights = _nights(home, "going", 1, state="failed")
    Nights(home, "done").night(0)
    place = {"state": "failed", "started": NOW, "run_id": "going", "iteration": 1}
    Ledger(home).record_stage(StageRun(stage="trees", stage_key="wanted", **place))
    for stage, key in (("trees", "wanted"), ("trees", "abandoned"), ("prompts", "going-0")):
        Journal(home.journal_file(stage, key, 0)).put("k", "answer")
        (nights.store.workspace(stage, key) / "checkpoint").write_text("state")
    Journal(home.journal_file("trees-ahead", "asked", 0)).put("k", "answer")
    for key in ("wanted", "abandoned"):
        with nights.store.part("trees", key, 0) as part:
            part.write("prompts", [Prompt.create("x")])
    done = nights.store.folder("prompts", "done-0")
    for half in ("part-00001.tmp-elsewhere-1:1-0123abcd", "part-00002.tmp-elsewhere-1:1-0123abcd"):
        (done / half).mkdir()
    os.utime(done / "part-00001.tmp-elsewhere-1:1-0123abcd", (0, 0))  # the other's writer, there, may live
    (home.runs / "going" / ".run.json.0123abcd.tmp").touch()
    (home.trash / "killed").mkdir(parents=True)
    found = plan(home, ONE_NIGHT, frozenset())
    assert sorted((item.kind, home.stored(item.path)) for item in found.items) == [
        ("checkpoint", "work/prompts/going-0"),
        ("checkpoint", "work/trees/abandoned"),
        ("journal", "journal/prompts/going-0"),
        ("journal", "journal/trees/abandoned"),
        ("temporary", "artifacts/stage=prompts/stage_key=done-0/part-00001.tmp-elsewhere-1:1-0123abcd"),
        ("temporary", "runs/going/.run.json.0123abcd.tmp"),
        ("trash", "trash/killed"),
        ("unfinished parts", "artifacts/stage=trees/stage_key=abandoned"),
    ]
    collect(home, found)
    assert plan(home, ONE_NIGHT, frozenset()).items == ()
    assert nights.store.has_part("trees", "wanted", 0)
    assert len(Journal(home.journal_file("trees", "wanted", 0))) == 1
    assert len(Journal(home.journal_file("trees-ahead", "asked", 0))) == 1
    assert not home.trash.exists()


def test_what_was_asked_ahead_goes_when_no_run_goes_on(home):
    _nights(home, "done", 1)
    Journal(home.journal_file("trees-ahead", "asked", 0)).put("k", "answer")
    (item,) = plan(home, ONE_NIGHT, frozenset()).items
    assert (item.kind, home.stored(item.path)) == ("journal", "journal/trees-ahead/asked")


def test_logs_go_with_their_run_or_by_age_and_results_with_their_artifact(home):
    key = "0123456789abcdef"
    _nights(home, "gone", 1, age=99)
    _nights(home, "stays", 1, age=1)
    for name in ("gone/a.log", "stays/a.log", "server.log", "old.log"):
        (home.logs / name).parent.mkdir(parents=True, exist_ok=True)
        (home.logs / name).touch()
    os.utime(home.logs / "old.log", (0, 0))
    os.utime(home.logs / "stays", (0, 0))
    (home.prefect / "results").mkdir(parents=True)
    (home.prefect / "results" / f"trees-{key}-00001").touch()
    (home.prefect / "results" / "someone-else's").touch()
    found = plan(home, Retention(runs=1, days=5, models=1), frozenset())
    named = {home.stored(item.path) for item in found.items if item.kind in ("log", "result", "run")}
    assert named == {"logs/gone", "logs/old.log", "runs/gone", f"prefect/results/trees-{key}-00001"}


def test_what_a_later_version_wrote_is_never_collected(home):
    _nights(home, count=2)
    manifest = home.artifacts / "stage=prompts" / "stage_key=r-0" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(StorageError, match="upgrade spar"):
        plan(home, NOTHING, frozenset())


def test_the_disk_stays_flat_over_twenty_nights(home):
    """What is left after each: the start, the newest night, the champion's (the third), and scores of all."""
    nights, sizes = Nights(home, "r"), []
    for number in range(20):
        nights.night(number)
        collect(home, plan(home, ONE_NIGHT, frozenset({"actor/4"})))
        sizes.append(sum(file.stat().st_size for file in home.artifacts.rglob("*") if file.is_file()))
    assert sizes[-1] < 1.3 * sizes[4]  # sixteen nights' scores, at 5 kB each beside models of 100 kB
    assert _collected(home, ONE_NIGHT, ["actor/4"]) == (
        _night("r", 0) | _night("r", 3) | _night("r", 19) | _scores("r", *range(20))
    )


def test_a_plan_touches_nothing_and_says_how_much_would_be_freed(home):
    _nights(home, count=3)
    before = {path: path.stat().st_mtime_ns for path in home.root.rglob("*")}
    found = plan(home, ONE_NIGHT, frozenset())
    assert {path: path.stat().st_mtime_ns for path in home.root.rglob("*")} == before
    assert {item.kind for item in found.items} == {"artifact"}
    assert 100_000 < found.bytes < 200_000  # one night's model of 100 kB, and small tables


def _killed_at(home, moment) -> bool:
    """Collect in a process that dies at its n-th change of the disk; whether it did."""
    child = os.fork()
    if child == 0:
        left = iter(range(moment))
        for name in ("replace", "rename", "unlink", "rmdir"):
            setattr(os, name, _killing(getattr(os, name), left))
        collect(home, plan(home, NOTHING, frozenset({"actor/4"})))
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _killing(function, left):
    def counted(*arguments, **options):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return counted


def test_a_collection_killed_at_any_moment_is_finished_by_the_next(home, tmp_path):
    _nights(home, "r", 4)
    _nights(home, "other", 1)
    kills = 0
    for moment in (0, 5, 11, 18, 30):
        where = Home(shutil.copytree(home.root, tmp_path / f"home-{moment}"))
        kills += _killed_at(where, moment)
        assert ArtifactStore(where).scan().damaged == ()
        assert _collected(where, NOTHING, champions=["actor/4"]) == _night("r", 3)
        assert [run.run_id for run in Ledger(where).runs()] == ["r"]
        assert not where.trash.exists()
    assert kills >= 4


def test_a_completed_run_whose_next_night_was_broken_off_is_unfinished(home):
    """The nightly case: the configuration's iterations are complete, and a further one died in its trees."""
    nights = _nights(home, count=3, age=99)
    Ledger(home).open_run("r", {}, "iteration")
    place = {"state": "failed", "started": NOW, "run_id": "r", "iteration": 3}
    Ledger(home).record_stage(StageRun(stage="trees", stage_key="wanted", **place))
    Journal(home.journal_file("trees", "wanted", 0)).put("k", "answer")
    nights.store.workspace("trees", "wanted")
    with nights.store.part("trees", "wanted", 0) as part:
        part.write("prompts", [Prompt.create("x")])
    for state in ("running", "failed", "interrupted"):
        if state != "running":
            Ledger(home).close_run("r", state)
        assert Ledger(home).run("r").state == "completed"
        assert plan(home, NOTHING, frozenset()).items == ()
    Ledger(home).open_run("r", {}, "iteration")
    Ledger(home).close_run("r", "completed")
    assert {item.kind for item in plan(home, ONE_NIGHT, frozenset()).items} == {"artifact"}  # of the second night


def test_a_run_is_as_young_as_what_was_done_with_it_last(home):
    """A run that gets a night every night was completed long ago; looks at single prompts are runs of their own."""
    nights = _nights(home, "nightly", 3, age=99)
    _nights(home, "refine", 1, age=1)
    Ledger(home).open_run("nightly", {}, "iteration")
    nights.night(3)
    Ledger(home).close_run("nightly", "completed")
    assert _night("nightly", 0) | _night("nightly", 3) <= _collected(home, Retention(runs=1, days=0, models=1))


@pytest.mark.parametrize(
    "name", ["r/run.json", "r/stages/001-prompts.json", "r/models/actor-v2.json", "r/starts/001.json", "pins.json"]
)
def test_nothing_is_collected_where_a_file_is_damaged_that_may_say_what_must_stay(home, name):
    _nights(home, count=2, age=99)
    Ledger(home).record_start(Start(run_id="r", iteration=1, actor="a", refiner="b"))
    Pins(models=frozenset({"actor/1"})).write(home)
    plan(home, NOTHING, frozenset())
    (home.runs / name).write_text("{")
    with pytest.raises(StorageError, match=f"{name} cannot be read"):
        plan(home, NOTHING, frozenset())


def test_a_damaged_manifest_does_not_cost_a_champion_its_weights(home):
    _nights(home, count=3, age=99)
    folder = home.artifacts / "stage=train_actor" / "stage_key=r-1"
    (folder / "manifest.json").write_text("{")
    collect(home, plan(home, NOTHING, frozenset({"actor/2"})))
    assert (folder / "model" / "model.safetensors").is_file()
    assert not (home.artifacts / "stage=train_actor" / "stage_key=r-2").exists()


def test_the_champions_an_unfinished_night_began_with_stay_when_they_are_none_any_more(home):
    first = _nights(home, "first", 3, age=99)
    _nights(home, "going", 1, state="interrupted")
    Ledger(home).record_start(Start(run_id="going", iteration=1, actor=first.model, refiner="base"))
    assert _night("first", 2) <= _collected(home, NOTHING)
    assert first.model in {entry.digest for entry in Ledger(home).models()}  # it is looked up there


def test_a_model_that_a_kept_run_starts_from_by_its_version_stays(home):
    _nights(home, "first", 3, age=99)
    Nights(home, "second", config={"models": {"actor": "actor/2"}}).night(0)
    assert _collected(home, Retention(runs=1, days=0, models=1)) == _night("first", 1) | _night("second", 0)


def test_a_kept_experiment_keeps_its_runs(home):
    _nights(home, "first", 1, age=99)
    _nights(home, "other", 1, age=98)
    Nights(home, "experiment", age=97, config={"runs": [["a variant", 0, "first"]]})
    _collected(home, Retention(runs=1, days=0, models=1))
    assert {run.run_id for run in Ledger(home).runs()} == {"experiment", "first"}


def test_a_kept_run_keeps_what_an_alias_meant_when_it_began_but_not_every_start(home):
    first = _nights(home, "first", 2, age=99)
    second = _nights(home, "second", 4)
    for number, model in ((0, first.model), (2, Ledger(home).models("second")[1].digest), (3, second.model)):
        Ledger(home).record_start(Start(run_id="second", iteration=number, actor=model, refiner="base"))
    left = _collected(home, Retention(runs=1, days=0, models=1))
    assert left == _night("first", 1) | _night("second", 0) | _night("second", 3) | _scores("second", 1, 2)


def test_what_lies_on_another_disk_than_the_trash_is_deleted_in_place(home, monkeypatch):
    _nights(home, count=3)
    (home.logs / "old.log").parent.mkdir()
    (home.logs / "old.log").touch()
    os.utime(home.logs / "old.log", (0, 0))

    def elsewhere(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("storage.collection.os.rename", elsewhere)
    collect(home, plan(home, ONE_NIGHT, frozenset()))
    assert not (home.logs / "old.log").exists()
    assert plan(home, ONE_NIGHT, frozenset()).items == ()


def test_a_file_that_goes_while_it_is_looked_at_frees_nothing(home, monkeypatch):
    """A plan without the lock is made beside a run."""
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    assert _item("log", home.logs / "absent") == ("log", home.logs / "absent", 0)
