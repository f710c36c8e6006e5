"""Manifests for Kubernetes: a file per kind of work, for `kubectl apply`."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

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
from spar_core.config.deployment import KubernetesConfig, ServerJobConfig
from spar_core.errors import ConfigError, SparError
from spar_core.secrets import named_variable

Manifest = dict[str, Any]
FILES = PurePosixPath("/etc/spar")
"""Where pods see configuration and servers' descriptions."""
_RESTARTS = 10  # of a pod that failed; what the cluster takes away is not counted
_RANK = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
_BAD_CONFIGURATION = 2  # exit code of `spar`: trying again gives the same


def files_of(run: Run, jobs: Jobs, places: Places) -> dict[str, str]:
    """The files to write, by name; each holds manifests, one after another.

    Raises:
        ConfigError: no image is named, a secret's is not, or the configuration contradicts itself.
    """
    settings = jobs.deployment.kubernetes
    if settings.image is None:
        raise ConfigError("deployment.kubernetes.image is not set: name the image that pods run (deploy/Dockerfile)")
    named = [name for name, value in jobs.deployment.environment.items() if named_variable(value) is not None]
    if named and settings.values_from is None:
        raise ConfigError(
            f"deployment.environment has {', '.join(named)} by name: make a secret of the values (kubectl create "
            "secret generic NAME --from-literal=...) and name it, deployment.kubernetes.values_from=NAME"
        )
    files = {"storage.yaml": _storage(jobs, settings)} if settings.claim is None else {}
    files[CONFIG_FILE] = [_config_map(run, jobs, places)]
    for name, (job, server) in jobs.servers.items():
        files[f"{name}.yaml"] = [_server(job, server, jobs, places), _service(job.name, settings, server.port)]
    if jobs.workers is not None:
        workers = jobs.workers
        files["workers.yaml"] = [_workers(workers, jobs, places), _service(workers.name, settings, _ray_port(jobs))]
    files["run.yaml"] = _run(jobs, places)
    return {name: "".join(f"---\n{as_yaml(each)}" for each in manifests) for name, manifests in files.items()}


def submit(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Hand the manifests to `kubectl apply`; returns the objects it names.

    Raises:
        SparError: `kubectl` is not there, or refuses.
    """
    if shutil.which("kubectl") is None:
        raise SparError(
            f"there is no kubectl on this machine: run this where it is, or `kubectl apply -f {folder}` there"
        )
    command = ["kubectl", "apply", "--output=name", *(part for name in files for part in ("-f", str(folder / name)))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SparError(f"kubectl refused the manifests in {folder}: {ended.stderr.strip()}")
    return ended.stdout.split()


def _run(jobs: Jobs, places: Places) -> list[Manifest]:
    job, settings = jobs.run, jobs.deployment.kubernetes
    container = _container(job._replace(command=_joined_to_ray(jobs)), jobs, places)
    pod = _pod(job, jobs, container)
    pod["initContainers"] = [
        _waiting(server, f"{other.name}.{settings.namespace}", settings) for other, server in jobs.servers.values()
    ]
    if jobs.deployment.prefect_pool is not None:
        return [_deployment(job, settings, pod)]
    container["env"].append({"name": "SPAR_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": _RANK}}})
    pod |= {"restartPolicy": "Never", "subdomain": job.name}
    spec = {
        "completionMode": "Indexed",
        "completions": job.nodes,
        "parallelism": job.nodes,
        "backoffLimit": _RESTARTS * job.nodes,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "spar", "operator": "In", "values": [_BAD_CONFIGURATION]},
                },
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {"metadata": {"labels": _labels(job.name)}, "spec": pod},
    }
    return [_manifest("batch/v1", "Job", job.name, settings, spec), _service(job.name, settings, RENDEZVOUS_PORT)]


def _server(job: Job, server: ServerJobConfig, jobs: Jobs, places: Places) -> Manifest:
    container = _container(job, jobs, places)
    container["ports"] = [{"containerPort": server.port}]
    health = {"httpGet": {"path": "/health", "port": server.port}}
    container["startupProbe"] = {**health, "periodSeconds": 10, "failureThreshold": 360}  # loading takes up to an hour
    container["readinessProbe"] = {**health, "periodSeconds": 10, "timeoutSeconds": 10}
    return _deployment(job, jobs.deployment.kubernetes, _pod(job, jobs, container))


def _workers(job: Job, jobs: Jobs, places: Places) -> Manifest:
    port = _ray_port(jobs)
    command = ray_command(port, '"${HOSTNAME##*-}"', f"{job.name}-0.{job.name}:{port}")
    pod = _pod(job, jobs, _container(job._replace(command=("bash", "-c", command)), jobs, places))
    spec = {
        "serviceName": job.name,
        "replicas": job.nodes,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": _labels(job.name)},
        "template": {"metadata": {"labels": _labels(job.name)}, "spec": pod},
    }
    return _manifest("apps/v1", "StatefulSet", job.name, jobs.deployment.kubernetes, spec)


def _deployment(job: Job, settings: KubernetesConfig, pod: Manifest) -> Manifest:
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # its GPUs are free before it is started again
        "selector": {"matchLabels": _labels(job.name)},
        "template": {"metadata": {"labels": _labels(job.name)}, "spec": pod},
    }
    return _manifest("apps/v1", "Deployment", job.name, settings, spec)


def _service(name: str, settings: KubernetesConfig, port: int) -> Manifest:
    """A name in the cluster's DNS for each pod, also before it is ready: they meet while they start."""
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": _labels(name),
        "ports": [{"port": port}],
    }
    return _manifest("v1", "Service", name, settings, spec)


