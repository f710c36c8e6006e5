"""Servers per role: how many, on which GPUs, and what is refused before anything starts."""

from pathlib import Path

import pytest

from spar_core.config.loading import build_config, load_config
from spar_core.config.run import RunConfig
from spar_core.engines import vllm_layout
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.opening import Opening
from spar_core.engines.placement import Gpu, Placement, Seat
from spar_core.engines.vllm_layout import berths
from spar_core.errors import ConfigError, EngineError
from tests.spar_core.engines.stand_in_server import model_folder

GIB = 2**30


def engine(**settings: object) -> VllmEngineConfig:
    return VllmEngineConfig.model_validate(settings)


def test_a_role_has_its_own_settings_and_the_rest_of_the_engine() -> None:
    both = engine(tensor_parallel=2, max_concurrency=7, roles={"refiner": {"replicas": 3, "tensor_parallel": 1}})
    actor, refiner = both.for_role("actor"), both.for_role("refiner")
    assert (actor.replicas, actor.tensor_parallel, actor.max_concurrency) == ("auto", 2, 7)
    assert (refiner.replicas, refiner.tensor_parallel, refiner.max_concurrency) == (3, 1, 7)
    assert actor.own_gpus is None
    plain = engine()
    assert plain.for_role("actor") is plain  # so that one model in both roles is loaded once


def placed(config: VllmEngineConfig, folder: Path, seat: Seat) -> list[Placement]:
    return [berth.placement for berth in berths(config, folder, Opening(seat=seat))]


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [Gpu(number, f"GPU-{number}", 80 * GIB, 80 * GIB) for number in range(8)]
    monkeypatch.setattr(vllm_layout, "gpu_is_present", lambda: True)
    monkeypatch.setattr(vllm_layout, "visible_gpus", lambda _environment: gpus)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize("number", [0, 1])  # whoever is opened first
def test_roles_that_have_gpus_share_none_of_them(tmp_path: Path, number: int) -> None:
    folder, seat = model_folder(tmp_path / "model"), Seat(number, 2)
    uneven = engine(roles={"actor": {"gpus": 5}, "refiner": {"gpus": 2, "tensor_parallel": 2}})
    assert placed(uneven.for_role("actor"), folder, seat) == [Placement(str(gpu), 0.9) for gpu in range(5)]
    assert placed(uneven.for_role("refiner"), folder, seat) == [Placement("6,7", 0.9)]
    # One GPU is named, too: another server has the others.
    single = engine(roles={"refiner": {"gpus": 1}})
    assert placed(single.for_role("refiner"), folder, seat) == [Placement("7", 0.9)]
    assert placed(single.for_role("actor"), folder, seat) == [Placement(str(gpu), 0.9) for gpu in range(7)]
    rest = engine(roles={"actor": {"gpus": 6, "gpu_memory_utilization": 0.5}})
    assert placed(rest.for_role("refiner"), folder, seat) == [Placement("6", 0.9), Placement("7", 0.9)]
    assert placed(rest.for_role("actor"), folder, seat)[0] == Placement("0", 0.5)


@pytest.mark.usefixtures("eight")
def test_without_gpus_of_their_own_the_roles_have_halves(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    several = engine(roles={"refiner": {"replicas": 2}})
    assert placed(several.for_role("actor"), folder, Seat(0, 2)) == [Placement(str(gpu), 0.9) for gpu in range(4)]
    assert placed(several.for_role("refiner"), folder, Seat(1, 2)) == [Placement("4", 0.9), Placement("5", 0.9)]
    greedy = engine(tensor_parallel=2, replicas=2, roles={"actor": {"gpus": 5}})
    with pytest.raises(EngineError, match="only 3 GPUs"):
        berths(greedy.for_role("refiner"), folder, Opening())


SIDE_BY_SIDE = {"orchestration": {"placement": "side_by_side"}}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": {"roles": {"actor": {"gpus": 2, "tensor_parallel": 4}}}, **SIDE_BY_SIDE}, "actor.gpus is 2"),
        ({"engine": {"replicas": 3, "roles": {"refiner": {"gpus": 2}}}, **SIDE_BY_SIDE}, "its 3 servers take 1 GPUs"),
        ({"engine": {"roles": {"actor": {"gpus": 2}}}}, "orchestration.placement=side_by_side"),
        (
            {
                "engine": {"roles": {"actor": {"gpus": 2}}},
                "method": {"judging": {"second_voter": "first"}},
                **SIDE_BY_SIDE,
            },
            "second_voter `first` is a third model",
        ),
        (
            {"engine": {"roles": {"actor": {"replicas": 2}}}, "scale": {"runner": "ray", "ray": {"replicas": 4}}},
            "scale.ray.replicas is 4",
        ),
        ({"engine": {"roles": {"critic": {"replicas": 2}}}}, "critic"),
    ],
)
def test_what_does_not_add_up_is_refused(settings: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config({**settings, "engine": {"kind": "vllm", **settings["engine"]}})


def test_servers_per_role_name_no_run() -> None:
    base = load_config("llama3-8b")
    roles = ("engine.roles.actor.replicas=6", "engine.roles.refiner.tensor_parallel=2")
    other = load_config("llama3-8b", overrides=list(roles))
    assert other.engine_of("actor") != other.engine_of("refiner")
    assert other.default_run_id() == base.default_run_id()
    assert {other.engine_of(role).identity() == base.engine.identity() for role in ("actor", "refiner")} == {True}
    assert RunConfig().engine_of("actor") == RunConfig().engine  # other kinds have no servers
