"""Where a run and the servers it asks are started on a cluster: what `spar launch` writes job files from.

It changes no result: the job files give `spar run` the rest of the configuration.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from spar_core.config.base import FrozenConfig
from spar_core.secrets import Environment, refuse_secret_arguments

_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")
_TAKEN = {"config", "run", "storage", "workers"}  # names of the other files
_ONE_LINE = re.compile(r"[^\n\r]+")


def _label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError("it must be small letters, digits and dashes, begin with a letter and have at most 32 of them")
    return value


def _one_line(value: str) -> str:
    if not _ONE_LINE.fullmatch(value):
        raise ValueError("it must be one line, and not empty")
    return value


Label = Annotated[str, AfterValidator(_label)]
"""A name that Slurm, Kubernetes and file systems all take."""
Line = Annotated[str, AfterValidator(_one_line)]
"""A text without line breaks."""
Served = Literal["warm_start.teacher", "prompts.evolver", "method.judging.second_voter"]
"""Keys of a run that name a model no training changes, so that a server may hold it for the whole run."""


class MachineConfig(FrozenConfig):
    """What a job takes of each of its machines, and for how long."""

    cpus: Annotated[int, Field(ge=1, le=1024)] = 8
    """CPU cores of each machine."""
    memory_gib: Annotated[int, Field(ge=1, le=65536)] | None = None
    """GiB of main memory of each machine; null: what the cluster gives (Slurm), no limit (Kubernetes)."""
    hours: Annotated[float, Field(gt=0, le=8760)] = 24.0
    """Slurm's time limit of a job. A run that comes to it is queued again and goes on where it was."""


