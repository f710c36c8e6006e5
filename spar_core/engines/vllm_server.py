"""Starting, watching and stopping a vLLM server, which lives in a Python environment of its own."""

import contextlib
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

from spar_core.engines.configuration import OMP_BINDING, VllmEngineConfig
from spar_core.engines.opening import BY_HAND, Opening
from spar_core.engines.placement import VISIBLE, Placement, await_free, gpu_is_present, selected, visible_gpus
from spar_core.engines.server_guard import end_recorded, read_record
from spar_core.engines.server_progress import is_writing
from spar_core.engines.vllm_layout import Berth, berths
from spar_core.errors import EngineError
from spar_core.log_end import log_end
from spar_core.ports import port_is_free
from spar_core.processes import process_mark
from spar_core.processors import SLOW_BF16, computes_bfloat16
from spar_core.secrets import with_values

_LOG = logging.getLogger(__name__)
_POLL_S = 0.5
_STOP_S = 10.0  # a CPU server takes 2 to 4 seconds after SIGTERM
_HEALTH_S = 10.0
SERVED_NAME = "spar"


class VllmServer:
    """A running vLLM OpenAI server for one model folder. The constructor returns once it is healthy.

    A guard process of its own ends it when this process is gone, whatever ended that (see `server_guard`).

    Args:
        config: how to start it.
        model: folder or hub id.
        opening: its neighbours on the GPU, where its log and its record go, when to give up.
        template: chat template to use instead of the folder's own.
        berth: its place among the replicas of the model; None: it is the only one.

    Raises:
        EngineError: the environment lacks vLLM, the port is taken, the GPU's memory does not suffice, the start was
            given up, or the server ended or was not healthy in time; the message quotes the end of its log.
    """

    def __init__(
        self,
        config: VllmEngineConfig,
        model: str,
        opening: Opening = BY_HAND,
        template: str | None = None,
        berth: Berth | None = None,
    ) -> None:
        self._host = opening.host
        self._abandoned = opening.abandoned or threading.Event()
        if berth is None:
            (berth,) = berths(config.model_copy(update={"replicas": 1}), Path(model), opening)
        self.port, placement = berth.port, berth.placement
        if not port_is_free(self.port):
            raise EngineError(f"port {self.port} is taken: stop what listens there, or leave engine.port unset")
        python = _executable(config.python)
        _await_memory(config, placement)
        folder = config.log_folder or opening.logs or Path(tempfile.mkdtemp(prefix="spar-vllm-"))
        self.record = ((opening.records or folder) / f"vllm-{self.port}.json").absolute()
        for needed in (folder, self.record.parent):
            needed.mkdir(parents=True, exist_ok=True)
        self.log = _new_log(folder, self.port)
        arguments = server_arguments(config, model, self.port, placement.share)
        arguments += ["--host", self._host]
        if template is not None:
            file = folder.absolute() / f"vllm-{self.port}.jinja"
            file.write_text(template, encoding="utf-8")
            arguments += ["--chat-template", str(file)]
        self._start([str(python), "-m", "vllm.entrypoints.openai.api_server", *arguments], config, placement)
        try:
            self._wait_until_healthy(config.start_timeout_s)
        except BaseException:
            self.stop(at_once=self._abandoned.is_set())
            raise

    @property
    def base_url(self) -> str:
        """Address for OpenAI-compatible clients."""
        return f"http://{self._host}:{self.port}/v1"

    @property
    def pid(self) -> int | None:
        """Id of the server process, and of the session and process group it leads; None once it has ended."""
        record = read_record(self.record)
        return None if record is None else int(record["server"])

    def is_running(self) -> bool:
        """Whether the server process lives."""
        return self._guard.poll() is None

    def is_healthy(self) -> bool:
        """Whether the server says so; one that is alive may have lost its engine."""
        return self._health() == 200

    def has_lost_its_engine(self) -> bool:
        """Whether it lives on, but says that it cannot answer any more; silence may mean that it is busy."""
        return self._health() not in (200, None)

    def _health(self) -> int | None:
        """The status it answers with; None where it does not answer."""
        try:
            url = f"http://{self._host}:{self.port}/health"
            answer = httpx.get(url, timeout=_HEALTH_S, trust_env=False, verify=False)
        except httpx.HTTPError:
            return None
        return answer.status_code if self.is_running() else None

    def is_writing(self) -> bool:
        """Whether it is at work on somebody's request; may take a minute to say no."""
        return self.is_running() and is_writing(f"http://{self._host}:{self.port}")

    def wait(self) -> None:
        """Return when the server has ended, for whatever reason."""
        self._guard.wait()

    def log_end(self) -> str:
        """The last lines of the server's log."""
        return log_end(self.log)

    def stop(self, *, at_once: bool = False) -> None:
        """End the server and all its processes, politely unless `at_once`; waits until the port is free. Idempotent."""
        if self._guard.poll() is None:
            self._guard.send_signal(signal.SIGINT if at_once else signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(2 * _STOP_S)
            if self._guard.poll() is None:
                self._guard.kill()
                self._guard.wait()
        end_recorded(self.record)  # nothing, unless the guard itself was killed
        deadline = time.monotonic() + _STOP_S
        while not port_is_free(self.port) and time.monotonic() < deadline:
            time.sleep(_POLL_S / 5)

    def _start(self, command: list[str], config: VllmEngineConfig, placement: Placement) -> None:
        task = {
            "command": command,
            "environment": server_environment(config, placement),
            "folder": str(Path.cwd()),
            "owner": process_mark(os.getpid()),
            "patience_s": _STOP_S,
        }
        with self.log.open("wb") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-m", "spar_core.engines.server_guard", str(self.record)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_guard_environment(),
                start_new_session=True,  # a Ctrl-C in the terminal is its owner's to act on
            )
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._guard.stdin as task_input:
            task_input.write(json.dumps(task).encode())

    def _wait_until_healthy(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.is_running():
                raise EngineError(
                    f"the vLLM server ended with code {self._guard.returncode} before it was ready. "
                    f"Its log, {self.log}, ends:\n{self.log_end()}"
                )
            if self.is_healthy():
                return
            if self._abandoned.wait(_POLL_S):
                raise EngineError("interrupted while the vLLM server started; run the same command again to resume")
        raise EngineError(
            f"the vLLM server was not healthy within {timeout_s:.0f} s (engine.start_timeout_s). "
            f"Its log, {self.log}, ends:\n{self.log_end()}"
        )


def _await_memory(config: VllmEngineConfig, placement: Placement) -> None:
    """Wait a moment for the memory that the server needs on its GPUs."""
    environment = {**os.environ, **config.env}
    if not gpu_is_present() or not visible_gpus(environment):
        return
    devices = placement.devices or environment.get(VISIBLE)
    await_free(placement, lambda: selected(visible_gpus({}), devices)[: config.tensor_parallel])


def _new_log(folder: Path, port: int) -> Path:
    """Where nothing is written yet: a server that is started again leaves the log of the one before alone."""
    log = folder / f"vllm-{port}.log"
    for number in itertools.count(2):
        if not log.exists():
            return log
        log = folder / f"vllm-{port}-{number}.log"
    raise AssertionError


def server_arguments(config: VllmEngineConfig, model: str, port: int, share: float) -> list[str]:
    """Command-line arguments of the server; `share` is the part of its GPUs' memory it may take."""
    arguments = ["--model", model, "--served-model-name", SERVED_NAME, "--port", str(port)]
    arguments += ["--dtype", server_dtype(config), "--tensor-parallel-size", str(config.tensor_parallel)]
    # The folder's generation_config.json may hold a top_k or a repetition penalty of its own: requests say all.
    arguments += ["--generation-config", "vllm"]
    arguments += ["--gpu-memory-utilization", str(share)]
    if config.max_model_len is not None:
        arguments += ["--max-model-len", str(config.max_model_len)]
    if not gpu_is_present() and not any("chunked-prefill" in argument for argument in config.extra_args):
        # vLLM 0.32 on a CPU dies of a request with a seed whose prompt is computed in two parts
        # ("CPU Generator does not use offset").
        arguments.append("--no-enable-chunked-prefill")
    return [*arguments, *config.extra_args]


def server_dtype(config: VllmEngineConfig) -> str:
    """The number type for --dtype: on a CPU without bfloat16 instructions "auto" is float32, not the files' type."""
    if gpu_is_present() or computes_bfloat16():
        return config.dtype
    if config.dtype == "bfloat16":
        _LOG.warning(SLOW_BF16.format(setting="engine.dtype"))
    return "float32" if config.dtype == "auto" else config.dtype


def server_environment(config: VllmEngineConfig, placement: Placement) -> dict[str, str]:
    """Environment of the server: this process's, without what would point it at another Python, and its place."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": str(config.cpu_cache_gib)}
    own: dict[str, str] = {}
    if placement.devices is not None:  # by the numbers of the driver's tool
        own = {VISIBLE: placement.devices, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    if placement.cores is not None:
        own[OMP_BINDING] = placement.cores
    return {**inherited, **quiet, **with_values(config.env, "engine.env"), **own}


def _guard_environment() -> dict[str, str]:
    """This process's environment, with this code findable."""
    here = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


def _executable(python: str) -> Path:
    path = Path(python).expanduser().absolute()
    if not path.is_file():
        raise EngineError(
            f"{path} (engine.python) does not exist: `make vllm` creates the vLLM environment .venv-vllm, or name the "
            "Python of an environment in which vLLM is installed"
        )
    return path
