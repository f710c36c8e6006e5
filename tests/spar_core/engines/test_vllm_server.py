import os
import socket
import sys
from pathlib import Path

import httpx
import pytest

from spar_core.engines import vllm_server
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.vllm_server import VllmServer, server_arguments, server_environment
from spar_core.errors import EngineError
from spar_core.ports import port_is_free

STAND_IN = """
import http.server, os, signal, subprocess, sys, time
port = int(sys.argv[sys.argv.index("--port") + 1])
mode = os.environ.get("STAND_IN_MODE")
print("arguments:", " ".join(sys.argv[1:]), flush=True)
if mode == "ends":
    sys.exit("out of luck")
if mode == "stubborn":
    # A server whose worker outlives it, and which itself ignores SIGTERM.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if mode == "never-healthy" else 200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VllmEngineConfig:
    """A configuration whose Python runs a stand-in instead of vLLM."""
    monkeypatch.setattr(vllm_server, "_STOP_S", 1.0)
    monkeypatch.setattr(vllm_server, "_STRAGGLERS_S", 0.2)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    python = tmp_path / "python"
    # Called as: python -m vllm.entrypoints.openai.api_server ARGUMENTS
    python.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {tmp_path}/stand_in.py "$@"\n')
    python.chmod(0o755)
    return VllmEngineConfig(python=str(python), log_folder=tmp_path / "logs", start_timeout_s=20)


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
    assert (
        f"--model /some/model --served-model-name spar --host 127.0.0.1 --port {server.port}" in server.log.read_text()
    )
    server.stop()
    assert not server.is_running()
    assert port_is_free(server.port)
    server.stop()


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")
def test_a_server_and_workers_that_ignore_the_signal_are_killed(config: VllmEngineConfig) -> None:
    server = VllmServer(with_mode(config, "stubborn"), "m")
    assert group_lives(server.pid)
    server.stop()
    assert not group_lives(server.pid)
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


def test_settings_become_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_server, "gpu_is_present", lambda: True)
    config = VllmEngineConfig(dtype="bfloat16", tensor_parallel=2, max_model_len=4096, extra_args=("--enforce-eager",))
    assert " ".join(server_arguments(config, "m", 81)) == (
        "--model m --served-model-name spar --host 127.0.0.1 --port 81 --dtype bfloat16 --tensor-parallel-size 2 "
        "--generation-config vllm --gpu-memory-utilization 0.9 --max-model-len 4096 --enforce-eager"
    )


def test_a_cpu_server_computes_prompts_whole_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_server, "gpu_is_present", lambda: False)
    assert "--no-enable-chunked-prefill" in server_arguments(VllmEngineConfig(), "m", 81)
    chosen = VllmEngineConfig(extra_args=("--enable-chunked-prefill",))
    assert "--no-enable-chunked-prefill" not in server_arguments(chosen, "m", 81)


def test_the_environment_is_inherited_without_what_misleads_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("SPAR_TEST_VARIABLE", "kept")
    environment = server_environment(VllmEngineConfig(cpu_cache_gib=3, env={"DO_NOT_TRACK": "0"}))
    assert "PYTHONPATH" not in environment
    assert environment["SPAR_TEST_VARIABLE"] == "kept"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert environment["DO_NOT_TRACK"] == "0"
