"""What is started on a cluster, whichever it is: the run, the servers it asks, Ray's machines."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import yaml

from flows.wiring.request import Run
from spar_core.config.deployment import DeploymentConfig, MachineConfig, ServerJobConfig
from spar_core.config.loading import build_config
from spar_core.config.run import RunConfig
from spar_core.engines.model_reference import STARTER
from spar_core.errors import ConfigError
from spar_core.hashing import digest

RENDEZVOUS_PORT = 29500
CONFIG_FILE = "config.yaml"
_API_KEY = "VLLM_API_KEY"
_LONGEST = 40  # characters of a run's part of a job's name, so that `NAME-SERVER` fits a DNS label


class Places(NamedTuple):
    """Where things lie for the jobs: absolute paths as the cluster's machines see them."""

    workdir: PurePosixPath
    home: PurePosixPath
    files: PurePosixPath
    """Folder of the files that jobs read."""


class Job(NamedTuple):
    """One job: what it takes, and the command that each of its machines runs."""

    name: str
    nodes: int
    gpus: int
    machine: MachineConfig
    command: tuple[str, ...]


class Jobs(NamedTuple):
    """All that is started for one run."""

    run: Job
    servers: Mapping[str, tuple[Job, ServerJobConfig]]
    workers: Job | None
    deployment: DeploymentConfig


def job_name(run_id: str) -> str:
    """A run's name as a cluster takes it: small letters, digits, dashes; another run never has the same."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in run_id.lower()).strip("-")
    if plain == run_id and len(plain) <= _LONGEST:
        return f"spar-{plain}"
    return f"spar-{plain[: _LONGEST - 9].strip('-')}-{digest(run_id)[:8]}"


def jobs_of(run: Run, places: Places) -> Jobs:
    """The jobs that a run's configuration asks for.

    Raises:
        ConfigError: they contradict the rest of the configuration.
    """
    deployment = run.config.deployment
    name = job_name(run.run_id)
    servers = {
        server.name: (Job(f"{name}-{server.name}", 1, server.gpus, server, _server_command(server)), server)
        for server in deployment.servers
    }
    workers = deployment.workers
    ray = None if workers is None else Job(f"{name}-workers", workers.nodes, workers.gpus, workers, ())
    return Jobs(_run_job(run, name, places), servers, ray, deployment)


def named(run: Run) -> Run:
    """The same run under the name it has by default where the models behind the servers count as its own."""
    models: dict[str, Any] = {key: server.model for server in run.config.deployment.servers for key in server.serves}
    return Run(run.home, build_config(_changed(run.config, models)).default_run_id(), run.config)


def run_config(run: Run, jobs: Jobs, places: Places, rendezvous: str) -> RunConfig:
    """The configuration that the job runs: the run's own, spread over its machines, asking the servers.

    Args:
        run: the run as it was asked for.
        jobs: its jobs.
        places: where the servers' descriptions lie.
        rendezvous: HOST:PORT where trainings over several machines meet.

    Raises:
        ConfigError: the result contradicts itself.
    """
    launch = run.config.training.launch
    changes: dict[str, Any] = {"training.launch.nodes": jobs.run.nodes}
    if jobs.run.nodes > 1:
        changes["training.launch.rendezvous"] = rendezvous
    if jobs.run.gpus and launch.accelerate_config is None:
        changes["training.launch.processes"] = jobs.run.gpus
    for _, server in jobs.servers.values():
        changes |= {key: str(places.files / description_file(server)) for key in server.serves}
    return build_config(_changed(run.config, changes))


def _changed(config: RunConfig, changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as plain values, some keys changed, without where it is deployed."""
    values = config.model_dump(mode="json", exclude={"deployment"})
    for path, value in changes.items():
        *sections, key = path.split(".")
        below = values
        for section in sections:
            below = below[section]
        below[key] = value
    return values


def as_yaml(value: object) -> str:
    """YAML of plain values, keys in the order given."""
    text: str = yaml.safe_dump(value, sort_keys=False, width=120, allow_unicode=True)
    return text


def description_file(server: ServerJobConfig) -> str:
    """Name of the file by which the run finds a server (docs/models.md)."""
    return f"{server.name}.yaml"


def description(jobs: Jobs, server: ServerJobConfig, host: str) -> dict[str, Any]:
    """What the file says: a server's description as every model reference takes it."""
    key = {"api_key_env": _API_KEY} if _API_KEY in jobs.deployment.environment else {}
    return {"base_urls": [f"http://{host}:{server.port}/v1"], "model": server.model, **key}


def ray_command(port: int, rank: str, head: str) -> str:
    """Shell text that makes a machine Ray's head where its rank is 0, and has it join the head otherwise."""
    return (
        f"if [ {rank} = 0 ]; then exec ray start --head --port={port} --block; "
        f"else exec ray start --address={head} --block; fi"
    )


def _run_job(run: Run, name: str, places: Places) -> Job:
    wanted, launch = run.config.deployment.run, run.config.training.launch
    nodes = launch.nodes if wanted.nodes is None else wanted.nodes
    starter = run.config.models.actor == STARTER
    gpus = (0 if starter else launch.per_machine) if wanted.gpus is None else wanted.gpus
    pool = run.config.deployment.prefect_pool
    if pool is not None and nodes > 1:
        raise ConfigError(
            f"deployment.prefect_pool starts a worker on one machine, and training.launch.nodes is {nodes}: leave one "
            "of them out"
        )
    if pool is not None and "PREFECT_API_URL" not in run.config.deployment.environment:
        raise ConfigError(
            "deployment.prefect_pool starts a worker, which needs a Prefect server: name its address in "
            "deployment.environment.PREFECT_API_URL"
        )
    command: Sequence[str] = ("spar", "run", "--config", str(places.files / CONFIG_FILE), "--home", str(places.home))
    command = [*command, "--run-id", run.run_id]
    if pool is not None:
        command = ("prefect", "worker", "start", "--pool", pool, "--type", "process")
    return Job(name, nodes, gpus, wanted, tuple(command))


def _server_command(server: ServerJobConfig) -> tuple[str, ...]:
    command = [server.python, "-m", "vllm.entrypoints.openai.api_server", "--model", server.model]
    command += ["--served-model-name", server.model, "--host", "0.0.0.0", "--port", str(server.port)]
    command += ["--tensor-parallel-size", str(server.tensor_parallel)]
    if server.copies > 1:
        command += ["--data-parallel-size", str(server.copies)]
    # The folder's generation_config.json may hold a top_k or a repetition penalty of its own: requests say all.
    return (*command, "--generation-config", "vllm", *server.arguments)