class RunJobConfig(MachineConfig):
    """The job that does the run: its driver, the model servers it starts itself, its trainings."""

    nodes: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Machines; null: `training.launch.nodes`. Several train together, serving uses the first."""
    gpus: Annotated[int, Field(ge=0, le=64)] | None = None
    """GPUs of each machine, and as many training processes (`training.launch.processes`) where there is a GPU; null: as
    many as there are such processes, none for the starter model."""


class ServerJobConfig(MachineConfig):
    """A vLLM server, on one machine, of a model that the run does not train."""

    name: Label
    """Name of the job."""
    model: Line
    """Model folder, as the server's machine sees it, or hub id."""
    serves: tuple[Served, ...] = Field(min_length=1)
    """Keys of the run that are set to this server."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 1
    """GPUs; 0 for a CPU build of vLLM."""
    tensor_parallel: Annotated[int, Field(ge=1, le=64)] = 1
    """GPUs over which the model is split; the server holds `gpus / tensor_parallel` copies of it."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 8000
    """Port it listens on, for all machines of the cluster. A key in VLLM_API_KEY (`deployment.environment`) keeps
    others out."""
    python: Line = ".venv-vllm/bin/python"
    """Python executable of the environment in which vLLM is installed."""
    arguments: Annotated[tuple[Line, ...], AfterValidator(refuse_secret_arguments)] = ()
    """Further arguments of the server, such as ["--max-model-len", "8192"]."""

    @property
    def copies(self) -> int:
        """Copies of the model behind the one address."""
        return max(1, self.gpus // self.tensor_parallel)

    @model_validator(mode="after")
    def _gpus_hold_whole_copies(self) -> Self:
        if self.gpus and self.gpus % self.tensor_parallel:
            raise ValueError(
                f"gpus {self.gpus} is no multiple of tensor_parallel {self.tensor_parallel}: {self.gpus} GPUs cannot "
                "hold whole copies; change one of them"
            )
        return self


class WorkersConfig(MachineConfig):
    """Machines beside the run's, joined to it as a Ray cluster (extra `ray`)."""

    nodes: Annotated[int, Field(ge=1, le=1024)]
    """Machines; the first is Ray's head."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs of each."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 6379
    """Port of Ray's head."""


class ContainerConfig(FrozenConfig):
    """A container image in which Slurm's steps run."""

    image: Line
    """For pyxis a file (.sqsh) or a registry's image, for apptainer a file (.sif)."""
    runtime: Literal["pyxis", "apptainer"] = "pyxis"
    """pyxis: the plugin that gives `srun` its --container options; apptainer: the command of that name."""
    mounts: tuple[Line, ...] = ()
    """Folders seen inside, as /outside:/inside; the working folder, the home and the job files' folder are seen
    already."""


class SlurmConfig(FrozenConfig):
    """What Slurm is told; without a container the jobs use the environment that `spar launch` runs in."""

    partition: Line | None = None
    """Partition of all jobs; null: the cluster's default."""
    account: Line | None = None
    """Account that pays."""
    qos: Line | None = None
    """Quality of service."""
    gpu_type: Label | None = None
    """Kind of GPU asked for, as the cluster calls it (a100); null: any."""
    options: tuple[Line, ...] = ()
    """Further options of every job, such as ["--exclusive", "--constraint=ib"]."""
    setup: tuple[Line, ...] = ()
    """Shell lines before the command, such as ["module load cuda", "source /shared/env/bin/activate"]."""
    container: ContainerConfig | None = None
    """Image in which the steps run; null: none."""


class KubernetesConfig(FrozenConfig):
    """What Kubernetes is told."""

    image: Line | None = None
    """Image that all pods run (deploy/Dockerfile makes one); it must be given."""
    namespace: Label = "default"
    """Namespace of all objects; it must be there."""
    claim: Label | None = None
    """Volume claim that holds home and models; null: one is made."""
    storage_class: Line | None = None
    """Storage class of the claim that is made; with several pods it must offer ReadWriteMany. Null: the cluster's."""
    storage_gib: Annotated[int, Field(ge=1)] = 1000
    """Size of the claim that is made, in GiB."""
    mount: Line = "/spar"
    """Where pods see the claim; the home is the folder `home` in it."""
    values_from: Label | None = None
    """Secret whose keys are the values of the variables that `deployment.environment` names as `$NAME`."""
    service_account: Label | None = None
    """Service account of the pods."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that pods may run on."""
    gpu_resource: Line = "nvidia.com/gpu"
    """Resource by which GPUs are asked for; nodes that have it are commonly tainted by the same name: tolerated."""


class DeploymentConfig(FrozenConfig):
    """What `spar launch` starts, and where."""

    run: RunJobConfig = RunJobConfig()
    """The run."""
    prefect_pool: Line | None = None
    """Work pool of Prefect: the run's job then runs a worker of this pool, which does what is deployed or scheduled
    there (docs/operation.md), in place of `spar run`. Null: the job does the run."""
    servers: tuple[ServerJobConfig, ...] = ()
    """Servers of models that the run does not train; those it does train it serves itself (`engine`)."""
    workers: WorkersConfig | None = None
    """Ray machines; null: none."""
    workdir: Line | None = None
    """Folder the commands start in; null: the one `spar launch` runs in (Slurm), the claim's (Kubernetes)."""
    environment: Environment = Field(default_factory=dict)
    """Environment variables of all jobs, such as PREFECT_API_URL and MLFLOW_TRACKING_URI; a secret by the name of the
    variable that holds it: {"HF_TOKEN": "$HF_TOKEN"}."""
    slurm: SlurmConfig = SlurmConfig()
    """What Slurm is told."""
    kubernetes: KubernetesConfig = KubernetesConfig()
    """What Kubernetes is told."""

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Self:
        names = [server.name for server in self.servers]
        if len(set(names)) < len(names) or _TAKEN & set(names):
            raise ValueError(f"servers need names of their own, each another, and none of {', '.join(sorted(_TAKEN))}")
        served = [key for server in self.servers for key in server.serves]
        if len(set(served)) < len(served):
            raise ValueError("two servers serve the same key of the run: name each key once")
        return self

    @model_validator(mode="after")
    def _worker_is_one_machine(self) -> Self:
        if self.prefect_pool is not None and (self.run.nodes or 1) > 1:
            raise ValueError(
                "prefect_pool starts a worker on one machine, and run.nodes is above 1: trainings over several "
                "machines are joined by `spar run`; leave prefect_pool out"
            )
        return self
