"""Which models an iteration goes on from, and what the gate compares."""

from types import SimpleNamespace

import pytest

from flows import self_play
from flows.wiring import champions
from flows.wiring.champions import starting_models
from flows.wiring.handovers import Models
from flows.wiring.request import Run
from spar_core.config.run import ModelsConfig, PromotionConfig, RunConfig
from spar_core.errors import ConfigError, EngineError
from tasks.engines import ModelRef
from tasks.gate import Comparison, Contest
from tasks.registration import Trained, _registration
from tests.tasks.gate_bench import GateBench, share


@pytest.fixture
def bench(tmp_path, monkeypatch):
    found = GateBench(tmp_path, monkeypatch)
    found.run("r", base="base")
    found.first("r", found.measured("r-actor-0", share(50, 100)))
    return found


def _run(bench, **promotion):
    return Run(bench.home, "r", RunConfig(promotion=PromotionConfig(**promotion)))


def _models(bench, iteration):
    made = {entry.role: entry for entry in bench.runtime.ledger.models("r") if entry.iteration == iteration}
    places = {role: str(bench.home.located(entry.uri)) for role, entry in made.items()}
    return Models(*(ModelRef(made[role].digest, places[role]) for role in ("actor", "refiner")))


def _night(bench, iteration, right):
    """An iteration whose actor is right on so many of 100 prompts; its refiner stays unmeasured."""
    actor = bench.register("r", iteration, "actor", f"r-actor-{iteration}")
    refiner = bench.register("r", iteration, "refiner", f"r-refiner-{iteration}")
    champion = bench.champion("r")
    theirs = bench.measured(champion.model.digest, share(50, 100))
    own = bench.measured(actor.model.digest, share(right, 100))
    contests = (
        Contest(actor, champion, Comparison(own, theirs)),
        Contest(refiner, bench.champion("r", "refiner"), Comparison(None, None, "off")),
    )
    return bench.ask("r", iteration, *contests)


def test_the_second_night_goes_on_from_the_champion_after_a_refusal(bench):
    refused, _ = _night(bench, 1, right=20)
    assert refused.decision == "refused"
    begun = starting_models(_run(bench), 2, _models(bench, 1), "champion")
    assert begun == _models(bench, 0)
    assert starting_models(_run(bench, continue_from="champion"), 2, _models(bench, 1)) == begun


def test_a_configuration_chooses_the_champion_as_well(bench):
    _night(bench, 1, right=20)
    assert starting_models(_run(bench, continue_from="champion"), 2, _models(bench, 1)) == _models(bench, 0)


def test_an_iteration_that_began_with_champions_goes_on_with_them(bench):
    """It is asked for again after it made a champion itself, and by a command that would go on from the last."""
    _night(bench, 1, right=20)
    last, run = _models(bench, 1), _run(bench, continue_from="champion")
    begun = starting_models(run, 2, last)
    promoted, _ = _night(bench, 2, right=90)
    assert promoted.decision == "promoted"
    assert starting_models(run, 2, last) == begun
    assert starting_models(_run(bench), 2, last, "last") == begun
    assert starting_models(run, 3, _models(bench, 2)).actor == _models(bench, 2).actor


def test_an_iteration_made_from_the_last_models_is_not_made_anew_from_the_champion(bench):
    _night(bench, 1, right=20)
    _night(bench, 2, right=30)
    assert starting_models(_run(bench), 2, _models(bench, 1), "champion") == _models(bench, 1)


def test_an_iteration_that_began_with_the_last_models_goes_on_with_the_last(bench):
    """Begun by a command, cut off, and taken up by a night that begins with champions: no second iteration 2."""
    _night(bench, 1, right=20)
    last = _models(bench, 1)
    assert starting_models(_run(bench), 2, last) == last
    assert starting_models(_run(bench), 2, last, "champion") == last
    assert starting_models(_run(bench), 3, last, "champion") == _models(bench, 0)


def test_a_night_that_is_retried_after_its_models_were_registered_makes_no_second_iteration(bench, monkeypatch):
    def in_flow_run(name):
        for module in (champions, self_play):
            monkeypatch.setattr(module, "flow_run", SimpleNamespace(id=name))

    run = _run(bench)
    in_flow_run("first night, killed")
    starting_models(run, 1, _models(bench, 0))
    in_flow_run("second night")
    assert self_play._next(run, {0}) == 1
    starting_models(run, 1, _models(bench, 0))
    assert self_play._next(run, {0, 1}) == 1  # its gate failed; it is retried
    in_flow_run("third night")
    assert self_play._next(run, {0, 1}) == 2


def test_a_run_that_starts_from_the_champion_keeps_it_when_it_makes_one_itself(bench, monkeypatch):
    """Else it would begin anew from its own model whenever it is resumed."""
    alias = {"actor@champion": _models(bench, 0).actor, "actor/3": ModelRef("third", "/third")}
    monkeypatch.setattr(champions, "resolve_model", lambda name, _home: alias[name])

    def base(refiner=None):
        models = {"actor": "actor@champion", "refiner": refiner}
        return champions.base_models(Run(bench.home, "new", RunConfig.model_validate({"models": models})))

    first = _models(bench, 0).actor
    assert base() == Models(first, first)
    alias["actor@champion"] = bench.register("new", 1, "actor", "own").model
    assert base() == Models(first, first)
    assert base(refiner="actor/3") == Models(alias["actor@champion"], alias["actor/3"])  # asked for otherwise: anew