def _storage(jobs: Jobs, settings: KubernetesConfig) -> list[Manifest]:
    spec: Manifest = {
        "accessModes": ["ReadWriteMany" if _pods(jobs) > 1 else "ReadWriteOnce"],
        "resources": {"requests": {"storage": f"{settings.storage_gib}Gi"}},
    }
    if settings.storage_class is not None:
        spec["storageClassName"] = settings.storage_class
    return [_manifest("v1", "PersistentVolumeClaim", _claim(jobs), settings, spec)]


def _config_map(run: Run, jobs: Jobs, places: Places) -> Manifest:
    settings = jobs.deployment.kubernetes
    meeting = f"{jobs.run.name}-0.{jobs.run.name}:{RENDEZVOUS_PORT}"
    config = run_config(run, jobs, places, meeting).model_dump(mode="json", exclude={"deployment"})
    data = {CONFIG_FILE: as_yaml(config)}
    for job, server in jobs.servers.values():
        data[description_file(server)] = as_yaml(description(jobs, server, f"{job.name}.{settings.namespace}"))
    manifest = _manifest("v1", "ConfigMap", f"{jobs.run.name}-config", settings, {})
    del manifest["spec"]
    return manifest | {"data": data}


def _pod(job: Job, jobs: Jobs, container: Manifest) -> Manifest:
    settings = jobs.deployment.kubernetes
    pod: Manifest = {
        "containers": [container],
        "volumes": [
            {"name": "home", "persistentVolumeClaim": {"claimName": _claim(jobs)}},
            {"name": "config", "configMap": {"name": f"{jobs.run.name}-config"}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},  # between a machine's processes: torch, vLLM
        ],
        "terminationGracePeriodSeconds": 120,
    }
    if job.gpus:
        pod["tolerations"] = [{"key": settings.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}]
    if settings.service_account is not None:
        pod["serviceAccountName"] = settings.service_account
    if settings.node_selector:
        pod["nodeSelector"] = dict(settings.node_selector)
    return pod


def _container(job: Job, jobs: Jobs, places: Places) -> Manifest:
    settings = jobs.deployment.kubernetes
    requests: Manifest = {"cpu": job.machine.cpus}
    limits: Manifest = {}
    if job.machine.memory_gib is not None:
        requests["memory"] = limits["memory"] = f"{job.machine.memory_gib}Gi"
    if job.gpus:
        limits[settings.gpu_resource] = job.gpus
    return {
        "name": "spar",
        "image": settings.image,
        "command": list(job.command),
        "workingDir": str(places.workdir),
        "env": [_variable(name, value, settings) for name, value in jobs.deployment.environment.items()],
        "resources": {"requests": requests, **({"limits": limits} if limits else {})},
        "volumeMounts": [
            {"name": "home", "mountPath": settings.mount},
            {"name": "config", "mountPath": str(FILES), "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def _waiting(server: ServerJobConfig, host: str, settings: KubernetesConfig) -> Manifest:
    look = f"until curl --fail --silent http://{host}:{server.port}/health; do sleep 5; done"
    return {"name": f"await-{server.name}", "image": settings.image, "command": ["bash", "-c", look]}


def _joined_to_ray(jobs: Jobs) -> tuple[str, ...]:
    """The run's command; where there are Ray workers its machine joins their cluster first, without taking work."""
    if jobs.workers is None:
        return jobs.run.command
    head = f"{jobs.workers.name}-0.{jobs.workers.name}:{_ray_port(jobs)}"
    join = f"until ray start --address={head} --num-cpus=0 --num-gpus=0; do sleep 5; done; export RAY_ADDRESS={head}"
    return ("bash", "-c", f'{join}; exec "$@"', "-", *jobs.run.command)


def _variable(name: str, value: str, settings: KubernetesConfig) -> Manifest:
    source = named_variable(value)
    if source is None:
        return {"name": name, "value": value}
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": settings.values_from, "key": source}}}


def _manifest(version: str, kind: str, name: str, settings: KubernetesConfig, spec: Manifest) -> Manifest:
    metadata = {"name": name, "namespace": settings.namespace, "labels": _labels(name)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": "spar", "app.kubernetes.io/name": name}


def _claim(jobs: Jobs) -> str:
    return jobs.deployment.kubernetes.claim or f"{jobs.run.name}-home"


def _pods(jobs: Jobs) -> int:
    return jobs.run.nodes + len(jobs.servers) + (0 if jobs.workers is None else jobs.workers.nodes)


def _ray_port(jobs: Jobs) -> int:
    assert jobs.deployment.workers is not None
    return jobs.deployment.workers.port
