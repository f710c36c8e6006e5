"""A training is worth more than its curve: nothing that MLflow does may end it."""

import logging

import pytest

from storage.home import Home
from tasks.calls import StageCall
from tasks.tracking import Tracking


@pytest.fixture
def call(tmp_path):
    return StageCall("train_actor", version=1, home=str(tmp_path), run_id="r", iteration=1, seed=0)


def test_a_database_that_cannot_be_opened_is_a_warning_at_every_step(tmp_path, call, caplog):
    home = Home(tmp_path)
    home.mlflow.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        curves = Tracking(home).curves(call)
        curves.add(1, {"loss": 0.5})
        curves.flush()
        curves.finish(None, {"steps": 1.0})
    assert caplog.text.count("train_actor: a curve was not logged: StorageError") == 3


def test_points_that_could_not_be_written_are_written_later(tmp_path, call, monkeypatch):
    class Moody:
        written = ()
        down = True

        def log_points(self, _run, points):
            if self.down:
                raise OSError("locked")
            self.written = tuple(points)

        def open_stage(self, *_):
            return "stage"

    tracking, tracker = Tracking(Home(tmp_path)), Moody()
    tracking.__dict__["tracker"] = tracker
    curves = tracking.curves(call)
    curves.add(1, {"loss": 0.5})
    curves.flush()
    tracker.down = False
    curves.add(2, {"loss": 0.4})
    curves.flush()
    assert [point.step for point in tracker.written] == [1, 2]
