"""The starter's world in the form of the SPaR release: rows as JSON arrays, a prompt set of that form, its words."""

import json
from pathlib import Path
from typing import Any

from spar_core.prompts import PromptLibrary
from spar_core.records import ModelRole
from spar_core.starter import base_model_dir
from spar_core.starter.prompt_texts import library
from spar_core.starter.teacher import warm_start_examples

LABEL = "Final Judgement (if the Output accurately follows the Prompt):"
START, END = "[[start]]", "[[end]]"
_FORMAT = f"""
verdict: {{labels: ["{LABEL}"], yes: [Yes], no: [No]}}
markers: {{start: "{START}", end: "{END}"}}
refine: continuation
"""
Rows = list[dict[str, Any]]


def write_prompt_set(folder: Path) -> Path:
    """A user's prompt set of the published form, in words that the starter knows."""
    folder.mkdir(parents=True)
    (folder / "judge.txt").write_text(library().text("judge"))
    (folder / "refine.txt").write_text("Mend the answer.")
    (folder / "format.yaml").write_text(_FORMAT)
    return folder


def write_base(folder: Path) -> Path:
    """The starter with tokens for the words of the published form, which it has never seen."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_model_dir())
    model = AutoModelForCausalLM.from_pretrained(base_model_dir())
    tokenizer.add_tokens([LABEL, "Yes", "No", START, END])
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_data(folder: Path, prompt_set: Path, rows: int) -> dict[str, int]:
    """Files like the release's, each a JSON array of messages alone; returns the rows of each."""
    folder.mkdir(parents=True)
    written = PromptLibrary.load(prompt_set)
    files = {
        "judgement_sft.json": [row for row in _taught("refiner", "judgement", rows, written) if LABEL in str(row)],
        "refinement_sft.json": _taught("refiner", "refinement", rows, written),
        "actor_sft.json": _taught("actor", "answer", 24, written),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=4), encoding="utf-8")
    return {name: len(content) for name, content in files.items()}


def _taught(role: ModelRole, kind: str, count: int, texts: PromptLibrary) -> Rows:
    examples = (example for example in warm_start_examples(role, count, 7, texts) if example.kind == kind)
    return [{"messages": [{"role": t.role, "content": t.content} for t in example.messages]} for example in examples]
