"""The run under test: one home, the same command again and again, and what must hold of it at any time."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from storage.artifacts import ArtifactStore
from storage.home import Home
from storage.ledger import Ledger

ROOT = Path(__file__).parents[2]
MARK = "SPAR_CHAOS_SUBJECT"
RUN_ID = "chaos"
# Every stage for real on the starter model, as little data as lets each of them have work; one thread, so that a
# training that is resumed adds up in the same order.
SETTINGS = {
    "iterations": 1,
    "prompts.per_iteration": 12,
    "warm_start.actor_examples": 24,
    "warm_start.refiner_examples": 24,
    "evaluation.prompts": 12,
    "evaluation.refiner_items": 6,
    "evaluation.calibration_items": 6,
    "orchestration.shard_size": 6,
    "engine.threads": 1,
    "training.launch.threads": 1,
    **{
        f"training.{name}.checkpoint_steps": 1
        for name in ("actor", "refiner", "warm_start_actor", "warm_start_refiner")
    },
    **{f"training.{name}.max_steps": 3 for name in ("actor", "refiner", "warm_start_actor", "warm_start_refiner")},
}
POLL_S = 0.02


@dataclass
class Subject:
    """A home under `folder`; `settings` are laid over the preset."""

    folder: Path
    name: str
    settings: dict[str, object] = field(default_factory=lambda: dict(SETTINGS))
    home: Path = field(init=False)

    durations: dict[str, float] = field(default_factory=dict)
    """Seconds that each stage took in an undisturbed run."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.notes.mkdir(parents=True, exist_ok=True)
        self.home = self.folder / "home"

    @property
    def notes(self) -> Path:
        """What is written of the attempts, beside the home's disk, which may be full."""
        return self.folder.with_name(f"{self.folder.name}.notes")

    @property
    def asked_log(self) -> Path:
        """Stage, shard and key of the questions that were answered, in order."""
        return self.notes / "asked.log"

    def command(self, home: Path | None = None) -> list[str]:
        """The command line that every attempt repeats."""
        settings = [part for key, value in self.settings.items() for part in ("--set", f"{key}={value}")]
        place = ["--home", str(home or self.home), "--run-id", RUN_ID]
        return [sys.executable, "-m", "flows", "run", "--preset", "smoke", "--json", *place, *settings]

    def environment(self, **extra: str) -> dict[str, str]:
        """Marked, so that every process that comes of it can be found again."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        path = os.pathsep.join([str(Path(__file__).parent / "site"), str(ROOT)])
        own = {MARK: self.name, "PYTHONPATH": path, "SPAR_CHAOS_ASKED": str(self.asked_log), "HF_HUB_OFFLINE": "1"}
        return {**kept, **own, **extra}

    def start(self, home: Path | None = None, **extra: str) -> "subprocess.Popen[bytes]":
        """One attempt; what it says goes to a file."""
        self.last_log = self.notes / f"attempt-{time.time_ns()}.log"
        with self.last_log.open("wb") as log:
            return subprocess.Popen(
                self.command(home),
                env=self.environment(**extra),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=self.folder,
            )

    def finish(self, timeout_s: float = 900, **extra: str) -> int:
        """An attempt left alone; its exit code."""
        process = self.start(**extra)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.end_all()
            raise

    def said(self, characters: int = 1500) -> str:
        """The end of what the last attempt said."""
        return self.last_log.read_text(errors="replace")[-characters:]

    def wait_for_stage(self, process: "subprocess.Popen[bytes]", stage: str, timeout_s: float = 600) -> bool:
        """Whether `stage` (as `iteration-stage`) came to run in this attempt; False where the attempt ended first."""
        deadline = time.monotonic() + timeout_s
        begun = time.time()
        while process.poll() is None and time.monotonic() < deadline:
            for file in self.home.glob(f"runs/*/stages/{stage}.json"):
                if file.stat().st_mtime >= begun - 1 and _state(file) == "running":
                    return True
            time.sleep(POLL_S)
        return False

    def processes(self) -> Iterator[psutil.Process]:
        """Every process that came of this subject's attempts and still lives."""
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.name and process.status() != psutil.STATUS_ZOMBIE:
                    yield process
            except psutil.Error:
                continue

    def find(self, wanted: Callable[[str], bool]) -> psutil.Process | None:
        """A living process of this subject by its command line."""
        for process in self.processes():
            try:
                if wanted(" ".join(process.cmdline())):
                    return process
            except psutil.Error:
                continue
        return None

    def left_over(self, spared: str = "", patience_s: float = 20.0) -> list[str]:
        """Command lines of processes that outlive the attempts, but for those that hold the word `spared`."""
        deadline = time.monotonic() + patience_s
        while True:
            lines = [" ".join(_line(process))[:200] for process in self.processes()]
            left = [line for line in lines if line and not (spared and spared in line)]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.2)

    def end_all(self) -> None:
        """Kill whatever is left."""
        for process in list(self.processes()):
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue

    def contents(self) -> dict[str, str]:
        """Content digest of every finished artifact, by stage and key; checksums are compared.

        Raises:
            AssertionError: an artifact whose files are damaged, or whose rows do not add up.
        """
        scan = ArtifactStore(Home(self.home)).scan(verify=True)
        assert not scan.damaged, f"damaged: {scan.damaged}"
        for entry in scan.whole:
            manifest = entry.manifest
            lost = manifest.rows_in - manifest.rows_out - sum(manifest.drops.values())
            assert lost == 0, f"{manifest.stage}: {lost} rows vanished"
        return {f"{entry.ref.stage} {entry.ref.stage_key}": entry.ref.content_digest for entry in scan.whole}

    def states(self) -> dict[str, str]:
        """State of the run and of every stage in the ledger."""
        ledger = Ledger(Home(self.home))
        runs: dict[str, str] = {f"run {run.run_id}": run.state for run in ledger.runs()}
        return runs | {f"{entry.iteration} {entry.stage}": entry.state for entry in ledger.stages()}

    def stage_seconds(self) -> dict[str, float]:
        """Seconds of every finished stage, by `iteration-stage`."""
        entries = Ledger(Home(self.home)).stages()
        return {f"{entry.iteration or 0:03d}-{entry.stage}": entry.seconds or 0.0 for entry in entries}

    def asked_twice(self) -> int:
        """Questions that were answered more than once."""
        if not self.asked_log.exists():
            return 0
        keys = self.asked_log.read_text().splitlines()
        return len(keys) - len(set(keys))


