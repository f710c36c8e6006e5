import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import httpx
import pytest
from stand_in_server import stand_in

from spar_core.engines import vllm_layout, vllm_server
from spar_core.engines.configuration import OMP_BINDING, VllmEngineConfig
from spar_core.engines.opening import Opening
from spar_core.engines.placement import Gpu, GpuProcess, Placement, Seat, check_free
from spar_core.engines.vllm_layout import berths
from spar_core.engines.vllm_server import VllmServer, server_arguments, server_dtype, server_environment
from spar_core.errors import EngineError
from spar_core.ports import port_is_free


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VllmEngineConfig:
    """A configuration whose Python runs a stand-in instead of vLLM."""
    monkeypatch.setattr(vllm_server, "_STOP_S", 1.0)
    return VllmEngineConfig(python=stand_in(tmp_path), log_folder=tmp_path / "logs", start_timeout_s=20)


def with_mode(config: VllmEngineConfig, mode: str, **changes) -> VllmEngineConfig:
    return config.model_copy(update={"env": {"STAND_IN_MODE": mode}, **changes})


def group_lives(process_group: int) -> bool:
    """Whether any process of the group still runs (one that ended but was not collected does not count)."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(group) == process_group and state != "Z":
            return True
    return False


def test_starts_waits_for_health_and_stops(config: VllmEngineConfig) -> None:
    server = VllmServer(config, "/some/model")
    assert server.is_running()
    assert httpx.get(server.base_url.removesuffix("/v1") + "/health").status_code == 200
    told = server.log.read_text()
    assert f"--model /some/model --served-model-name spar --port {server.port}" in told
    assert "--host 127.0.0.1" in told
    server.stop()
    assert not server.is_running()
    assert port_is_free(server.port)
    server.stop()


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")
def test_a_server_and_workers_that_ignore_the_signal_are_killed(config: VllmEngineConfig) -> None:
    server = VllmServer(with_mode(config, "stubborn"), "m")
    group = server.pid
    assert group is not None
    assert group_lives(group)
    server.stop()
    assert not group_lives(group)
    assert port_is_free(server.port)


def test_a_server_that_ends_at_once_is_an_error_that_quotes_its_log(config: VllmEngineConfig) -> None:
    with pytest.raises(EngineError, match=r"ended with code 1.*\.log, ends:\n(.*\n)*out of luck"):
        VllmServer(with_mode(config, "ends"), "m")


def test_a_server_that_never_gets_healthy_is_stopped(config: VllmEngineConfig) -> None:
    with pytest.raises(EngineError, match=r"not healthy within 1 s \(engine.start_timeout_s\)"):
        VllmServer(with_mode(config, "never-healthy", start_timeout_s=1.0), "m")
    port = int(next((config.log_folder or Path()).glob("*.log")).stem.removeprefix("vllm-"))
    assert port_is_free(port)


def test_a_taken_port_and_a_missing_python_are_named(config: VllmEngineConfig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port} is taken"):
            VllmServer(config.model_copy(update={"port": port}), "m")
    with pytest.raises(EngineError, match="make vllm"):
        VllmServer(config.model_copy(update={"python": "/no/python"}), "m")


def test_an_abandoned_start_ends_at_once(config: VllmEngineConfig, tmp_path: Path) -> None:
    abandoned = threading.Event()
    threading.Timer(1.0, abandoned.set).start()
    started = time.monotonic()
    with pytest.raises(EngineError, match="interrupted while the vLLM server started"):
        VllmServer(with_mode(config, "slow", start_timeout_s=60), "m", Opening(abandoned=abandoned))
    assert time.monotonic() - started < 15.0  # not the start's 60
    (log,) = (tmp_path / "logs").glob("*.log")
    assert port_is_free(int(log.stem.removeprefix("vllm-")))


def test_a_log_goes_where_the_home_keeps_logs(config: VllmEngineConfig, tmp_path: Path) -> None:
    unset = config.model_copy(update={"log_folder": None})
    server = VllmServer(unset, "m", Opening(logs=tmp_path / "home" / "logs", records=tmp_path / "home" / "servers"))
    assert server.log.parent == tmp_path / "home" / "logs"
    assert server.record.parent == tmp_path / "home" / "servers"
    server.stop()
    assert list(server.record.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("gpu", "instructions", "asked", "given"),
    [
        (False, False, "auto", "float32"),
        (False, True, "auto", "auto"),
        (True, False, "auto", "auto"),
        (False, False, "bfloat16", "bfloat16"),
    ],
)
def test_the_number_type_follows_the_processor(
    gpu: bool,
    instructions: bool,
    asked: Literal["auto", "bfloat16"],
    given: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(vllm_server, "gpu_is_present", lambda: gpu)
    monkeypatch.setattr(vllm_server, "computes_bfloat16", lambda: instructions)
    assert server_dtype(VllmEngineConfig(dtype=asked)) == given
    assert ["40 times slower" in message for message in caplog.messages] == ([True] if asked == "bfloat16" else [])


def test_two_models_on_one_gpu_get_half_of_it_each(config: VllmEngineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(0, "GPU-a", total=80 * 2**30, free=80 * 2**30)
    see_gpus(monkeypatch, [gpu])
    servers = [VllmServer(config, "m", Opening(seat=Seat(number, 2))) for number in (0, 1)]
    for server in servers:
        assert "--gpu-memory-utilization 0.45 " in server.log.read_text()
        server.stop()
    monkeypatch.setattr(vllm_server, "await_free", check_now)
    taken = gpu._replace(free=10 * 2**30, processes=(GpuProcess(4711, "python", 70 * 2**30),))
    see_gpus(monkeypatch, [taken])
    with pytest.raises(EngineError, match=r"GPU 0 has 10.0 of 80.0 GiB free.*process 4711 \(python, 70.0 GiB\)"):
        VllmServer(config, "m")


def see_gpus(monkeypatch: pytest.MonkeyPatch, gpus: list[Gpu]) -> None:
    for module in (vllm_server, vllm_layout):
        monkeypatch.setattr(module, "gpu_is_present", lambda: True)
        monkeypatch.setattr(module, "visible_gpus", lambda *_: gpus)


def check_now(placement: Placement, look: Callable[[], Sequence[Gpu]]) -> None:
    check_free(look(), placement.share)


def test_settings_become_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_server, "gpu_is_present", lambda: True)
    config = VllmEngineConfig(dtype="bfloat16", tensor_parallel=2, max_model_len=4096, extra_args=("--enforce-eager",))
    assert " ".join(server_arguments(config, "m", 81, 0.45)) == (
        "--model m --served-model-name spar --port 81 --dtype bfloat16 --tensor-parallel-size 2 "
        "--generation-config vllm --gpu-memory-utilization 0.45 --max-model-len 4096 --enforce-eager"
    )


@pytest.mark.parametrize(("models", "replicas"), [(1, 4), (2, 2), (5, 1)])
def test_as_many_replicas_as_the_gpus_hold(monkeypatch: pytest.MonkeyPatch, models: int, replicas: int) -> None:
    see_gpus(monkeypatch, [Gpu(number, f"GPU-{number}", 80 * 2**30, 80 * 2**30) for number in range(4)])
    found = berths(VllmEngineConfig(), Path("nowhere"), Opening(seat=Seat(0, models)))
    assert len(found) == len({berth.port for berth in found}) == replicas
    numbered = berths(VllmEngineConfig(port=8000), Path("nowhere"), Opening())
    assert [berth.port for berth in numbered] == [8000, 8001, 8002, 8003]
    assert [VllmEngineConfig(tensor_parallel=2).replicas_on(gpus) for gpus in (0, 1, 8)] == [1, 1, 4]


def test_replicas_are_placed_unseen_where_the_driver_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    see_gpus(monkeypatch, [])
    found = berths(VllmEngineConfig(tensor_parallel=2, replicas=2), Path("nowhere"), Opening())
    assert [berth.placement.devices for berth in found] == ["0,1", "2,3"]


def test_a_cpu_server_computes_prompts_whole_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_server, "gpu_is_present", lambda: False)
    assert "--no-enable-chunked-prefill" in server_arguments(VllmEngineConfig(), "m", 81, 0.9)
    chosen = VllmEngineConfig(extra_args=("--enable-chunked-prefill",))
    assert "--no-enable-chunked-prefill" not in server_arguments(chosen, "m", 81, 0.9)


def test_the_environment_is_inherited_without_what_misleads_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("SPAR_TEST_VARIABLE", "kept")
    environment = server_environment(VllmEngineConfig(cpu_cache_gib=3, env={"DO_NOT_TRACK": "0"}), Placement(None, 0.9))
    assert "PYTHONPATH" not in environment
    assert environment["SPAR_TEST_VARIABLE"] == "kept"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert environment["DO_NOT_TRACK"] == "0"
    assert OMP_BINDING not in environment


def test_each_replica_sees_its_own_place_alone() -> None:
    chosen = VllmEngineConfig(env={"CUDA_VISIBLE_DEVICES": "4,5"})
    seen = server_environment(chosen, Placement("5", 0.9))
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["CUDA_DEVICE_ORDER"]) == ("5", "PCI_BUS_ID")
    assert server_environment(VllmEngineConfig(), Placement(None, 0.9, "2,3"))[OMP_BINDING] == "2,3"
