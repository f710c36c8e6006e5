"""Starting, watching and stopping a vLLM server, which lives in a Python environment of its own."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from spar_core.engines.configuration import VllmEngineConfig
from spar_core.errors import EngineError
from spar_core.ports import free_port, port_is_free
from spar_core.secrets import with_values

_HOST = "127.0.0.1"
_POLL_S = 0.5
_STOP_S = 30.0  # a CPU server takes 2 to 4 seconds after SIGTERM
_STRAGGLERS_S = 3.0  # for worker processes that notice the end of the server by themselves
_LOG_LINES = 15
SERVED_NAME = "spar"


class VllmServer:
    """A running vLLM OpenAI server for one model folder. The constructor returns once it is healthy.

    Args:
        config: how to start it.
        model: folder or hub id.

    Raises:
        EngineError: the environment lacks vLLM, the port is taken, or the server ended or was not healthy in
            time; the message quotes the end of its log.
    """

    def __init__(self, config: VllmEngineConfig, model: str) -> None:
        self.port = config.port or free_port()
        if not port_is_free(self.port):
            raise EngineError(f"port {self.port} is taken: stop what listens there, or leave engine.port unset")
        python = _executable(config.python)
        folder = config.log_folder or Path(tempfile.mkdtemp(prefix="spar-vllm-"))
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"vllm-{self.port}.log"
        with self.log.open("wb") as log:
            # A session of its own: the server's worker processes die with its group, whatever state they are in.
            self._process = subprocess.Popen(
                [str(python), "-m", "vllm.entrypoints.openai.api_server", *server_arguments(config, model, self.port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=server_environment(config),
                start_new_session=True,
            )
        try:
            self._wait_until_healthy(config.start_timeout_s)
        except BaseException:
            self.stop()
            raise

    @property
    def base_url(self) -> str:
        """Address for OpenAI-compatible clients."""
        return f"http://{_HOST}:{self.port}/v1"

    @property
    def pid(self) -> int:
        """Process id, which is also the id of the process group."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the server process lives."""
        return self._process.poll() is None

    def stop(self) -> None:
        """SIGTERM to the whole group, SIGKILL to what outlives it; waits until the port is free. Idempotent."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        self._wait_for_end(_STRAGGLERS_S)
        self._signal(signal.SIGKILL)
        self._wait_for_end(_STOP_S)
        deadline = time.monotonic() + _STOP_S
        while not port_is_free(self.port) and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _group_lives(self) -> bool:
        self._process.poll()  # reaps the server itself, so that only live members count
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _wait_for_end(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while self._group_lives() and time.monotonic() < deadline:
            time.sleep(_POLL_S / 5)

    def _wait_until_healthy(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.is_running():
                raise EngineError(
                    f"the vLLM server ended with code {self._process.returncode} before it was ready. "
                    f"Its log, {self.log}, ends:\n{self._log_end()}"
                )
            with contextlib.suppress(httpx.HTTPError):
                if (
                    httpx.get(
                        f"http://{_HOST}:{self.port}/health", timeout=5.0, trust_env=False, verify=False
                    ).status_code
                    == 200
                ):
                    return
            time.sleep(_POLL_S)
        raise EngineError(
            f"the vLLM server was not healthy within {timeout_s:.0f} s (engine.start_timeout_s). "
            f"Its log, {self.log}, ends:\n{self._log_end()}"
        )

    def _log_end(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])


def server_arguments(config: VllmEngineConfig, model: str, port: int) -> list[str]:
    """Command-line arguments of the server."""
    arguments = ["--model", model, "--served-model-name", SERVED_NAME, "--host", _HOST, "--port", str(port)]
    arguments += ["--dtype", config.dtype, "--tensor-parallel-size", str(config.tensor_parallel)]
    # The folder's generation_config.json may hold a top_k or a repetition penalty of its own: requests say all.
    arguments += ["--generation-config", "vllm"]
    arguments += ["--gpu-memory-utilization", str(config.gpu_memory_utilization)]
    if config.max_model_len is not None:
        arguments += ["--max-model-len", str(config.max_model_len)]
    if not gpu_is_present() and not any("chunked-prefill" in argument for argument in config.extra_args):
        # vLLM 0.32 on a CPU dies of a request with a seed whose prompt is computed in two parts
        # ("CPU Generator does not use offset").
        arguments.append("--no-enable-chunked-prefill")
    return [*arguments, *config.extra_args]


def gpu_is_present() -> bool:
    """Whether this machine has the device files of an NVIDIA or AMD driver."""
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd"))


def server_environment(config: VllmEngineConfig) -> dict[str, str]:
    """Environment of the server: this process's, without what would point it at another Python."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": str(config.cpu_cache_gib)}
    return {**inherited, **quiet, **with_values(config.env, "engine.env")}


def _executable(python: str) -> Path:
    path = Path(python).expanduser().absolute()
    if not path.is_file():
        raise EngineError(
            f"{path} (engine.python) does not exist: `make vllm` creates the vLLM environment .venv-vllm, or name the "
            "Python of an environment in which vLLM is installed"
        )
    return path