class Night(Subject):
    """The same run by its deployment: a Prefect server, a worker and a flow run in processes of their own."""

    def command(self, home: Path | None = None) -> list[str]:
        """One flow run of the deployment `self-play`, waited for."""
        overrides = [f"{key}={value}" for key, value in self.settings.items()]
        request = {"preset": "smoke", "home": str(home or self.home), "run_id": RUN_ID, "overrides": overrides}
        return [sys.executable, "-m", "benchmarks.chaos.night", str(self.folder), json.dumps(request)]


class VllmSearch(Subject):
    """A tree search whose model a vLLM server of its own serves: `make vllm` first."""

    python = ROOT / ".venv-vllm" / "bin" / "python"

    def command(self, home: Path | None = None) -> list[str]:
        """`spar search` with the starter as judge and writer."""
        prompts = self.folder / "prompts.jsonl"
        rows = [{"prompt": f"Write {n} words about birds.", "response": "Birds sing."} for n in range(3, 19)]
        prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
        engine = {
            "engine.kind": "vllm",
            "engine.python": self.python,
            "engine.cpu_cache_gib": 1,
            "engine.extra_args": '["--enforce-eager"]',
            "method.prompt_set": "starter",
            "method.judging.max_tokens": 96,
            "method.refinement.max_tokens": 96,
            "orchestration.shard_size": 8,
        }
        settings = [part for key, value in engine.items() for part in ("--set", f"{key}={value}")]
        place = ["--home", str(home or self.home), "--out", str(self.folder / "out")]
        asked = ["--prompts", str(prompts), "--refiner", "starter"]
        return [sys.executable, "-m", "flows", "search", "--json", *asked, *place, *settings]


def _state(file: Path) -> str | None:
    try:
        return json.loads(file.read_text()).get("state")
    except (OSError, ValueError):
        return None


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
