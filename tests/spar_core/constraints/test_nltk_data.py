import nltk
import pytest

from spar_core.constraints import nltk_data
from spar_core.errors import DataError


def test_missing_resource_says_what_to_do(monkeypatch):
    monkeypatch.setattr(nltk_data, "_found", set())
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.delenv("SPAR_DATA_DIR", raising=False)
    monkeypatch.setattr(nltk_data, "is_obtainable", lambda: True)
    monkeypatch.setattr(nltk, "download", lambda *_args, **_options: False)
    with pytest.raises(DataError, match=r"nltk\.downloader.*punkt_tab.*NLTK_DATA"):
        nltk_data.require("punkt_tab")


def test_nothing_is_waited_for_where_the_server_of_the_data_does_not_answer(monkeypatch):
    """NLTK's own download has no time limit."""
    monkeypatch.setattr(nltk_data, "_found", set())
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.delenv("SPAR_DATA_DIR", raising=False)
    monkeypatch.setattr(nltk_data, "_INDEX", "http://127.0.0.1:9/index.xml")
    monkeypatch.setattr(nltk, "download", lambda *_args, **_options: pytest.fail("would wait for ever"))
    with pytest.raises(DataError, match="could not be downloaded"):
        nltk_data.require("punkt_tab")


def test_unknown_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        nltk_data.use_folder(tmp_path / "absent")


def test_data_folder_of_the_environment_is_searched(monkeypatch, benchmark_data):
    monkeypatch.setattr(nltk_data, "_found", set())
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setenv("SPAR_DATA_DIR", str(benchmark_data))
    nltk_data.require("stopwords")
    assert "stopwords" in nltk_data._found
