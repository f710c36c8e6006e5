"""Manifests are valid by Kubernetes' own schemas, and say what was asked for."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from spar_core.errors import ConfigError
from tests.flows.launch.cluster_files import EVERYTHING, kubernetes_files, loaded

IMAGE = "deployment.kubernetes.image=spar:cpu"
CASES = {
    "a preset as it is": ("llama3-8b", IMAGE),
    "everything": ("llama3-70b", *EVERYTHING),
    "the starter": ("starter", IMAGE, "deployment.kubernetes.claim=home"),
    "a worker of Prefect": (
        "starter",
        IMAGE,
        "deployment.prefect_pool=nights",
        "deployment.environment.PREFECT_API_URL=http://prefect:4200/api",
        "deployment.kubernetes.service_account=spar",
    ),
}
LONG = "a-run-with-a-name-of-many-words-that-a-label-of-dns-cannot-hold_at.all"


def manifests(*case: str) -> list[dict[str, Any]]:
    return [each for text in kubernetes_files(*case).values() for each in yaml.safe_load_all(text)]


def by_kind(found: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(each for each in found if each["kind"] == kind)


@pytest.mark.parametrize("version", ["1.30", "1.34"])
@pytest.mark.parametrize("case", CASES)
def test_the_manifests_are_valid(case, version):
    found = manifests(*CASES[case])
    assert found
    for manifest in found:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_validator_is_strict():
    job = by_kind(manifests(*CASES["everything"]), "Job")
    job["spec"]["template"]["spec"]["containers"][0]["gpus"] = 8
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.34", strict=True)


def test_a_multi_node_run_takes_what_was_asked_for(tmp_path):
    found = manifests(*CASES["everything"])
    kinds = [each["kind"] for each in found]
    assert kinds == [
        "PersistentVolumeClaim", "ConfigMap", "Deployment", "Service", "StatefulSet", "Service", "Job", "Service",
    ]  # fmt: skip
    job, claim = by_kind(found, "Job"), by_kind(found, "PersistentVolumeClaim")
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["completionMode"]) == (4, 4, "Indexed")
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["resources"] == {
        "requests": {"cpu": 8, "memory": "900Gi"},
        "limits": {"memory": "900Gi", "nvidia.com/gpu": 8},
    }
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["spec"]["storageClassName"] == "shared"
    data = by_kind(found, "ConfigMap")["data"]
    config = loaded(data["config.yaml"], tmp_path / "config.yaml")
    # The pods of an indexed job have names in the service's domain: those of the run's first pod and of the service.
    assert config.training.launch.rendezvous == f"{job['metadata']['name']}-0.{pod['subdomain']}:29500"
    assert pod["subdomain"] in [each["metadata"]["name"] for each in found if each["kind"] == "Service"]
    assert config.warm_start.teacher == "/etc/spar/teacher.yaml"
    server = by_kind(found, "Deployment")["metadata"]["name"]
    assert yaml.safe_load(data["teacher.yaml"])["base_urls"] == [f"http://{server}.default:8000/v1"]


def test_labels_of_pods_are_those_that_services_and_controllers_look_for():
    found = manifests(*CASES["everything"])
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in found if "template" in each.get("spec", {})]
    for service in (each for each in found if each["kind"] == "Service"):
        assert service["spec"]["selector"] in labels
    for controller in (each for each in found if each["kind"] in ("Deployment", "StatefulSet")):
        assert controller["spec"]["selector"]["matchLabels"] in labels


def test_secrets_come_from_the_clusters_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789abcdefghij")
    files = kubernetes_files(*CASES["everything"])
    assert not any("hf_0123" in text for text in files.values())
    env = by_kind(manifests(*CASES["everything"]), "Job")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "HF_TOKEN"}}} in env
    with pytest.raises(ConfigError, match="kubectl create secret"):
        kubernetes_files("starter", IMAGE, "deployment.environment.HF_TOKEN=$HF_TOKEN")


def test_an_image_is_needed():
    with pytest.raises(ConfigError, match=r"deployment\.kubernetes\.image"):
        kubernetes_files("starter")


def test_names_fit_a_dns_label():
    from flows.launch.jobs import job_name

    names = [job_name(run_id) for run_id in ("starter-1a2b", "Starter-1a2b", "starter.1a2b", LONG, f"{LONG}2")]
    assert names[0] == "spar-starter-1a2b"
    assert len(set(names)) == len(names)
    assert max(map(len, names)) + len("-") + 12 <= 63  # with a short server's name
