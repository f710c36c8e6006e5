"""Seeded kills and faults over every stage of a real run: `python -m benchmarks.chaos --out FOLDER`.

A subject is one home on which the same command is run again and again, each attempt struck by one fault, the last left
alone. After every fault the artifacts that exist must equal those of an undisturbed run, rows must add up, no question
may be answered twice (where the fault destroyed no finished work), and no process may be left. Finished subjects are
kept in FOLDER/results.jsonl, so the same command goes on.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.chaos import faults
from benchmarks.chaos.faults import Fault, NotHitError
from benchmarks.chaos.subject import Night, Subject, VllmSearch

STAGES = (
    "000-warm_start_examples_refiner",
    "000-warm_start_actor",
    "000-warm_start_refiner",
    "000-eval_actor",
    "000-eval_refiner",
    "000-eval_votes",
    "001-responses",
    "001-judgements",
    "001-trees",
    "001-pairs",
    "001-refiner_data",
    "001-train_actor",
    "001-train_refiner",
    "001-eval_actor",
    "001-eval_refiner",
    "001-eval_scores",
)
_SEARCHED = ("*judgements", "*trees")
_SERVED = ("001-judgements", "001-train_actor")
_WITHOUT_SERVER = ("000-warm_start_actor", "000-eval_votes", "001-judgements", "001-trees", "001-eval_actor")
_NIGHTLY = ("000-warm_start_actor", "001-judgements", "001-trees", "001-train_refiner")
TRAININGS = ("000-warm_start_actor", "000-warm_start_refiner", "001-train_actor", "001-train_refiner")


@dataclass(frozen=True)
class Lifetime:
    """A home and what befalls it, in order of the stages."""

    name: str
    faults: tuple[Fault, ...]
    own_disk: bool = False
    subject: type[Subject] = Subject

    @property
    def vllm(self) -> bool:
        """A search through a vLLM server. Its answers depend on which requests meet in a batch, so that they are
        compared with themselves alone: what was answered before a fault stands after it."""
        return self.subject is VllmSearch


def _spoiled() -> tuple[Fault, ...]:
    """Files of finished and unfinished artifacts, and journals."""
    return (
        Fault(
            "Parquet of a finished artifact cut",
            "000-eval_actor",
            faults.spoil("artifacts/stage=warm_start_examples_*/*/part-*/*.parquet", "cut"),
            True,
        ),
        Fault(
            "manifest of a finished artifact overwritten",
            "000-eval_refiner",
            faults.spoil("artifacts/stage=eval_actor/*/manifest.json", "overwritten"),
            True,
        ),
        Fault(
            "weights of a trained model cut",
            "001-responses",
            faults.spoil("artifacts/stage=warm_start_actor/*/model/*.safetensors", "cut"),
            True,
        ),
        Fault(
            "part of an unfinished artifact cut",
            "001-judgements",
            faults.spoil("artifacts/stage=responses/*/part-*/*.parquet", "cut"),
            True,
        ),
        Fault("journal overwritten", "001-trees", faults.spoil("journal/trees/*/*.sqlite", "overwritten"), True),
        Fault("journal cut", "001-eval_refiner", faults.spoil("journal/**/*.sqlite", "cut"), True),
    )


def _spoiled_records() -> tuple[Fault, ...]:
    """Checkpoints, the ledger, and a manifest that is gone."""
    return (
        Fault(
            "checkpoint cut",
            "000-warm_start_refiner",
            faults.spoil("work/warm_start_refiner/**/*.safetensors", "cut"),
            True,
        ),
        Fault(
            "ledger of a stage emptied", "000-eval_refiner", faults.spoil("runs/chaos/stages/*.json", "emptied"), True
        ),
        Fault(
            "ledger of the run overwritten", "001-responses", faults.spoil("runs/chaos/run.json", "overwritten"), True
        ),
        Fault("ledger of a model emptied", "001-judgements", faults.spoil("runs/chaos/models/*.json", "emptied"), True),
        Fault(
            "optimizer of a checkpoint overwritten",
            "001-train_actor",
            faults.spoil("work/train_actor/**/optimizer.pt", "overwritten"),
            True,
        ),
        Fault(
            "manifest of a finished artifact removed",
            "001-train_refiner",
            faults.remove("artifacts/stage=pairs/*/manifest.json"),
            True,
        ),
    )


def _places() -> tuple[Fault, ...]:
    """The home somewhere else."""
    return (
        Fault("home moved", "000-eval_refiner", faults.move_home),
        Fault("home copied, original removed", "001-judgements", faults.copy_home),
        Fault("home moved", "001-train_actor", faults.move_home),
    )


def plan(small: bool) -> list[Lifetime]:
    """What is done, grouped into homes."""
    kill9 = faults.kill("flow process killed -9", None, signal.SIGKILL)
    term = faults.kill("flow process sent SIGTERM", None, signal.SIGTERM)
    server = faults.kill("Prefect server killed -9", faults.is_prefect_server, signal.SIGKILL)
    training = faults.kill("training process killed -9", faults.is_training, signal.SIGKILL)
    vllm = faults.kill("vLLM server killed -9", faults.is_vllm, signal.SIGKILL)
    worker = faults.kill("worker killed -9", faults.is_worker, signal.SIGKILL)
    flow_run = faults.kill("flow run of a worker killed -9", faults.is_flow_run, signal.SIGKILL)
    if small:
        return [
            Lifetime(
                "small", (Fault("flow killed -9", "001-judgements", kill9), Fault("flow killed -9", "001-trees", kill9))
            )
        ]
    return [
        Lifetime("flow-killed", tuple(Fault("flow killed -9", stage, kill9) for stage in STAGES)),
        Lifetime("terminated", tuple(Fault("flow sent SIGTERM", stage, term) for stage in STAGES[1::3])),
        # Prefect's server and trainings that die come back within the attempt, which runs to its end: a home for each.
        *(
            Lifetime(f"server-killed-{stage}", (Fault("Prefect server killed -9", stage, server),))
            for stage in _WITHOUT_SERVER
        ),
        *(Lifetime(f"training-killed-{stage}", (Fault("training killed -9", stage, training),)) for stage in TRAININGS),
        *(
            Lifetime(name, tuple(Fault("disk full", stage, faults.full_disk) for stage in stages), own_disk=True)
            for name, stages in (("disk-full", STAGES[:10]), ("disk-full-later", STAGES[11:]))
        ),
        Lifetime("spoiled", _spoiled()),
        Lifetime("spoiled-more", _spoiled_records()),
        Lifetime("places", _places()),
        Lifetime("clock-back", (Fault("clock one day back", "001-judgements", faults.clock_jump(-1)),)),
        Lifetime("clock-ahead", (Fault("clock thirty days ahead", "001-train_actor", faults.clock_jump(30)),)),
        Lifetime(
            "vllm",
            (
                Fault("vLLM server killed -9", _SEARCHED[0], vllm),
                *(Fault("owner of a vLLM server killed -9", stage, kill9) for stage in _SEARCHED),
            ),
            subject=VllmSearch,
        ),
        # A server that dies comes back within the attempt, which runs to its end: a home for each.
        Lifetime("vllm-later", (Fault("vLLM server killed -9", _SEARCHED[1], vllm),), subject=VllmSearch),
        # A worker's flow run outlives it and runs to its end: a home for each.
        *(
            Lifetime(f"worker-killed-{stage}", (Fault("worker killed -9", stage, worker),), subject=Night)
            for stage in _SERVED
        ),
        Lifetime(
            "flow-run-killed",
            tuple(Fault("flow run of a worker killed -9", stage, flow_run) for stage in _NIGHTLY),
            subject=Night,
        ),
        Lifetime("two-at-once", (Fault("a second run at once", "000-eval_refiner", faults.two_at_once),)),
        Lifetime("flow-killed-again", tuple(Fault("flow killed -9", stage, kill9) for stage in STAGES)),
    ]


class Campaign:
    """Runs the plan, keeps what is finished, writes the table."""

    def __init__(self, out: Path, seed: int) -> None:
        self.out = out
        self.seed = seed
        self.durations: dict[str, float] = {}
        self.results = out / "results.jsonl"
        out.mkdir(parents=True, exist_ok=True)

    def reference(self) -> dict[str, str]:
        """Content of every artifact of an undisturbed run."""
        kept = self.out / "reference.json"
        if kept.exists():
            known = json.loads(kept.read_text())
            self.durations = known["seconds"]
            return known["contents"]
        shutil.rmtree(self.out / "reference", ignore_errors=True)
        shutil.rmtree(self.out / "reference.notes", ignore_errors=True)
        calm = Subject(self.out / "reference", "reference")
        code = calm.finish()
        assert code == 0, f"the undisturbed run ended with {code}: {calm.said()}"
        assert calm.asked_twice() == 0, "the undisturbed run asks a question twice"
        assert not calm.left_over(), "the undisturbed run leaves processes"
        contents, self.durations = calm.contents(), calm.stage_seconds()
        kept.write_text(json.dumps({"contents": contents, "seconds": self.durations}, indent=1))
        return contents

    def run(self, lifetimes: list[Lifetime]) -> int:
        """Number of faults after which something did not hold."""
        expected = self.reference()
        done = {row["lifetime"] for row in self.rows()}
        for lifetime in lifetimes:
            if lifetime.name not in done:
                rows = self._live(lifetime, expected)
                with self.results.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in rows)
        return sum(row["verdict"] == "FAILED" for row in self.rows())

    def rows(self) -> list[dict[str, str]]:
        """What is finished."""
        return [json.loads(line) for line in self.results.read_text().splitlines()] if self.results.exists() else []

    def _live(self, lifetime: Lifetime, expected: dict[str, str]) -> list[dict[str, str]]:
        folder = self.out / lifetime.name
        if folder.exists():
            subprocess.run(["umount", folder], capture_output=True, check=False)
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mounted = lifetime.own_disk and _mount(folder)
        shutil.rmtree(folder.with_name(f"{folder.name}.notes"), ignore_errors=True)
        subject, random = (
            lifetime.subject(folder, f"{lifetime.name}-{self.seed}"),
            Random(f"{self.seed} {lifetime.name}"),
        )
        subject.durations = self.durations
        rows, asks_again = [], False
        last = Fault("left alone", "-", lambda struck, _stage, _random: _left_alone(struck))
        for fault in (*lifetime.faults, last):
            started = time.monotonic()
            row = {"lifetime": lifetime.name, "kind": fault.kind, "stage": fault.stage}
            asks_again |= fault.asks_again
            try:
                row |= {"what": fault.act(subject, fault.stage, random), "verdict": "held"}
                self._check(subject, {} if lifetime.vllm else expected, asks_again=asks_again, whole=fault is last)
            except NotHitError as missed:
                row |= {"what": str(missed), "verdict": "not hit"}
            except (AssertionError, subprocess.TimeoutExpired) as wrong:
                row |= {"what": f"{row.get('what', '')} - {wrong}", "verdict": "FAILED"}
            row["seconds"] = f"{time.monotonic() - started:.0f}"
            rows.append(row)
            print(f"{row['verdict']:>8}  {row['kind']:<44} {row['what'][:240]}", flush=True)
        subject.end_all()
        if mounted:
            subprocess.run(["umount", folder], check=False)
        shutil.rmtree(folder, ignore_errors=True)
        return rows

    def _check(self, subject: Subject, expected: dict[str, str], *, whole: bool, asks_again: bool) -> None:
        # A Prefect server waits for the next attempt, which takes it over; everything else ends with its owner.
        left = subject.left_over("" if whole else "prefect")
        if left:
            subject.end_all()
        assert not left, f"left over: {left}"
        if not whole:
            return
        found = subject.contents()
        other = sorted(name for name in expected if found.get(name) != expected[name])
        assert not other, f"other content than undisturbed: {other}"
        more = set(found) - set(expected)
        assert not expected or not more, f"artifacts an undisturbed run does not make: {more}"
        wrong = {name: state for name, state in subject.states().items() if state != "completed"}
        assert not wrong, f"not completed in the ledger: {wrong}"
        again = subject.asked_twice()
        assert asks_again or again == 0, f"{again} questions were answered twice"


def _left_alone(subject: Subject) -> str:
    code = subject.finish()
    assert code == 0, f"left alone it ended with {code}: {subject.said()}"
    return "one more run: exit 0, artifacts as undisturbed"


def _mount(folder: Path) -> bool:
    return subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", folder], check=False).returncode == 0


def table(rows: list[dict[str, str]]) -> str:
    """The results as Markdown, one line per kind of fault."""
    lines = ["| fault | stages struck | held | not hit | failed |", "| --- | --- | --- | --- | --- |"]
    kinds = dict.fromkeys(row["kind"] for row in rows if row["kind"] != "left alone")
    for kind in kinds:
        own = [row for row in rows if row["kind"] == kind]
        counts = [sum(row["verdict"] == verdict for row in own) for verdict in ("held", "not hit", "FAILED")]
        stages = ", ".join(dict.fromkeys(row["stage"].rpartition("-")[2].lstrip("*") for row in own))
        lines.append(f"| {kind} | {stages} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def main() -> int:
    """The command."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, default=Path(".spar-chaos"))
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--small", action="store_true", help="two kills: what CI runs")
    arguments.add_argument("--only", help="comma-separated names of lifetimes")
    given = arguments.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chosen = plan(given.small)
    if given.only:
        chosen = [lifetime for lifetime in chosen if lifetime.name in given.only.split(",")]
    campaign = Campaign(given.out.absolute(), given.seed)
    failed = campaign.run(chosen)
    print("\n" + table(campaign.rows()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
