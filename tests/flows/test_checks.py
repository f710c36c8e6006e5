"""What is knowable fails before anything is started, with the remedy; what is there passes."""

import json
import shutil
import socket
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.checks import machine
from flows.checks.data import check_data
from flows.checks.machine import check_machine, estimated_bytes
from flows.checks.models import check_models, model_folders
from flows.checks.packages import check_packages
from flows.checks.preflight import findings, preflight
from flows.checks.work import GivenData, Work, of_run, of_training
from flows.cli import invoke
from flows.wiring.request import RunRequest
from spar_core.config.loading import load_config
from spar_core.constraints import nltk_data
from spar_core.engines.placement import Gpu, weight_bytes
from spar_core.errors import ConfigError, SparError
from spar_core.planning import ModelShape, TrainingLoad, training_memory
from spar_core.starter import base_model_dir
from storage.entries import ModelEntry, StageRun, utc_now
from storage.home import Home
from storage.ledger import Ledger


@pytest.fixture(autouse=True)
def _no_server_of_other_tests() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        yield


def _work(tmp_path: Path, *overrides: str, **changes) -> Work:
    work = of_run(RunRequest(preset="smoke", overrides=list(overrides), home=str(tmp_path / "home")).resolve())
    return Work(**{name: getattr(work, name) for name in work.__slots__} | changes)


def _failed(found) -> dict[str, str]:
    return {finding.name: finding.told for finding in found if finding.verdict == "fail"}


def test_the_shipped_configuration_passes_every_check(tmp_path):
    found = list(findings(_work(tmp_path)))
    assert {finding.verdict for finding in found} == {"ok"}
    assert {finding.name for finding in found} == {"packages", "model of the actor", "context length", "memory", "disk"}
    assert not (tmp_path / "home").exists()


# Data


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "no such file"), ('{"prompt": "a"}\n{"prompt": 7}\n', "line 2"), ("", "no usable prompt")],
)
def test_a_prompts_file_must_be_there_and_its_first_rows_must_parse(tmp_path, content, told):
    file = tmp_path / "prompts.jsonl"
    if content is not None:
        file.write_text(content)
    work = _work(tmp_path, "prompts.source=file", f"prompts.path={file}")
    assert told in _failed(check_data(work))["prompts"]
    file.write_text('{"prompt": "a"}\n')
    assert _failed(check_data(work)) == {}


def test_warm_start_files_and_the_decontamination_folder_must_be_usable(tmp_path):
    file = tmp_path / "examples.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "only one turn"}]}\n')
    (tmp_path / "empty").mkdir()
    overrides = ["warm_start.source=file", f"warm_start.actor_file={file}"]
    overrides += [f"warm_start.refiner_file={tmp_path / 'absent.jsonl'}", f"prompts.decontaminate={tmp_path / 'empty'}"]
    failed = _failed(check_data(_work(tmp_path, *overrides)))
    assert "no example for the actor in 1 rows" in failed["warm start of the actor"]
    assert "no such file or folder" in failed["warm start of the refiner"]
    assert "prompts.decontaminate" in failed["decontamination data"]


def test_training_on_given_data_is_checked_by_its_first_rows_and_for_itself_alone(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "a", "chosen": "b"}\n')
    config = _work(tmp_path).config
    overlong = config.training.model_copy(
        update={"actor": config.training.actor.model_copy(update={"max_length": 4096})}
    )
    config = config.model_copy(update={"training": overlong})

    def work(*given):
        return of_training(Home(tmp_path / "home"), config, None, GivenData(str(file), *given))

    failed = _failed(check_data(work("actor", True, False)))["training data"]
    assert f"{file}, line 1: a pair needs both chosen and rejected; rejected is missing" in failed
    file.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    assert _failed(check_data(work("actor", True, False))) == {}
    told = {finding.name: finding.told for finding in check_models(work("actor", True, False))}
    assert "training.actor.max_length 4096 exceed" in told["training length"]
    assert "context length" not in told, "nothing is asked of the model"
    assert "training length" not in {finding.name for finding in check_models(work("refiner", False, False))}


def test_a_run_that_is_to_be_taught_names_its_teacher(tmp_path, capsys):
    assert "name one" in _failed(check_data(_work(tmp_path, "warm_start.source=teacher")))["warm start"]
    taught = ["run", "--preset", "smoke", "--set", "warm_start.source=teacher"]
    assert invoke([*taught, "--home", str(tmp_path / "home")]) == 2
    told = capsys.readouterr().err
    assert "name one" in told
    assert "warm_start.source=none" in told
    assert not (tmp_path / "home").exists()


