"""Whatever goes wrong with showing what was made, what was made stays."""

import logging

from storage.home import Home
from tasks import model_card, showing


def test_an_iteration_that_cannot_be_shown_is_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(showing, "log_prompts", _raise)
    with caplog.at_level(logging.WARNING):
        showing.show_iteration.fn(str(tmp_path / "home"), "run", 3, "default", None, None, 5)
    assert "iteration 3 is not shown in MLflow: TypeError: no luck" in caplog.text


def test_a_model_that_cannot_be_described_is_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(model_card, "Registry", _raise)
    with caplog.at_level(logging.WARNING):
        model_card.describe_models(Home(tmp_path / "home"), [("actor", 1)])
    assert "a model is not described in MLflow: TypeError: no luck" in caplog.text


def _raise(*_, **__):
    raise TypeError("no luck")
