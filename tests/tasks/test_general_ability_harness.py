"""The ability stage against the real lm-eval: its task files and data are local, its code is what users install."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from spar_core.engines.configuration import TransformersEngineConfig
from spar_core.starter import base_model_dir
from tasks import general_ability
from tasks.calls import StageCall
from tasks.engines import ModelRef
from tasks.general_ability import ABILITY

pytestmark = pytest.mark.slow
lm_eval = pytest.importorskip("lm_eval", reason='lm-eval is not installed: pip install "spar[ability]"')

_DATA = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
"""
_GENERATED = """
task: {task}
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{max_gen_toks: 4, do_sample: false, until: ["\\n"]}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
filter_list:
  - name: {name}
    filter: [{filters}]
"""
_CHOSEN = """
task: mmlu
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: ["yes", "no"]
doc_to_target: 0
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""


@pytest.fixture
def local_tasks(tmp_path: Path) -> Path:
    """Tasks under the names of the real ones, in their forms: filtered generations, and log-likelihoods of choices."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"question": f"Say {word}", "answer": word} for word in ("one", "two", "three")]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    where = _DATA.format(file=data)
    first = "{function: take_first}"
    gsm8k = _GENERATED.format(task="gsm8k", name="strict-match", filters=first)
    triviaqa = _GENERATED.format(
        task="triviaqa", name="remove_whitespace", filters="{function: remove_whitespace}, " + first
    )
    for name, text in {"gsm8k": gsm8k, "triviaqa": triviaqa, "mmlu": _CHOSEN}.items():
        (folder / f"{name}.yaml").write_text(text + where, encoding="utf-8")
    return folder


def test_the_stage_reads_what_the_harness_returns(tmp_path, local_tasks, monkeypatch):
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(local_tasks), include_defaults=False)
    evaluate = partial(lm_eval.simple_evaluate, task_manager=manager)
    monkeypatch.setattr(general_ability, "require_harness", lambda: SimpleNamespace(simple_evaluate=evaluate))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    call = StageCall(
        stage=ABILITY.name,
        version=1,
        home=str(tmp_path / "home"),
        run_id="r",
        iteration=0,
        seed=7,
        models={"model": ModelRef("d", str(base_model_dir()))},
        config={"tasks": ["gsm8k", "triviaqa", "mmlu"], "limit": 2, "role": "actor"},
        engines={"model": TransformersEngineConfig(device="cpu")},
    )
    artifact = ABILITY.compute(call)
    scores = {score.metric: score for score in artifact.read("eval_scores")}
    assert {metric: score.n for metric, score in scores.items()} == {"gsm8k": 2, "triviaqa": 2, "mmlu": 2}
    assert all(0.0 <= score.ci_low <= score.value <= score.ci_high <= 1.0 for score in scores.values())
    written = list(artifact.read("eval_items"))
    items = [item for item in written if item.metric != "settings"]
    settings = {item.cluster_id: json.loads(item.detail) for item in written if item.metric == "settings"}
    said = {task: (how["num_fewshot"], how["chat_template"]) for task, how in settings.items()}
    assert said == dict.fromkeys(scores, (0, True))
    assert {(item.metric, item.item_id) for item in items} == {
        (task, f"{task}/{number}") for task in scores for number in (0, 1)
    }
    for task, score in scores.items():
        assert score.value == sum(item.value for item in items if item.metric == task) / 2