def test_the_teacher_and_who_evolves_prompts_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    teacher = ("warm_start.source=teacher", "warm_start.teacher=http://127.0.0.1:9/v1#m")
    evolver = ("prompts.source=taxonomy", "prompts.evolver=http://127.0.0.1:9/v1#m&key=TEACHER_KEY")
    failed = _failed(check_models(_work(tmp_path, *teacher, *evolver)))
    assert "no OpenAI-compatible server answers" in failed["model of the teacher"]
    assert "TEACHER_KEY" in failed["model of the evolver"]
    folder = _failed(check_models(_work(tmp_path, teacher[0], f"warm_start.teacher={tmp_path / 'absent'}")))
    assert "no such folder" in folder["model of the teacher"]
    assert model_folders(_work(tmp_path, teacher[0], f"warm_start.teacher={base_model_dir()}")) == [base_model_dir()]


def test_a_run_that_has_its_examples_and_prompts_asks_for_neither_again(tmp_path):
    asked = ("warm_start.source=teacher", "warm_start.teacher=http://127.0.0.1:9/v1#m")
    asked += ("prompts.source=taxonomy", "prompts.evolver=http://127.0.0.1:9/v1#m", "iterations=1")
    work = _work(tmp_path, *asked)
    assert set(work.asked) == {"teacher", "evolver"}
    run = RunRequest(preset="smoke", overrides=list(asked), home=str(tmp_path / "home")).resolve()
    ledger = Ledger(run.home)
    ledger.open_run(run.run_id, run.config.model_dump(mode="json"), whole=True)
    done = {"started": utc_now(), "run_id": run.run_id, "state": "completed"}
    for stage, iteration in (("warm_start_examples_actor", 0), ("prompts", 1)):
        ledger.record_stage(StageRun(stage=stage, stage_key="k", iteration=iteration, **done))
    assert set(of_run(run).asked) == {"teacher"}  # the refiner is still to be taught
    ledger.record_stage(StageRun(stage="warm_start_examples_refiner", stage_key="k", iteration=0, **done))
    assert of_run(run).asked == {}


def test_evolution_warns_of_a_weak_evolver_and_of_too_few_seeds(tmp_path):
    found = {finding.name: finding for finding in check_data(_work(tmp_path, "prompts.source=taxonomy"))}
    assert "prompts.evolver" in found["prompt evolution"].told  # 24 prompts of the shipped seeds
    assert "seed prompts" not in found
    many = check_data(_work(tmp_path, "prompts.source=taxonomy", "prompts.per_iteration=1000"))
    (seeds,) = [finding for finding in many if finding.name == "seed prompts"]
    assert seeds.verdict == "warn"
    assert "prompts.path" in seeds.told


