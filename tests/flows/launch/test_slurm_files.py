"""Slurm's job files: the shell takes them, every option is one that `sbatch` documents, nothing secret is in them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from spar_core.config.loading import load_config
from spar_core.errors import ConfigError
from tests.flows.launch.cluster_files import EVERYTHING, TEACHER, loaded, run_of, slurm_files

# Options of https://slurm.schedmd.com/sbatch.html that scripts may hold, and what their values look like.
DOCUMENTED = {
    "job-name": r"[\w.-]+",
    "nodes": r"\d+(-\d+)?",
    "ntasks-per-node": r"\d+",
    "cpus-per-task": r"\d+",
    "gpus-per-node": r"([a-z][\w-]*:)?\d+",
    "mem": r"\d+[KMGT]?",
    "partition": r"[\w,-]+",
    "account": r"[\w-]+",
    "qos": r"[\w-]+",
    "time": r"(\d+-)?\d\d:\d\d:\d\d",
    "signal": r"([RB]+:)?[A-Z0-9]+(@\d+)?",
    "requeue": None,
    "output": r"/[^\s]+",
    "open-mode": r"append|truncate",
    "exclusive": None,
}
CONTAINER = "deployment.slurm.container={{runtime: {}, image: /images/spar.sqsh, mounts: ['/models:/models']}}"
CASES = {
    "a preset as it is": ("llama3-8b",),
    "everything": ("llama3-70b", *EVERYTHING),
    "the starter": ("starter",),
    "pyxis": ("llama3-8b", *EVERYTHING, CONTAINER.format("pyxis")),
    "apptainer": ("llama3-8b", f"deployment.servers=[{TEACHER}]", CONTAINER.format("apptainer")),
    "a worker of Prefect": (
        "llama3-8b",
        "deployment.prefect_pool=nights",
        "deployment.environment.PREFECT_API_URL=http://prefect:4200/api",
        "deployment.slurm.setup=['module load cuda/12', source /shared/env/bin/activate]",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_scripts_are_valid(case, tmp_path):
    scripts = {name: text for name, text in slurm_files(*CASES[case]).items() if name.endswith(".sh")}
    assert "run.sh" in scripts
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
    shellcheck = [Path(sys.executable).with_name("shellcheck"), "--severity=warning", "--shell=bash"]
    for command in (["bash", "-n"], shellcheck):
        for name in scripts:
            checked = subprocess.run([*command, tmp_path / name], capture_output=True, text=True, check=False)
            assert checked.returncode == 0, checked.stdout + checked.stderr + scripts[name]


@pytest.mark.parametrize("case", CASES)
def test_every_option_is_documented(case):
    for text in slurm_files(*CASES[case]).values():
        for option in re.findall(r"^#SBATCH (.*)$", text, flags=re.M):
            name, _, value = option.removeprefix("--").partition("=")
            assert name in DOCUMENTED, option
            pattern = DOCUMENTED[name]
            assert value == "" if pattern is None else re.fullmatch(pattern, value), option
        # Slurm reads options only above the first command.
        after = text[text.find("\nset -e") :]
        assert "#SBATCH" not in after


def test_a_multi_node_run_takes_what_was_asked_for(tmp_path):
    files = slurm_files("llama3-70b", *EVERYTHING)
    assert list(files) == ["config.yaml", "teacher.sh", "workers.sh", "run.sh"]
    options = set(re.findall(r"^#SBATCH (.*)$", files["run.sh"], flags=re.M))
    assert {"--nodes=4", "--gpus-per-node=a100:8", "--mem=900G", "--time=1-00:00:00", "--partition=gpu"} <= options
    assert "srun --nodes=4 --ntasks-per-node=1 --cpus-per-task=8" in files["run.sh"]
    assert '--set "training.launch.rendezvous=$(hostname):29500"' in files["run.sh"]
    config = loaded(files["config.yaml"], tmp_path / "config.yaml")
    assert (config.training.launch.nodes, config.training.launch.processes) == (4, 8)
    assert config.warm_start.teacher == config.prompts.evolver == "/shared/jobs/teacher.yaml"
    assert "--tensor-parallel-size 4 --data-parallel-size 2" in files["teacher.sh"]
    assert "api_key_env: VLLM_API_KEY" in files["teacher.sh"]


def test_secrets_are_handed_on_by_name(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789abcdefghij")
    files = slurm_files("llama3-70b", *EVERYTHING)
    assert not any("hf_0123" in text for text in files.values())
    assert 'export HF_TOKEN="${HF_TOKEN:?set it where the job is submitted}"' in files["run.sh"]
    with pytest.raises(ConfigError, match="HF_TOKEN") as refused:
        run_of("starter", "deployment.environment.HF_TOKEN=hf_0123456789abcdefghij")
    assert "hf_0123" not in str(refused.value)


@pytest.mark.parametrize("preset", ["starter", "smoke", "llama3-8b", "mistral-7b"])
def test_the_job_does_the_run_that_spar_run_would_do(preset, tmp_path):
    files, plain = slurm_files(preset), load_config(preset)
    assert loaded(files["config.yaml"], tmp_path / "config.yaml") == plain
    assert f"--run-id {plain.default_run_id()}" in files["run.sh"]


def test_another_model_behind_a_server_is_another_run():
    other = TEACHER.replace("/models/strong", "/models/stronger")
    first, second, moved = (
        run_of("llama3-8b", f"deployment.servers=[{server}]").run_id
        for server in (TEACHER, other, TEACHER.replace("gpus: 8", "gpus: 4"))
    )
    assert first != second
    assert first == moved


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("deployment.servers=[{name: run, model: m, serves: [prompts.evolver]}]",), "none of config, run"),
        (
            (f"deployment.servers=[{TEACHER}, {TEACHER.replace('teacher,', 'other,', 1)}]",),
            "two servers serve the same key",
        ),
        (("deployment.servers=[{name: a, model: m, serves: [models.actor]}]",), "warm_start.teacher"),
        ((f"deployment.servers=[{TEACHER.replace('gpus: 8', 'gpus: 6')}]",), "no multiple of tensor_parallel"),
        (("deployment.prefect_pool=nights", "deployment.run.nodes=2"), "leave prefect_pool out"),
        (("deployment.prefect_pool=nights",), "PREFECT_API_URL"),
        (
            ("deployment.prefect_pool=nights", "training.launch.nodes=2", "training.launch.rendezvous=a:1"),
            "one machine",
        ),
        (('deployment.slurm.options=["--x\\n--y"]',), "one line"),
    ],
)
def test_what_cannot_be_started_is_said_before(overrides, message):
    with pytest.raises(ConfigError, match=message):
        slurm_files("llama3-8b", *overrides)