def test_a_run_begun_anew_goes_on_from_nothing_that_it_made_before(bench):
    """Another seed under the same id: iteration 1 began with a model of the warm start that is no longer the run's."""
    run = _run(bench, continue_from="champion")
    assert starting_models(run, 1, _models(bench, 0)).actor.digest == "r-actor-0"
    config = {"evaluation": {"source": "starter"}}
    bench.runtime.ledger.open_run("r", {**config, "seed": 7}, whole=True)
    for role in ("actor", "refiner"):
        bench.register("r", 0, role, f"other-{role}")
    assert starting_models(_run(bench), 1, _models(bench, 0)).actor.digest == "other-actor"


def test_a_champion_whose_weights_are_gone_is_not_gone_on_from(bench):
    _night(bench, 1, right=20)
    (bench.home.root / "weights" / "r-actor-0").rmdir()
    begun = starting_models(_run(bench), 2, _models(bench, 1), "champion")
    assert begun == Models(_models(bench, 1).actor, _models(bench, 0).refiner)


def test_a_role_that_is_not_measured_goes_on_from_the_last(bench):
    """No gate would ever promote it: every night would begin with the first model again."""
    _night(bench, 1, right=20)
    config = RunConfig.model_validate({"evaluation": {"refiner_items": 0}})
    begun = starting_models(Run(bench.home, "r", config), 2, _models(bench, 1), "champion")
    assert begun == Models(_models(bench, 0).actor, _models(bench, 1).refiner)


def test_without_the_iteration_before_there_is_nothing_to_go_on_from(bench):
    with pytest.raises(ConfigError, match="iteration 7 of run r needs iteration 6 first"):
        starting_models(_run(bench), 7, None, "champion")


def test_the_parent_is_the_champion_it_was_trained_from(bench):
    _night(bench, 1, right=20)
    start = starting_models(_run(bench), 2, _models(bench, 1), "champion")
    made = ModelRef("r-actor-2", "/m")
    bench.registry.versions = lambda name: bench.registry.known[name]
    registration = _registration(
        bench.runtime, "r", 2, Trained("actor", made, start.actor, []), {}, "mlflow-run", bench.registry
    )
    # Version 2 is the refused model of iteration 1.
    assert (registration.iteration, registration.parent_version, registration.parent_digest) == (2, 1, "r-actor-0")


class Measurement:
    """Answers with what was measured, by digest."""

    def __init__(self, bench, failing=()):
        self.asked = []
        self._bench = bench
        self._failing = failing

    def for_gate(self, iteration, role, model, first):
        return self._bench.measured(model.digest, share(80, 100)) if role == "actor" else None

    def of_champion(self, iteration, role, model, first):
        self.asked.append((iteration, role, model.digest))
        if model.digest in self._failing:
            raise EngineError("out of memory")
        return self._bench.measured(model.digest, share(50, 100))

    def ability(self, iteration, model):
        return None


@pytest.fixture
def decide(bench, monkeypatch):
    monkeypatch.setattr(champions, "promote_models", lambda *asked: bench.ask(*asked[1:3], *asked[3]))

    def ask(measurement, candidates, **evaluation):
        config = RunConfig.model_validate({"evaluation": evaluation})
        return champions.decide(Run(bench.home, "r", config), measurement, 1, candidates, _models(bench, 0))

    return ask


def test_a_champion_is_measured_on_the_candidates_prompts_and_only_while_undecided(bench, decide):
    candidate, measurement = bench.register("r", 1, "actor", "new"), Measurement(bench)
    (entry,) = decide(measurement, [candidate])
    assert (entry.decision, entry.difference) == ("promoted", pytest.approx(0.3))
    assert measurement.asked == [(1, "actor", "r-actor-0")]
    assert decide(measurement, [candidate]) == [entry]
    assert len(measurement.asked) == 1


def test_a_champion_that_cannot_be_measured_does_not_fail_the_run(bench, decide):
    (entry,) = decide(Measurement(bench, failing=["r-actor-0"]), [bench.register("r", 1, "actor", "new")])
    assert entry.decision == "refused"
    assert entry.reason == "not comparable with champion actor/1: it could not be measured (out of memory)"


def test_without_an_evaluation_the_gate_says_so(bench, decide):
    measurement = Measurement(bench)
    measurement.for_gate = lambda *_: None
    candidates = [bench.register("r", 1, role, f"new-{role}") for role in ("actor", "refiner")]
    entries = decide(measurement, candidates, enabled=False)
    assert {entry.decision for entry in entries} == {"unmeasured"}
    assert entries[0].reason == "nothing was measured to compare it by: evaluation.enabled is off"
    assert measurement.asked == []


def test_a_champion_whose_folder_is_gone_makes_room(bench, decide):
    (bench.home.root / "weights" / "r-actor-0").rmdir()
    (entry,) = decide(Measurement(bench), [bench.register("r", 1, "actor", "new")])
    assert entry.decision == "first"
    assert "the weights of champion actor/1 are gone" in entry.reason
    assert bench.champion("r").version == entry.version


def test_an_iteration_that_ended_before_its_gate_is_decided_on_later(bench, monkeypatch):
    bench.register("r", 1, "actor", "new")
    asked = []
    monkeypatch.setattr(champions, "decide", lambda *arguments: asked.append(arguments[2:4]))
    run = _run(bench)
    champions.decide_late(run, SimpleNamespace(), 1, None)
    ((iteration, (candidate,)),) = asked
    assert (iteration, candidate.role, candidate.version) == (1, "actor", 2)
    assert candidate.model == ModelRef("new", str(bench.home.root / "weights" / "new"))
    champions.decide_late(run, SimpleNamespace(), 0, None)
    assert len(asked) == 1


def test_shared_weights_go_on_from_the_actors_champion_in_both_roles(bench):
    _night(bench, 1, right=20)
    shared = Run(bench.home, "r", RunConfig(models=ModelsConfig(shared=True)))
    begun = starting_models(shared, 2, _models(bench, 1), "champion")
    assert begun == Models(_models(bench, 0).actor, _models(bench, 0).actor)
