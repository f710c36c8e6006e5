"""The job files that a configuration gives, as `spar launch` writes them."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from flows.launch import kubernetes, slurm
from flows.launch.jobs import Places, jobs_of, named
from flows.wiring.request import Run
from spar_core.config.loading import load_config
from storage.home import Home

TEACHER = (
    "{name: teacher, model: /models/strong, serves: [warm_start.teacher, prompts.evolver], gpus: 8, tensor_parallel: 4}"
)
EVERYTHING = (
    f"deployment.servers=[{TEACHER}]",
    "deployment.run.nodes=4",
    "deployment.run.memory_gib=900",
    "deployment.workers.nodes=3",
    "deployment.environment={HF_TOKEN: $HF_TOKEN, VLLM_API_KEY: $VLLM_API_KEY, MLFLOW_TRACKING_URI: 'http://mlflow:5000'}",
    "deployment.slurm={partition: gpu, account: nlp, qos: high, gpu_type: a100, options: [--exclusive]}",
    "deployment.kubernetes={image: 'spar:cuda', values_from: keys, storage_class: shared, node_selector: {zone: a}}",
)


def run_of(preset: str, *overrides: str) -> Run:
    return named(Run(Home(Path("/shared/home")), "", load_config(preset, overrides=overrides)))


def slurm_files(preset: str, *overrides: str) -> Mapping[str, str]:
    run = run_of(preset, *overrides)
    places = Places(PurePosixPath("/shared"), PurePosixPath("/shared/home"), PurePosixPath("/shared/jobs"))
    return slurm.files_of(run, jobs_of(run, places), places)


def kubernetes_files(preset: str, *overrides: str) -> Mapping[str, str]:
    run = run_of(preset, *overrides)
    places = Places(PurePosixPath("/spar"), PurePosixPath("/spar/home"), kubernetes.FILES)
    return kubernetes.files_of(run, jobs_of(run, places), places)


def loaded(text: str, file: Path) -> Any:
    """The configuration that a job reads."""
    file.write_text(text, encoding="utf-8")
    return load_config(file=file)