def test_benchmarks_to_decontaminate_with_are_here_or_on_the_hub(tmp_path, monkeypatch, benchmark_data):
    work = _work(tmp_path, "prompts.decontaminate=[ifeval, llmbar]")
    assert _failed(check_data(work)) == {}
    monkeypatch.setenv("SPAR_DATA_DIR", str(tmp_path))
    assert "no data of ifeval, llmbar" in _failed(check_data(work))["decontamination data"]
    monkeypatch.delenv("SPAR_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    failed = _failed(check_data(work))["decontamination data"]
    assert all(way in failed for way in ("SPAR_DATA_DIR", "prompts.decontaminate=FOLDER", "prompts.decontaminate=null"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror")
    (found,) = [finding for finding in check_data(work) if finding.name == "decontamination data"]
    assert (found.verdict, found.remedy) == ("warn", "it is fetched from the hub")


def test_nltk_data_is_needed_by_those_who_use_it_and_looked_for_without_importing_nltk(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "nltk.data", raising=False)
    monkeypatch.setenv("SPAR_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "named"))
    monkeypatch.setattr(nltk_data, "_INDEX", "http://127.0.0.1:9/index.xml")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(nltk_data, "is_obtainable", lambda: False)
    work = _work(tmp_path, benchmarks=("ifeval",), own_prompts=True)
    assert "python -m nltk.downloader" in _failed(check_data(work))["NLTK data"]
    assert _failed(check_data(_work(tmp_path))) == {}
    (tmp_path / "named" / "tokenizers").mkdir(parents=True)
    (tmp_path / "named" / "tokenizers" / "punkt_tab.zip").touch()
    assert _failed(check_data(work)) == {}
    ifbench = _failed(check_data(_work(tmp_path, benchmarks=("ifbench",), own_prompts=True)))
    assert "stopwords" in ifbench["NLTK data"]
    (tmp_path / "nltk_data" / "corpora" / "stopwords").mkdir(parents=True)
    (tmp_path / "nltk_data" / "corpora" / "stopwords" / "english").touch()
    assert nltk_data.is_present("stopwords")
    assert not nltk_data.is_present("averaged_perceptron_tagger_eng")


def test_a_server_of_nltk_data_that_never_answers_is_given_up(monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(nltk_data, "_INDEX", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        monkeypatch.setattr(nltk_data, "_ANSWER_S", 0.2)
        assert not nltk_data.is_obtainable()


def test_data_of_a_benchmark_must_lie_in_the_named_folder(tmp_path):
    failed = _failed(check_data(_work(tmp_path, benchmarks=("followbench",), data_dir=tmp_path)))
    assert f"{tmp_path} holds no followbench" in failed["data of followbench"]


# Models


@pytest.fixture
def model(tmp_path) -> Path:
    return Path(shutil.copytree(base_model_dir(), tmp_path / "model"))


def _of(model, tmp_path, *overrides):
    return _work(tmp_path, f"models.actor={model}", *overrides)


def test_a_model_folder_is_looked_through_without_loading_it(model, tmp_path):
    assert _failed(check_models(_of(model, tmp_path))) == {}
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert "is cut or damaged" in _failed(check_models(_of(model, tmp_path)))["model of the actor"]
    weights.write_bytes(b"\x04\0\0\0\0\0\0\0html")
    assert "no readable safetensors" in _failed(check_models(_of(model, tmp_path)))["model of the actor"]
    weights.write_bytes(whole)
    (model / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model.safetensors", "b": "second.safetensors"}}'
    )
    assert "lacks second.safetensors" in _failed(check_models(_of(model, tmp_path)))["model of the actor"]
    weights.unlink()
    assert "holds no *.safetensors" in _failed(check_models(_of(model, tmp_path)))["model of the actor"]


@pytest.mark.parametrize("reference", ["/no/such/model", "./model", "nonsense"])
def test_a_model_that_is_nowhere_is_named_with_what_can_be_given(tmp_path, reference):
    failed = _failed(check_models(_of(reference, tmp_path)))
    assert "no such folder; give `starter`, a model folder" in failed["model of the actor"]


def test_a_hub_model_must_be_here_where_the_hub_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "hub cannot be reached" in _failed(check_models(_of("no-one/nothing", tmp_path)))["model of the actor"]


def test_positions_may_be_scaled_beyond_what_a_model_was_made_for(model, tmp_path):
    vllm = ("engine.kind=vllm", "engine.max_model_len=1024")
    assert "context length" in _failed(check_models(_of(model, tmp_path, *vllm)))
    config = json.loads((model / "config.json").read_text())
    config["rope_scaling"] = {"rope_type": "yarn", "factor": 4.0}
    (model / "config.json").write_text(json.dumps(config))
    assert _failed(check_models(_of(model, tmp_path, *vllm))) == {}


def test_a_hub_model_that_is_here_in_part_is_fetched_where_the_hub_answers(model, tmp_path, monkeypatch):
    """Its tokenizer alone may have been used before; other revisions of it are not what is loaded."""
    place = tmp_path / "cache" / "models--some--model"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("b")
    shutil.copytree(model, place / "snapshots" / "b")
    shutil.copytree(model, place / "snapshots" / "a")
    (place / "snapshots" / "a" / "model.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    work = _of("some/model", tmp_path)
    assert [f.verdict for f in check_models(work) if f.name == "model of the actor"] == ["ok"]
    (place / "snapshots" / "b" / "model.safetensors").unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "holds no *.safetensors" in _failed(check_models(work))["model of the actor"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("flows.checks.models.hub_answers", lambda: True)
    assert [f.verdict for f in check_models(work) if f.name == "model of the actor"] == ["warn"]


def test_weights_that_lie_there_in_two_forms_count_once(model):
    once = weight_bytes(model)
    shutil.copy(model / "model.safetensors", model / "consolidated.safetensors")
    assert weight_bytes(model) == once
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')
    assert weight_bytes(model) == once


def test_a_second_voter_and_a_server_are_looked_at_too(tmp_path):
    work = _work(tmp_path, "method.judging.second_voter=/no/voter")
    assert "'/no/voter'" in _failed(check_models(work))["model of the second voter"]
    assert _failed(check_models(_work(tmp_path, "method.judging.second_voter=first"))) == {}
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1#name"
        assert "no OpenAI-compatible server answers" in str(_failed(check_models(_work(tmp_path, models={"m": url}))))
        server.listen()
        assert _failed(check_models(_work(tmp_path, models={"m": url}))) == {}


def test_a_server_by_its_description_must_answer_and_its_key_be_set(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        described = tmp_path / "server.yaml"
        described.write_text(f"base_urls: [{address}, http://127.0.0.1:9/v1]\nmodel: m\n")
        assert "answers at http://127.0.0.1:9/v1" in str(
            _failed(check_models(_work(tmp_path, models={"m": str(described)})))
        )
        keyed = _work(tmp_path, models={"m": f"{address}#m&key=NO_SUCH_KEY"})
        assert "NO_SUCH_KEY" in _failed(check_models(keyed))["model of the m"]
        with pytest.raises(ConfigError):
            preflight(keyed)
        monkeypatch.setenv("NO_SUCH_KEY", "secret")
        assert "secret" not in str(list(check_models(keyed)))
        assert _failed(check_models(keyed)) == {}


def test_registered_models_are_looked_up_in_the_ledger(tmp_path, model):
    home = Home(tmp_path / "home")
    work = _work(tmp_path, models={"actor": "actor/3"})
    assert "versions: none" in _failed(check_models(work))["model of the actor"]
    fields = {"run_id": "r", "role": "actor", "iteration": 0, "name": "actor", "digest": "d"}
    Ledger(home).record_model(ModelEntry(**fields, version=2, uri=str(model)))
    assert "versions: 2" in _failed(check_models(work))["model of the actor"]
    Ledger(home).record_model(ModelEntry(**fields, version=3, uri="artifacts/gone"))
    assert "is gone" in _failed(check_models(work))["model of the actor"]
    assert _failed(check_models(_work(tmp_path, models={"actor": "actor/2"}))) == {}


def test_answers_should_fit_into_the_context_and_the_server_must_take_its_limit(tmp_path):
    """The starter holds 512 tokens; engines cut what a prompt leaves no room for."""
    for key in ("refinement.max_tokens=512", "responses.max_tokens=400"):
        found = check_models(_work(tmp_path, f"method.{key}"))
        assert [f.verdict for f in found if f.name == "context length"] == ["warn"]
    vllm = ("engine.kind=vllm", "engine.max_model_len=513")
    assert "max_model_len of 513" in _failed(check_models(_work(tmp_path, *vllm)))["context length"]
    overridden = (*vllm, 'engine.extra_args=["--hf-overrides={}"]')
    assert _failed(check_models(_work(tmp_path, *overridden))) == {}
    long = _work(tmp_path, "training.actor.max_length=513")
    assert [f.detail for f in check_models(long) if f.name == "training length"] == [
        "training.actor.max_length 513 exceed what starter can hold"
    ]


def test_what_is_tight_is_told_to_runs_only(tmp_path, caplog):
    tight = _work(tmp_path, "training.actor.max_length=513", "method.refinement.max_tokens=512")
    preflight(tight)
    assert "refinement.max_tokens 512" in caplog.text
    caplog.clear()
    preflight(_work(tmp_path, "method.refinement.max_tokens=512", trains=False))
    assert [record.levelname for record in caplog.records if record.levelno > 20] == []


# Machine


def test_the_disk_must_hold_an_iteration_and_should_hold_the_run(tmp_path, monkeypatch):
    once, whole = estimated_bytes(_work(tmp_path))
    assert 0 < once < whole
    usage = namedtuple("usage", "total used free")
    verdicts = []
    for free in (once - 1, whole - 1, whole + 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder, free=free: usage(free, 0, free))
        verdicts += [finding.verdict for finding in check_machine(_work(tmp_path)) if finding.name == "disk"]
    assert verdicts == ["fail", "warn", "ok"]


def test_weights_must_fit_and_training_should(tmp_path, monkeypatch):
    weights = (base_model_dir() / "model.safetensors").stat().st_size
    verdicts = []
    shape, config = ModelShape.of_folder(base_model_dir(), "starter"), load_config("starter").training
    needed = [
        training_memory(shape, TrainingLoad.of(one, config.launch)).total for one in (config.actor, config.refiner)
    ]
    for total in (weights - 1, int(max(needed)) - 1, int(max(needed)) + 1):
        monkeypatch.setattr(machine, "_gpus", lambda total=total: [Gpu(0, "u", total, total)])
        verdicts += [finding.verdict for finding in check_machine(_work(tmp_path)) if finding.name == "memory"]
    assert verdicts == ["fail", "warn", "ok"]


def test_only_the_memory_that_is_used_and_known_is_judged(tmp_path, monkeypatch):
    """A small GPU beside a large CPU memory; a GPU whose driver tells nothing of its memory."""
    monkeypatch.setattr(machine, "_gpus", lambda: [Gpu(0, "u", 1, 1)])
    assert "memory" not in _failed(check_machine(_work(tmp_path, "engine.device=cpu")))
    monkeypatch.undo()
    monkeypatch.setattr(machine, "visible_gpus", list)
    monkeypatch.setattr(machine, "_GPU_DEVICES", (str(tmp_path),))
    on_it = _work(tmp_path, "engine.device=cuda")
    assert _failed(check_machine(on_it)) == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "GPU" in _failed(check_machine(on_it))


def test_a_step_that_cannot_be_shared_out_is_said_before_anything_starts(tmp_path):
    two = ("training.launch.processes=2", "training.actor.batch_size=8", "training.actor.micro_batch_size=8")
    failed = _failed(check_machine(_work(tmp_path, *two)))
    assert failed["training"].startswith(
        "training.actor: batch_size 8 is not a multiple of processes x micro_batch_size (2"
    )
    assert "training" not in _failed(check_machine(_work(tmp_path, *two, "training.actor.micro_batch_size=4")))
    assert "training" not in _failed(check_machine(_work(tmp_path, *two, "iterations=0")))  # trains no actor by DPO
    given = GivenData("pairs.jsonl", "actor", pairs=True, skip_bad=False)
    assert "training" in _failed(check_machine(_work(tmp_path, *two, "iterations=0", given=given)))


def test_checkpoints_of_adapters_are_small(tmp_path):
    adapters = [f"training.{role}.lora.learning_rate=0.0001" for role in ("actor", "refiner")]
    weights = weight_bytes(base_model_dir())
    saved = estimated_bytes(_work(tmp_path))[0] - estimated_bytes(_work(tmp_path, *adapters))[0]
    assert saved == pytest.approx(5 * 1.2 * weights)


class _Asking(BaseHTTPRequestHandler):
    """A Prefect server that wants a login."""

    def do_GET(self):
        self.send_error(401)

    def log_message(self, *_):
        pass


def test_a_prefect_server_is_there_whatever_it_answers_and_is_asked_without_a_proxy(tmp_path, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Asking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        found = {finding.name: finding.verdict for finding in check_machine(_work(tmp_path))}
        server.shutdown()
    assert found["Prefect"] == "ok"
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        monkeypatch.setattr(machine, "_ASK_S", 0.2)
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{busy.getsockname()[1]}/api")
        assert "Prefect" not in _failed(check_machine(_work(tmp_path)))


def test_ports_environments_and_servers(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        vllm = ("engine.kind=vllm", "engine.python=/no/python", f"engine.port={port}")
        failed = _failed(check_machine(_work(tmp_path, *vllm)))
        servers = Home(tmp_path / "left").servers
        servers.mkdir(parents=True)
        (servers / f"vllm-{port}.json").touch()
        assert "port" not in _failed(check_machine(_work(tmp_path, *vllm, home=Home(tmp_path / "left"))))
    assert "make vllm" in failed["vLLM"]
    assert f"port {port} is taken" in failed["port"]
    assert "nothing answers there" in failed["Prefect"]
    without = _work(tmp_path, "engine.kind=vllm", f"engine.python={sys.executable}", "engine.env.PYTHONPATH=x")
    found = _failed(check_machine(without))
    assert "vLLM" not in found or "has no vLLM" in found["vLLM"]
    assert "GPU" in _failed(check_machine(_work(tmp_path, "engine.device=cuda")))


def test_servers_that_have_too_few_gpus_or_cores_are_told_before_they_start(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_GPU_DEVICES", ())
    monkeypatch.setattr(machine, "core_numbers", lambda: [0, 1])
    vllm = ("engine.kind=vllm", "orchestration.placement=side_by_side")

    def found(*settings: str) -> str | None:
        return _failed(check_machine(_work(tmp_path, *vllm, *settings))).get("servers")

    assert found() is found("engine.roles.refiner.replicas=2") is None
    assert "refiner wants 3 servers over 1 each: 3 CPU cores, and there are 2" in found(
        "engine.roles.refiner.replicas=3"
    )
    gpus = [Gpu(number, f"GPU-{number}", 80 * 2**30, 80 * 2**30) for number in range(4)]
    monkeypatch.setattr(machine, "visible_gpus", lambda: gpus)
    assert (
        found("engine.roles.actor.gpus=3") is found("engine.roles.actor.gpus=2", "engine.roles.refiner.gpus=2") is None
    )
    assert "3 GPUs to the actor and 2 to the refiner, of 4" in found(
        "engine.roles.actor.gpus=3", "engine.roles.refiner.gpus=2"
    )
    assert "the refiner wants 1 servers over 2 each: 2 GPUs, and has 1" in found(
        "engine.roles.actor.gpus=3", "engine.tensor_parallel=2"
    )
    assert "wants 1 servers over 8 each" in found("engine.tensor_parallel=8")
    assert "wants 3 of 4 GPUs and the refiner 2, beside it" in found("engine.roles.actor.replicas=3")
    assert found("engine.roles.actor.replicas=1") is None


def test_variables_that_fields_name_must_be_set(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    monkeypatch.setenv("A_KEY", "secret")
    config = {"engine": {"api_key_env": "NO_SUCH_KEY"}, "other": {"token_env": "A_KEY", "base_env": None}}
    (finding,) = machine._keys(config)
    assert finding.told == "the environment variable NO_SUCH_KEY (engine.api_key_env) is not set; set it"


# Packages


def test_a_package_of_the_wrong_version_or_an_extra_is_named(tmp_path, monkeypatch):
    from flows.checks import packages

    versions = {"spar": "1", "duckdb": "1.4", "lm_eval": None}
    monkeypatch.setattr(packages, "requires", lambda _name: ["duckdb>=2.0,<3", "absent-package", 'x; extra == "dev"'])
    monkeypatch.setattr(packages, "version", lambda name: versions[name])
    monkeypatch.setattr(packages, "_installed", versions.get)
    failed = _failed(check_packages(_work(tmp_path, benchmarks=("ability",))))
    assert "duckdb is 1.4, wanted <3,>=2.0, absent-package is missing" in failed["packages"]
    assert failed["extra ability"] == "lm_eval missing; pip install -e '.[ability]'"


# Commands


def test_every_failure_is_told_at_once(tmp_path):
    work = _work(tmp_path, "models.actor=/no/model", "prompts.source=file", "prompts.path=/no/prompts.jsonl")
    with pytest.raises(SparError, match=r"(?s)2 things.*nothing was started.*/no/prompts.jsonl.*/no/model"):
        preflight(work)


@pytest.mark.parametrize(("lacking", "starts"), [(("a", "b"), False), (("b",), True)])
def test_an_experiment_of_which_no_variant_could_run_starts_nothing(tmp_path, monkeypatch, capsys, lacking, starts):
    file, home = tmp_path / "experiment.yaml", tmp_path / "home"
    variants = {name: {"models.actor": "/no/model" if name in lacking else "starter"} for name in ("a", "b")}
    file.write_text(json.dumps({"name": "e", "preset": "smoke", "seeds": [0], "variants": variants}))

    def started(*_, **__):
        raise SparError("started")

    monkeypatch.setattr("flows.commands.experiment._run", started)
    assert invoke(["experiment", str(file), "--home", str(home)]) == 1
    assert ("started" if starts else "'/no/model': no such folder") in capsys.readouterr().err
    assert not home.exists()


def test_doctor_prints_a_verdict_per_check_and_exits_1_on_a_failure(tmp_path, capsys):
    assert invoke(["doctor", "--preset", "smoke", "--home", str(tmp_path / "home"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert {"name", "verdict", "detail", "remedy"} == set(told["checks"][0])
    assert invoke(["doctor", "--home", str(tmp_path / "home"), "--set", "models.actor=/no/model"]) == 1
    assert "/no/model" in capsys.readouterr().out
