"""What a warm start by a teacher behind a vLLM server is worth, beside the embedded rule-based teacher's and none.

    python benchmarks/teacher.py [--out DIR] [--examples 400] [--prompts 300]

The teacher is a trained starter: the base after supervised training on the rule-based teacher's answers, judgements and
refinements, in one model. It is served by vLLM on CPU (.venv-vllm) and teaches the weaker base twice, with rules as a
filter and with votes alone. The rule-based teacher then gives the base just as many examples. What is finished is kept
in DIR: the same command goes on.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.vllm_server import VllmServer
from spar_core.starter.teacher import warm_start_examples
from storage.home import Home
from storage.ledger import Ledger

ROOT = Path(__file__).parents[1]
METRICS = ("actor_accuracy", "judge_balanced_accuracy", "fix_rate")


def lessons(file: Path, rows: int) -> None:
    """What the teacher is trained on: answers for the actor and examples for the refiner, so many of each."""
    with file.open("w", encoding="utf-8") as out:
        for role in ("actor", "refiner"):
            for example in warm_start_examples(role, rows, seed=1):
                messages = [{"role": message.role, "content": message.content} for message in example.messages]
                out.write(json.dumps({"kind": "answer", "messages": messages}) + "\n")  # of one model for both roles


def spar_run(home: Path, run_id: str, settings: dict[str, object]) -> dict[str, object]:
    command = [sys.executable, "-m", "flows", "run", "--preset", "starter", "--iterations", "0", "--json"]
    command += ["--home", str(home), "--run-id", run_id]
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value) if isinstance(value, bool) else value}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def trained_teacher(out: Path, rows: int, measured: dict[str, object]) -> tuple[dict[str, object], str]:
    """One model for both tasks, trained as an actor on the rows of both roles, and its measurements."""
    file, home = out / "lessons.jsonl", out / "teacher"
    lessons(file, rows)
    settings = {"warm_start.source": "file", "warm_start.actor_file": file, "evaluation.enabled": False}
    spar_run(home, "teacher", {**settings, "training.warm_start_actor.max_length": 320})
    (uri,) = (entry.uri for entry in Ledger(Home(home)).models("teacher") if entry.role == "actor")
    folder = str(Home(home).located(uri))
    itself = {"models.actor": folder, "warm_start.source": "none"}
    return spar_run(home, "measured", {**itself, **measured}), folder


def cell(scores: dict[str, object], name: str) -> str:
    entry = scores.get(name)
    if not isinstance(entry, dict):
        return "-"
    value, low, high = (100 * entry[key] for key in ("value", "ci_low", "ci_high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def row(name: str, run: dict[str, object]) -> str:
    (scores,) = run["iterations"]
    taught = {entry["role"]: entry["examples"] for entry in run.get("warm_start", [])}
    examples = f"{taught['actor']} + {taught['refiner']}" if taught else ""
    return f"| {name} | {examples} | " + " | ".join(cell(scores, metric) for metric in METRICS) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("teacher-benchmark"))
    parser.add_argument("--rows", type=int, default=3000, help="rows per role the teacher itself is trained on")
    parser.add_argument("--examples", type=int, default=400, help="prompts per role that it is asked about")
    parser.add_argument("--tries", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=300, help="held-out prompts of the measurements")
    asked = parser.parse_args()
    out = asked.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    measured = {"evaluation.prompts": asked.prompts, "evaluation.samples": 2, "evaluation.calibration_items": 0}
    measured["evaluation.refiner_items"] = asked.prompts // 2
    teacher, folder = trained_teacher(out, asked.rows, measured)
    students = out / "students"
    untaught = spar_run(students, "untaught", {"warm_start.source": "none", **measured})
    config = VllmEngineConfig(
        python=str(ROOT / ".venv-vllm" / "bin" / "python"),
        dtype="float32",
        cpu_cache_gib=1,
        extra_args=("--enforce-eager",),
        log_folder=out,
    )
    counts = {f"warm_start.{role}_examples": asked.examples for role in ("actor", "refiner")}
    server = VllmServer(config, folder)
    try:
        taught = {"warm_start.source": "teacher", "warm_start.teacher": server.base_url, **counts, **measured}
        taught["warm_start.tries"] = asked.tries
        rules = spar_run(students, "rules", taught)
        votes = spar_run(students, "votes", {**taught, "warm_start.check_rules": False})
    finally:
        server.stop()
    kept = {entry["role"]: entry["examples"] for entry in rules["warm_start"]}
    equal = {f"warm_start.{role}_examples": count for role, count in kept.items()}
    embedded = spar_run(students, "embedded", {**equal, **measured})
    embedded["warm_start"] = [{"role": role, "examples": count} for role, count in kept.items()]
    lines = [
        "| warm start of the base | examples, actor + refiner | actor right % | judge, balanced % | truly fixed % |",
        "| --- | --- | --- | --- | --- |",
        row("none", untaught),
        row("the served teacher, votes and rules", rules),
        row("the served teacher, votes alone", votes),
        row("the embedded rule-based teacher, as many examples", embedded),
        row("the teacher itself", teacher),
    ]
    lines += [
        "",
        *(f"{name}: {entry}" for name, run in (("rules", rules), ("votes", votes)) for entry in run["warm_start"]),
    ]
    text = "\n".join(lines) + "\n"
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
