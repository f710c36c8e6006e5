from collections.abc import Callable
from pathlib import Path

import pytest
from trainable_models import save_tiny_model

from spar_core.config.launch import LaunchConfig
from spar_core.errors import TrainingError
from spar_core.processors import LARGE_MODEL
from spar_core.training import TrainingSpec, launch, train
from spar_core.training.spread import spread

MakeSpec = Callable[..., TrainingSpec]
_GIB = 2**30


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the code sees of the machine; by default two cores, memory for two models of 135M and no GPU."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def seen(cores: int = 2, memory: float = 24 * _GIB, weights: int = 270_000_000, gpu: bool = False) -> None:
        module = "spar_core.training.spread"
        monkeypatch.setattr(f"{module}.usable_cores", lambda: cores)
        monkeypatch.setattr(f"{module}.whole_memory", lambda: memory)
        monkeypatch.setattr(f"{module}.weight_bytes", lambda _: weights)
        monkeypatch.setattr(f"{module}.gpu_is_present", lambda: gpu)

    seen()
    return seen


def decided(make_spec: MakeSpec, tmp_path: Path, **settings: object) -> tuple[int, int]:
    """Processes and rows of a forward pass of each."""
    settings = {"batch_size": 8, "micro_batch_size": 4, "launch": LaunchConfig(), **settings}
    found = spread(make_spec("dpo", tmp_path, **settings))
    found.accumulation_steps(found.launch.world)  # it can be shared out
    return found.launch.processes or 1, found.micro_batch_size


def test_every_core_has_a_process_and_no_more_rows_are_in_work(
    make_spec: MakeSpec, machine: Callable[..., None], tmp_path: Path
) -> None:
    assert decided(make_spec, tmp_path) == (2, 2)
    assert decided(make_spec, tmp_path, micro_batch_size=1) == (2, 1)
    machine(cores=16, memory=24 * _GIB)
    assert decided(make_spec, tmp_path) == (4, 1)  # no memory for the states of more
    machine(cores=16, memory=900 * _GIB)
    assert decided(make_spec, tmp_path) == (8, 1)
    machine(cores=3)
    assert decided(make_spec, tmp_path) == (2, 2)  # eight pairs are no multiple of three
    assert decided(make_spec, tmp_path, batch_size=9, micro_batch_size=9) == (3, 3)


@pytest.mark.parametrize(
    "machine_has",
    [{"cores": 1}, {"gpu": True}, {"weights": LARGE_MODEL - 1}, {"memory": 4 * _GIB}],
    ids=["one core", "a GPU", "a small model", "little memory"],
)
def test_one_process_where_several_gain_nothing(
    make_spec: MakeSpec, machine: Callable[..., None], tmp_path: Path, machine_has: dict[str, object]
) -> None:
    machine(**machine_has)
    assert decided(make_spec, tmp_path) == (1, 4)


def test_what_the_user_arranged_stays(
    make_spec: MakeSpec, machine: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arranged in ({"processes": 1}, {"threads": 2}, {"sharding": "full"}, {"nodes": 2, "rendezvous": "first:29500"}):
        spec = make_spec("dpo", tmp_path, batch_size=8, micro_batch_size=4, launch=LaunchConfig(**arranged))
        assert spread(spec) is spec
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert decided(make_spec, tmp_path) == (1, 4)


def test_a_training_is_started_as_decided_and_known_by_what_was_asked(
    make_spec: MakeSpec, machine: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[TrainingSpec, str]] = []
    monkeypatch.setattr(launch, "_run", lambda spec, identity, *_: started.append((spec, identity)))
    asked = make_spec("dpo", save_tiny_model(tmp_path / "m"), launch=LaunchConfig())
    for cores in (2, 1):
        machine(cores=cores)
        with pytest.raises(TrainingError, match="ended without a model"):
            train(asked)
    assert [(spec.launch.processes, spec.micro_batch_size) for spec, _ in started] == [(2, 1), (1, 2)]
    assert started[0][1] == started[1][1]  # another machine goes on from its checkpoint
