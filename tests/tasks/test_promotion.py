"""The promotion gate: accuracy, and general ability where a margin is set."""

from types import SimpleNamespace

import pytest

from spar_core.config.run import PromotionConfig
from spar_core.records import EvalScore
from storage.registry import ModelVersion
from tasks import registration
from tasks.engines import ModelRef
from tasks.registration import Trained

OLD, NEW = ModelRef("old", "/old"), ModelRef("new", "/new")
ABILITY = {"old": {"mmlu": 0.60}, "new": {"mmlu": 0.55}}


class Registry:
    """A registry with one champion, which notes promotions."""

    def __init__(self, role):
        self.promoted = []
        self.champion = ModelVersion(role, 1, "/old", "old", "r", 0, ("champion",))

    def versions(self, _name):
        return [self.champion]

    def promote(self, _name, version, _reason):
        self.promoted.append(version)


@pytest.fixture
def promoted(monkeypatch):
    """Whether a better candidate is promoted under a gate."""
    monkeypatch.setattr(registration, "measured_ability", lambda home, digest: ABILITY.get(digest, {}))
    monkeypatch.setattr(registration, "_measured_before", lambda *_: 0.50)

    def ask(role="actor", accuracy=0.70, **gate):
        registry = Registry(role)
        metric = registration.GATE_METRIC[role]
        scores = [EvalScore("self_play", role, "new", metric, accuracy, 0.0, 1.0, 9)]
        version = registry.champion._replace(version=2, digest="new", aliases=())
        trained = Trained(role, NEW, OLD, None)
        runtime = SimpleNamespace(home=None)
        registration._promote(runtime, registry, trained, version, scores, PromotionConfig(**gate))
        return registry.promoted == [2]

    return ask


def test_a_better_candidate_is_promoted_and_a_worse_one_is_not(promoted):
    assert promoted()
    assert not promoted(accuracy=0.40)


def test_an_actor_that_lost_general_ability_is_not_promoted(promoted):
    # MMLU fell from 0.60 to 0.55.
    assert not promoted(ability_margin=0.02)
    assert promoted(ability_margin=0.06)
    assert promoted(role="refiner", ability_margin=0.02)


def test_ability_that_nobody_measured_does_not_pass(promoted, monkeypatch):
    monkeypatch.setattr(registration, "measured_ability", lambda home, digest: {})
    assert not promoted(ability_margin=1.0)
