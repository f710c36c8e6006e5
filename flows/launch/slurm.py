"""Job files for Slurm: a batch script per job, readable, and to be submitted by hand as well."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from flows.launch.jobs import (
    CONFIG_FILE,
    RENDEZVOUS_PORT,
    Job,
    Jobs,
    Places,
    as_yaml,
    description,
    description_file,
    ray_command,
    run_config,
)
from flows.wiring.request import Run
from spar_core.config.deployment import ContainerConfig, ServerJobConfig, SlurmConfig
from spar_core.errors import SparError
from spar_core.secrets import named_variable

RUN_FILE = "run.sh"
_NOTICE_S = 120  # before the time limit
_RAY_FILE = "ray.address"
_RENDEZVOUS = f"set-by-the-job:{RENDEZVOUS_PORT}"


def files_of(run: Run, jobs: Jobs, places: Places) -> dict[str, str]:
    """The files to write, by name, in the order in which their jobs are submitted.

    Raises:
        ConfigError: the configuration contradicts itself.
    """
    files = {
        CONFIG_FILE: as_yaml(run_config(run, jobs, places, _RENDEZVOUS).model_dump(mode="json", exclude={"deployment"}))
    }
    for name, (job, server) in jobs.servers.items():
        files[f"{name}.sh"] = _server(job, server, jobs, places)
    if jobs.workers is not None:
        files["workers.sh"] = _workers(jobs.workers, jobs, places)
    files[RUN_FILE] = _run(jobs, places)
    return files


def submit(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Hand the job files to `sbatch`, the run's last: it starts after the others have; returns the jobs' numbers.

    Raises:
        SparError: `sbatch` is not there, or refuses a job.
    """
    if shutil.which("sbatch") is None:
        raise SparError(
            f"there is no sbatch on this machine: run this on a login node of the cluster, or submit {folder}/*.sh "
            "there"
        )
    numbers: list[str] = []
    for name in files:
        if not name.endswith(".sh"):
            continue
        after = [f"--dependency=after:{':'.join(numbers)}"] if name == RUN_FILE and numbers else []
        command = ["sbatch", "--parsable", *after, str(folder / name)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            started = f" (jobs {', '.join(numbers)} are queued; `scancel` them)" if numbers else ""
            raise SparError(f"sbatch refused {folder / name}: {ended.stderr.strip()}{started}")
        numbers.append(ended.stdout.strip().partition(";")[0])
    return numbers


def _run(jobs: Jobs, places: Places) -> str:
    others = [job.name for job, _ in jobs.servers.values()]
    others += [] if jobs.workers is None else [jobs.workers.name]
    ray = None if jobs.workers is None else str(places.files / _RAY_FILE)
    awaited = [str(places.files / description_file(server)) for _, server in jobs.servers.values()]
    command = _quoted(jobs.run.command)
    if ray is not None:  # so that the run's machine belongs to Ray's cluster, without taking work
        command = f'bash -c \'ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 && exec "$@"\' - {command}'
    return _rendered(
        "run.sh.j2",
        jobs.run,
        jobs,
        places,
        about="The run, its trainings and the servers of the models it trains",
        awaited=[*awaited, *([] if ray is None else [ray])],
        ray=ray,
        command=command,
        nodes=jobs.run.nodes,
        port=RENDEZVOUS_PORT,
        others=others,
    )


def _server(job: Job, server: ServerJobConfig, jobs: Jobs, places: Places) -> str:
    return _rendered(
        "server.sh.j2",
        job,
        jobs,
        places,
        about=f"A server for {', '.join(server.serves)}",
        command=_quoted(job.command),
        port=server.port,
        description_file=str(places.files / description_file(server)),
        description=as_yaml(description(jobs, server, "@HOST@")),
    )


def _workers(job: Job, jobs: Jobs, places: Places) -> str:
    workers = jobs.deployment.workers
    assert workers is not None
    return _rendered(
        "workers.sh.j2",
        job,
        jobs,
        places,
        about="Ray's machines",
        port=workers.port,
        address_file=str(places.files / _RAY_FILE),
        command=ray_command(workers.port, '"$SLURM_NODEID"', '"$RAY_HEAD"'),
    )


def _rendered(template: str, job: Job, jobs: Jobs, places: Places, others: Sequence[str] = (), **values: Any) -> str:
    slurm = jobs.deployment.slurm
    text = (
        _templates()
        .get_template(template)
        .render(
            options=_options(job, slurm, places),
            workdir=str(places.workdir),
            setup=slurm.setup or (() if slurm.container else (_this_environment(),)),
            environment={name: _exported(value) for name, value in jobs.deployment.environment.items()},
            step=_step(job, slurm, places),
            others=others,
            **values,
        )
    )
    return text.rstrip("\n") + "\n"


def _options(job: Job, slurm: SlurmConfig, places: Places) -> list[str]:
    """The options of `sbatch` that a script holds (https://slurm.schedmd.com/sbatch.html)."""
    log = places.files / "logs" / f"{job.name}.%j.log"
    options = [f"--job-name={job.name}", f"--nodes={job.nodes}", "--ntasks-per-node=1"]
    options += [f"--cpus-per-task={job.machine.cpus}"]
    if job.gpus:
        options.append(f"--gpus-per-node={f'{slurm.gpu_type}:' if slurm.gpu_type else ''}{job.gpus}")
    if job.machine.memory_gib is not None:
        options.append(f"--mem={job.machine.memory_gib}G")
    for name, value in (("partition", slurm.partition), ("account", slurm.account), ("qos", slurm.qos)):
        options += [] if value is None else [f"--{name}={value}"]
    options += [f"--time={_duration(job.machine.hours)}", f"--signal=B:USR1@{_NOTICE_S}", "--requeue"]
    return [*options, f"--output={log}", "--open-mode=append", *slurm.options]


def _duration(hours: float) -> str:
    """Slurm's days-hours:minutes:seconds."""
    minutes = max(1, round(hours * 60))
    return f"{minutes // 1440}-{minutes // 60 % 24:02}:{minutes % 60:02}:00"


def _step(job: Job, slurm: SlurmConfig, places: Places) -> str:
    """`srun` of one task on each machine of a job, in the container where there is one."""
    step = ["srun", f"--nodes={job.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={job.machine.cpus}"]
    return _quoted([*step, *_contained(slurm.container, places)])


def _contained(container: ContainerConfig | None, places: Places) -> Sequence[str]:
    if container is None:
        return ()
    folders = [*(f"{place}:{place}" for place in dict.fromkeys(places)), *container.mounts]
    if container.runtime == "pyxis":
        return (
            f"--container-image={container.image}",
            f"--container-mounts={','.join(folders)}",
            f"--container-workdir={places.workdir}",
        )
    command = ["apptainer", "exec", "--nv", "--pwd", str(places.workdir)]
    return (*command, *(part for folder in folders for part in ("--bind", folder)), container.image)


def _this_environment() -> str:
    """A shell line that puts the environment this process runs in first."""
    return f"export PATH={shlex.quote(str(PurePosixPath(sys.executable).parent))}:$PATH"


def _exported(value: str) -> str:
    """A value as a shell takes it; one that is named (`$NAME`) is that of the environment that submits the job."""
    name = named_variable(value)
    if name is None:
        return shlex.quote(value)
    return f'"${{{name}:?set it where the job is submitted}}"'


def _quoted(command: Sequence[str]) -> str:
    return shlex.join(command)


def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("flows.launch"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters["shell"] = lambda value: shlex.quote(str(value))
    return found
