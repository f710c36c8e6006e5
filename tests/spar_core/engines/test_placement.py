import pytest

from spar_core.engines.placement import (
    Gpu,
    GpuProcess,
    Placement,
    Seat,
    await_free,
    check_free,
    gpus_from,
    place,
    selected,
    share_cores,
)
from spar_core.errors import EngineError

GIB = 2**30


def gpus(*free: float, total: float = 80) -> list[Gpu]:
    return [Gpu(number, f"GPU-{number}abc", int(total * GIB), int(gib * GIB)) for number, gib in enumerate(free)]


def test_a_model_alone_stays_where_it_is() -> None:
    assert place(gpus(80), weights=16 * GIB) == (Placement(None, 0.9),)
    assert place(gpus(80, 80), weights=136 * GIB, split=2) == (Placement(None, 0.9),)


def test_two_models_get_a_gpu_each_or_half_of_one() -> None:
    both = [Seat(0, 2), Seat(1, 2)]
    assert [place(gpus(80, 80), weights=16 * GIB, seat=seat) for seat in both] == [
        (Placement("0", 0.9),),
        (Placement("1", 0.9),),
    ]
    assert [place(gpus(80), weights=16 * GIB, seat=seat) for seat in both] == [(Placement(None, 0.45),)] * 2
    # Four GPUs, each model over two of them.
    assert [place(gpus(*[80] * 4), weights=100 * GIB, split=2, seat=seat) for seat in both] == [
        (Placement("0,1", 0.9),),
        (Placement("2,3", 0.9),),
    ]
    # Three GPUs: only one pair, which they share.
    assert place(gpus(*[80] * 3), weights=16 * GIB, split=2, seat=both[1]) == (Placement(None, 0.45),)
    # The user chose the GPU of this model himself.
    assert place(gpus(80, 80), weights=16 * GIB, seat=both[1], fixed=True) == (Placement(None, 0.45),)


def test_replicas_of_a_model_get_gpus_of_their_own() -> None:
    eight = gpus(*[80] * 8)
    assert place(eight, weights=16 * GIB, replicas=8) == tuple(Placement(str(number), 0.9) for number in range(8))
    # Each replica is checked alone: 131 GiB over two GPUs, four times.
    pairs = place(eight, weights=131 * GIB, split=2, replicas=4)
    assert [placement.devices for placement in pairs] == ["0,1", "2,3", "4,5", "6,7"]
    halves = [place(eight, weights=16 * GIB, replicas=2, split=2, seat=Seat(number, 2)) for number in range(2)]
    assert [[placement.devices for placement in half] for half in halves] == [["0,1", "2,3"], ["4,5", "6,7"]]
    # GPUs 6 and 7 were chosen by the user: the replicas share these out.
    assert place(eight[6:], weights=16 * GIB, replicas=2, fixed=True) == (Placement("6", 0.9), Placement("7", 0.9))
    with pytest.raises(EngineError, match=r"tensor_parallel is 2 and engine.replicas 8, but only 8 GPUs"):
        place(eight, weights=16 * GIB, split=2, replicas=8)


def test_replicas_on_a_cpu_get_cores_of_their_own() -> None:
    assert share_cores(range(8), split=1, replicas=1, share=0.9) == (Placement(None, 0.9),)
    shared = share_cores([0, 1, 2, 5, 7], split=1, replicas=2, share=0.9)
    assert [placement.cores for placement in shared] == ["0,1", "2,5,7"]
    split = share_cores(range(4), split=2, replicas=2, share=0.9)
    assert [placement.cores for placement in split] == ["0|1", "2|3"]
    with pytest.raises(EngineError, match=r"replicas is 3 and engine\.tensor_parallel 1, but this process may use 2"):
        share_cores(range(2), split=1, replicas=3, share=0.9)


def test_three_models_on_two_gpus() -> None:
    found = [place(gpus(80, 80), weights=8 * GIB, seat=Seat(number, 3)) for number in range(3)]
    assert found == [(Placement("0", 0.45),), (Placement("1", 0.9),), (Placement("0", 0.45),)]
    thirds = [place(gpus(80), weights=8 * GIB, share=0.91, seat=Seat(number, 3))[0].share for number in range(3)]
    assert thirds == [0.303] * 3  # rounded down, so that they fit together


def test_weights_that_cannot_fit_are_refused_with_the_reason() -> None:
    # 0.45 x 80 = 36 GiB, of which 5 % are for keys and values: 34.2 GiB are left.
    assert place(gpus(80), weights=34 * GIB, seat=Seat(0, 2))[0].share == 0.45
    with pytest.raises(
        EngineError, match=r"take 35.0 GiB of GPU 0.* 36.0 of its 80.0 GiB .*2 models share it.*second_"
    ):
        place(gpus(80), weights=35 * GIB, seat=Seat(0, 2))
    with pytest.raises(EngineError, match=r"70.5 GiB of GPU 0.*the model has it to itself.*tensor_parallel"):
        place(gpus(80), weights=int(70.5 * GIB))
    with pytest.raises(EngineError, match=r"tensor_parallel is 4, but only 2 GPUs"):
        place(gpus(80, 80), weights=GIB, split=4)


def test_a_gpu_in_use_is_refused_naming_who_uses_it() -> None:
    check_free(gpus(73), 0.9)
    taken = gpus(10)[0]._replace(processes=(GpuProcess(7, "python", 60 * GIB), GpuProcess(8, "blender", 10 * GIB)))
    with pytest.raises(EngineError, match=r"GPU 0 has 10.0 of 80.0.* wants 72.0.*7 \(python, 60.0 GiB\), process 8"):
        check_free([taken], 0.9)
    with pytest.raises(EngineError, match="processes that the driver does not name"):
        check_free(gpus(10), 0.9)


def test_memory_that_is_about_to_be_free_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spar_core.engines.placement._POLL_S", 0.01)
    looks = iter([gpus(10), gpus(40), gpus(79)])
    await_free(Placement(None, 0.9), lambda: next(looks))
    assert next(looks, None) is None
    with pytest.raises(EngineError, match=r"10\.0 of 80\.0"):
        await_free(Placement(None, 0.9), lambda: gpus(10), patience_s=0.05)


def test_visible_devices_by_number_and_by_uuid() -> None:
    there = gpus(1, 2, 3)
    assert selected(there, None) == there
    assert selected(there, "2,0") == [there[2], there[0]]
    assert selected(there, "GPU-1a") == [there[1]]
    assert selected(there, "0,7,1") == [there[0]]  # as CUDA: what is none ends the list
    assert selected(there, "") == []


def test_what_the_drivers_tool_prints() -> None:
    listed = [["0", "GPU-a", "81559", "81000"], ["1", "GPU-b", "[N/A]", "[N/A]"]]
    holders = [["GPU-a", "42", "512", "/usr/bin/python"], ["GPU-a", "43", "[N/A]", "x"], [""]]
    found = gpus_from(listed, holders)
    processes = (GpuProcess(42, "/usr/bin/python", 512 * 2**20), GpuProcess(43, "x", 0))
    assert found == [Gpu(0, "GPU-a", 81559 * 2**20, 81000 * 2**20, processes)]
