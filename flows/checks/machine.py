"""Whether the machine can bear the work: its GPUs and memory, disk, ports, keys, and vLLM's environment."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows.checks.models import model_folders
from flows.checks.verdicts import Finding
from flows.checks.work import Work
from spar_core.config.training import OptimisationConfig, uneven_batch
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.model_reference import is_server
from spar_core.engines.placement import VISIBLE, Gpu, visible_gpus, weight_bytes
from spar_core.engines.role_servers import SERVED_ROLES
from spar_core.engines.server_address import is_on_this_machine
from spar_core.errors import ConfigError
from spar_core.planning import ModelShape, TrainingLoad, training_memory
from spar_core.ports import port_is_free
from spar_core.processors import core_numbers, trains_in_bfloat16
from spar_core.secrets import redacted_text
from storage.mlflow_store import TRACKING_VARIABLE, database_finding, is_tracking_server, shared_uri

_GIB = 2**30
_ASK_S = 2.0
_CHECKPOINT_SHARE = 5  # size of a resumable checkpoint in weights: the weights, and moments of twice their precision
_TEXT_BYTES = 600  # of one answer, vote or rewrite in compressed Parquet and its journal
_HEADROOM = 1.2
_GPU_DEVICES = ("/dev/nvidia0", "/dev/nvgpu", "/dev/nvhost-gpu", "/dev/kfd")


def check_machine(work: Work) -> Iterator[Finding]:
    """Memory, disk, ports, environment variables, servers."""
    engine = work.config.engine
    yield from _memory(work)
    yield from _batches(work)
    yield from _disk(work)
    if isinstance(engine, VllmEngineConfig) and not all(map(is_server, work.models.values())):
        yield _vllm(engine)
        yield from _servers(work, engine)
        own = work.home.servers / f"vllm-{engine.port}.json"  # one that an earlier run left: it is ended first
        if engine.port is not None and not port_is_free(engine.port) and not own.exists():
            yield Finding(
                "port", "fail", f"port {engine.port} is taken", "stop what listens there, or leave engine.port unset"
            )
    yield from _keys(work.config.model_dump(mode="json"))
    yield from _prefect()
    yield from _mlflow()


def _gpus() -> list[Gpu] | None:
    """The GPUs that may be used; None where there are some of which NVIDIA's tool does not tell the memory.

    Such are those that share the CPU's memory, and those of other makers.
    """
    found = visible_gpus()
    hidden = os.environ.get(VISIBLE) in ("", "-1")
    return None if not found and not hidden and any(map(os.path.exists, _GPU_DEVICES)) else found


def _memory(work: Work) -> Iterator[Finding]:
    device = getattr(work.config.engine, "device", "auto")
    gpus = [] if device == "cpu" else _gpus()
    if gpus is None:
        yield Finding("memory", "ok", "GPUs whose memory is not known")
        return
    if device.startswith("cuda") and not gpus:
        yield Finding("GPU", "fail", f"engine.device is {device} and no usable GPU answers", "set it to auto or cpu")
        return
    where = f"{len(gpus)} GPUs" if gpus else "the CPU's memory"
    largest = max((weight_bytes(folder) for folder in model_folders(work)), default=0)
    has = sum(gpu.total for gpu in gpus) if gpus else float(psutil.virtual_memory().total)
    remedy = "take a smaller model, more GPUs (engine.tensor_parallel), or LoRA for training (training.*.lora)"
    if not largest:
        yield Finding("memory", "ok", where)
    elif largest > has:
        yield Finding("memory", "fail", f"weights of {_size(largest)} do not fit into {_size(has)} ({where})", remedy)
    elif (needs := _training_bytes(work, on_gpu=bool(gpus))) > (each := has / max(1, len(gpus))):
        detail = f"training wants about {_size(needs)} per process, there are {_size(each)} ({where})"
        yield Finding("memory", "warn", detail, "`spar plan` names the settings that would fit")
    else:
        yield Finding("memory", "ok", f"{where}: {_size(has)}; training wants about {_size(needs)} per process")


def _batches(work: Work) -> Iterator[Finding]:
    """Every optimiser step can be shared out over the processes. An accelerate file says their number only later."""
    world = work.config.training.launch.world
    for name, settings in _trainings(work).items():
        if (uneven := uneven_batch(settings, world)) is not None:
            yield Finding("training", "fail", f"training.{name}: {uneven}", "or take fewer processes", misused=True)


def _trainings(work: Work) -> dict[str, OptimisationConfig]:
    training, given = work.config.training, work.given
    if given is None:
        return work.config.trainings() if work.trains else {}
    if given.pairs:
        return {"actor": training.actor} if given.role == "actor" else {"judge": training.judge_training()}
    name = f"warm_start_{given.role}"
    return {name: getattr(training, name)}


def _training_bytes(work: Work, *, on_gpu: bool) -> float:
    """Of each process of the largest training, as `spar plan` counts them; 0 for models of a shape it does not know."""
    training, needs = work.config.training, [0.0]
    for folder in model_folders(work) if work.trains else ():
        with suppress(ConfigError):
            shape = ModelShape.of_folder(folder, folder.name)
            bf16 = on_gpu or trains_in_bfloat16(shape.weights)
            for one in (training.actor, training.refiner):
                load = TrainingLoad.of(one, training.launch, usual_bf16=bf16)
                needs.append(training_memory(shape, load, training.launch.world).total)
    return max(needs)


def _trains_adapters(work: Work) -> bool:
    trainings: tuple[OptimisationConfig, ...] = (work.config.training.actor, work.config.training.refiner)
    return all(training.lora is not None for training in trainings)


def _disk(work: Work) -> Iterator[Finding]:
    """What one iteration writes must fit; what the whole run writes should."""
    below = next(folder for folder in (work.home.root, *work.home.root.parents) if folder.exists())
    if not os.access(below, os.W_OK):
        remedy = "check its permissions, or give another --home"
        yield Finding("disk", "fail", f"{work.home.root} cannot be written", remedy)
        return
    free = shutil.disk_usage(below).free
    once, whole = estimated_bytes(work)
    unknown = "" if model_folders(work) else ", and the models, whose size is not known yet"
    detail = f"{_size(free)} free; about {_size(once)} needed at least, {_size(whole)} for the whole run{unknown}"
    remedy = "free some space (`spar gc` shows what can go), or point --home at another disk"
    verdict = "fail" if free < once else "warn" if free < whole else "ok"
    yield Finding("disk", verdict, detail, "" if verdict == "ok" else remedy)  # type: ignore[arg-type]


def estimated_bytes(work: Work) -> tuple[float, float]:
    """Bytes that one iteration writes, with the checkpoint of its training, and bytes of the whole run."""
    config, method = work.config, work.config.method
    weights = max((weight_bytes(folder) for folder in model_folders(work)), default=0)
    answers = config.prompts.per_iteration * method.responses.per_prompt
    texts = answers * (1 + method.judging.votes) * _TEXT_BYTES * 2  # the search asks about as much again
    if not work.trains:
        return 0.0, float(texts)
    models = 2.0 * weights
    once = models + (0 if _trains_adapters(work) else _CHECKPOINT_SHARE) * weights + texts
    return once * _HEADROOM, (once + (config.iterations + 1) * (models + texts)) * _HEADROOM


def _vllm(engine: VllmEngineConfig) -> Finding:
    python = Path(engine.python).expanduser().absolute()
    remedy = "`make vllm` creates .venv-vllm; or name the Python of an environment in which vLLM is installed"
    if not python.is_file():
        return Finding("vLLM", "fail", f"{python} (engine.python) does not exist", remedy)
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        asked = subprocess.run([str(python), "-c", look], env=environment, timeout=10 * _ASK_S, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("vLLM", "fail", f"{python} (engine.python) cannot be run: {error}", remedy)
    if asked.returncode:
        return Finding("vLLM", "fail", f"{python} (engine.python) has no vLLM", remedy)
    return Finding("vLLM", "ok", str(python))


def _servers(work: Work, engine: VllmEngineConfig) -> Iterator[Finding]:
    """Every role's servers have the GPUs, or cores, they are given; not where a cluster has them."""
    gpus = _gpus()
    if gpus is None or work.config.scale.ray.replicas:
        return
    wanted = [own.gpus or 0 for own in (engine.roles.actor, engine.roles.refiner)]
    if gpus and sum(wanted) > len(gpus):
        detail = f"engine.roles gives {wanted[0]} GPUs to the actor and {wanted[1]} to the refiner, of {len(gpus)}"
        yield Finding("servers", "fail", detail, f"lower engine.roles.*.gpus, or widen {VISIBLE}")
        return
    taken = {role: _gpus_taken(engine.for_role(role), len(gpus) // 2) for role in SERVED_ROLES}
    apart = work.config.orchestration.placement == "side_by_side"
    if gpus and apart and not any(wanted) and len(set(taken.values())) > 1 and max(taken.values()) > len(gpus) // 2:
        detail = f"the actor wants {taken['actor']} of {len(gpus)} GPUs and the refiner {taken['refiner']}, beside it"
        yield Finding("servers", "fail", detail, "say which have how many: engine.roles.actor.gpus, .refiner.gpus")
        return
    for role in SERVED_ROLES:
        served = engine.for_role(role)
        here = gpus if served.own_gpus is None else served.own_gpus.of(gpus)
        there = len(here) if gpus else len(core_numbers())
        least = _gpus_taken(served, 1)
        if least > there and (gpus or served.replicas_on(1) > 1):
            detail = f"the {role} wants {served.replicas_on(1)} servers over {served.tensor_parallel} each: {least} "
            detail += f"GPUs, and has {there}" if gpus else f"CPU cores, and there are {there}"
            remedy = f"lower engine.replicas or engine.tensor_parallel, or those of engine.roles.{role}"
            yield Finding("servers", "fail", detail, remedy)


def _gpus_taken(served: VllmEngineConfig, there: int) -> int:
    return served.tensor_parallel * served.replicas_on(there)


def _keys(value: Any, path: str = "") -> Iterator[Finding]:
    """Every field that names an environment variable (`..._env`) names one that is set."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        place = f"{path}{key}"
        if key.endswith("_env") and isinstance(inner, str) and not os.environ.get(inner):
            yield Finding("keys", "fail", f"the environment variable {inner} ({place}) is not set", "set it")
        yield from _keys(inner, f"{place}.")


def _prefect() -> Iterator[Finding]:
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        return
    try:
        httpx.get(f"{address}/health", timeout=_ASK_S, trust_env=not is_on_this_machine(address))
    except httpx.ReadTimeout:
        yield Finding("Prefect", "ok", f"{address} is busy")
    except (httpx.HTTPError, httpx.InvalidURL):
        yield Finding(
            "Prefect",
            "fail",
            f"PREFECT_API_URL is {address} but nothing answers there",
            "start that server or unset it",
        )
    else:  # what it wants, such as a login, is between it and Prefect
        yield Finding("Prefect", "ok", f"{address} answers")


def _mlflow() -> Iterator[Finding]:
    uri = shared_uri()
    if uri is None:
        return
    shown = f"{TRACKING_VARIABLE} is {redacted_text(uri)}"
    if not is_tracking_server(uri):
        wrong = database_finding(uri)
        yield Finding("MLflow", "ok" if wrong is None else "fail", shown, wrong or "")
        return
    try:
        asked = httpx.get(f"{uri.rstrip('/')}/health", timeout=_ASK_S, trust_env=not is_on_this_machine(uri))
        wrong = None if asked.is_success else f"it answers with HTTP {asked.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL):
        wrong = "nothing answers there"
    if wrong is None:
        yield Finding("MLflow", "ok", shown)
    else:
        yield Finding("MLflow", "fail", f"{shown}, but {wrong}", "start that server, correct its address or unset it")


def _size(count: float) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB / 10 else f"{count / 2**20:.0f} MiB"
