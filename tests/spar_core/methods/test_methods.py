"""Methods are found by name; one of another package works like those that ship, and the example in the code is one."""

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from spar_core import methods
from spar_core.config.loading import load_config
from spar_core.config.pairs import PairsConfig
from spar_core.errors import ConfigError
from spar_core.methods import registry
from spar_core.methods.plugin import Method, Rows
from tests.spar_core.methods.own_method import plugged_in_code, plugged_in_example

TABLES = {
    "prompts": [SimpleNamespace(prompt_id="p", text="Go on"), SimpleNamespace(prompt_id="q", text="Stop")],
    "responses": [
        SimpleNamespace(prompt_id="p", response_id="short", text="no"),
        SimpleNamespace(prompt_id="p", response_id="long", text="certainly"),
        SimpleNamespace(prompt_id="q", response_id="only", text="yes"),
    ],
}


@pytest.fixture(autouse=True)
def _nothing_stays_registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


def plugged_in(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    entry = EntryPoint("longer_over_shorter", value, registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == registry.GROUP else [])
    registry._plugged_in.cache_clear()


@pytest.mark.parametrize("name", methods.names())
def test_every_method_says_what_it_is(name):
    found = methods.method(name)
    assert isinstance(found, Method)
    assert (found.name, bool(found.summary)) == (name, True)
    assert found.phases
    assert found.at(1, PairsConfig()) in found.phases


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(ConfigError, match=r"there is no method 'best_of_m'; there are best_of_n, .*spar"):
        methods.method("best_of_m")
    with pytest.raises(ConfigError, match=r"method\.pairs\.method.*there is no method 'best_of_m'; there are"):
        load_config("starter", overrides=["method.pairs.method=best_of_m"])


def test_the_example_makes_pairs():
    methods.register(plugged_in_example())
    config = load_config("starter", overrides=["method.pairs.method=longer_over_shorter"])
    assert (config.refiner_learns_by(), config.method.search_for_pairs()) == (None, None)
    made = config.method.chosen().pairs(Rows(TABLES.get), PairsConfig(), run_seed=0)
    assert [(pair.prompt, pair.chosen_id, pair.rejected_id) for pair in made.pairs] == [("Go on", "long", "short")]


def test_a_method_of_another_package_is_found_by_its_entry_point(tmp_path, monkeypatch):
    (tmp_path / "longer.py").write_text(plugged_in_code())
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        plugged_in(monkeypatch, "longer:METHOD")
        assert "longer_over_shorter" in methods.names()
        assert methods.method("longer_over_shorter").reads == ("responses",)
        plugged_in(monkeypatch, "longer:METHODS")
        with pytest.raises(ConfigError, match=r"spar\.methods: longer:METHODS\) cannot be imported"):
            methods.method("longer_over_shorter")
        plugged_in(monkeypatch, "longer:make_pair")
        with pytest.raises(ConfigError, match="must be a Method of that name"):
            methods.method("longer_over_shorter")
    finally:
        registry._plugged_in.cache_clear()
