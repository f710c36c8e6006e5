"""What is done to a run: each fault takes the subject and a seeded random source, and says in words what it did."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil

from benchmarks.chaos.subject import Subject

Act = Callable[[Subject, str, Random], str]
LONGEST_DELAY_S = 2.0


class NotHitError(Exception):
    """The fault found nothing to strike: its stage was over before, or this machine lacks what it takes."""


@dataclass(frozen=True)
class Fault:
    """`kind` names a row of the table, `stage` is `iteration-stage` as the ledger calls it."""

    kind: str
    stage: str
    act: Act
    asks_again: bool = False
    """It destroys finished work, so that what that cost is asked again."""


def kill(
    what: str, wanted: Callable[[str], bool] | None, number: int, ready: Callable[[Subject], bool] = lambda _: True
) -> Act:
    """Signal one process while the stage runs, then let the attempt end (by itself, where it can).

    Struck at the earliest when `ready`.
    """

    def act(subject: Subject, stage: str, random: Random) -> str:
        process = subject.start()
        if not subject.wait_for_stage(process, stage):
            code = process.wait(120)
            raise NotHitError(f"the attempt ended with {code} before {stage} ran: {subject.said()}")
        delay = random.uniform(0, min(LONGEST_DELAY_S, 0.8 * subject.durations.get(stage, LONGEST_DELAY_S)))
        time.sleep(delay)
        while not ready(subject) and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is not None:
            raise NotHitError(f"the attempt ended with {process.returncode} before it could be struck")
        victim = psutil.Process(process.pid) if wanted is None else _waited(subject, process, wanted)
        victim.send_signal(number)
        started = time.monotonic()
        code = process.wait(600)
        return f"{what} {delay:.2f} s into {stage}: exit {code} after {time.monotonic() - started:.1f} s"

    return act


def _waited(
    subject: Subject, process: "subprocess.Popen[bytes]", wanted: Callable[[str], bool], patience_s: float = 30
) -> psutil.Process:
    deadline = time.monotonic() + patience_s
    while process.poll() is None and time.monotonic() < deadline:
        found = subject.find(wanted)
        if found is not None:
            return found
        time.sleep(0.05)
    process.wait(600)
    raise NotHitError("there was no such process any more")


def full_disk(subject: Subject, stage: str, random: Random) -> str:
    """Leave no byte free while the stage runs, then give the space back. Needs a file system of the home's own."""
    ballast = subject.home.parent / "ballast"
    if not os.path.ismount(subject.home.parent):
        raise NotHitError("the home lies on no file system of its own (needs the right to mount one)")
    process = subject.start()
    if not subject.wait_for_stage(process, stage):
        code = process.wait(120)
        raise NotHitError(f"the attempt ended with {code} before {stage} ran: {subject.said()}")
    try:
        with ballast.open("wb", buffering=0) as file:
            block = b"\0" * 65536
            while True:
                try:
                    file.write(block)
                except OSError:
                    if len(block) == 1:
                        break
                    block = block[: max(1, len(block) // 16)]
        code = process.wait(600)
    finally:
        ballast.unlink(missing_ok=True)
    said = subject.said(100_000)
    if code == 0:
        return f"no space from the start of {stage}: it needed none any more, exit 0"
    told = "said so" if "no space" in said.lower() else f"without saying so: {said[-300:]}"
    return f"no space from the start of {stage}: exit {code}, {told}"


def _after_kill(then: Callable[[Subject, Random], str], ready: Callable[[Subject], bool] = lambda _: True) -> Act:
    def act(subject: Subject, stage: str, random: Random) -> str:
        killed = kill("killed -9", None, signal.SIGKILL, ready)(subject, stage, random)
        subject.end_all()
        return f"{killed}; then {then(subject, random)}"

    return act


def spoil(pattern: str, how: str) -> Act:
    """Kill the run in the stage, then damage one file that matches `pattern` below the home."""

    def then(subject: Subject, random: Random) -> str:
        files = sorted(path for path in subject.home.glob(pattern) if path.is_file())
        if not files:
            raise NotHitError(f"no file matches {pattern}")
        file = random.choice(files)
        size = file.stat().st_size
        if how == "cut":
            os.truncate(file, size // 2)
        elif how == "emptied":
            os.truncate(file, 0)
        else:
            with file.open("r+b") as handle:
                handle.write(b"\0garbage\xff" * max(1, min(size, 4096) // 9))
        return f"{how}: {file.relative_to(subject.home)} of {size} bytes"

    return _after_kill(then, lambda subject: any(subject.home.glob(pattern)))


def remove(pattern: str) -> Act:
    """Kill the run in the stage, then remove one file that matches."""

    def then(subject: Subject, random: Random) -> str:
        files = sorted(path for path in subject.home.glob(pattern) if path.is_file())
        if not files:
            raise NotHitError(f"no file matches {pattern}")
        file = random.choice(files)
        file.unlink()
        return f"removed {file.relative_to(subject.home)}"

    return _after_kill(then)


def _move(subject: Subject, _random: Random) -> str:
    moved = subject.folder / f"moved-{time.time_ns()}" / "elsewhere" / "seed=7"
    moved.parent.mkdir(parents=True)
    shutil.move(subject.home, moved)
    subject.home = moved
    return "the home moved to another folder"


def _copy(subject: Subject, _random: Random) -> str:
    copied = subject.folder / f"copy-{time.time_ns()}"
    shutil.copytree(subject.home, copied, symlinks=True)
    shutil.rmtree(subject.home)
    subject.home = copied
    return "a copy of the home goes on, the original is gone"


move_home = _after_kill(_move)
copy_home = _after_kill(_copy)


def two_at_once(subject: Subject, stage: str, random: Random) -> str:
    """Start the same command again while it runs: the second must be refused and harm nothing."""
    process = subject.start()
    if not subject.wait_for_stage(process, stage):
        code = process.wait(120)
        raise NotHitError(f"the attempt ended with {code} before {stage} ran")
    log = subject.last_log
    second = subject.finish(120)
    refusal = subject.said(400)
    subject.last_log = log
    first = process.wait(900)
    assert second != 0, "a second run on the same home was let in"
    assert "in use" in refusal, f"the second run was not told why: {refusal}"
    assert first == 0, f"the first run ended with {first}: {subject.said()}"
    return f"a second run during {stage}: refused with exit {second}, the first ended with 0"


def clock_jump(days: float) -> Act:
    """Kill the run in the stage; the next attempt lives `days` away."""

    def act(subject: Subject, stage: str, random: Random) -> str:
        killed = kill("killed -9", None, signal.SIGKILL)(subject, stage, random)
        shift = {"LD_PRELOAD": str(_shifted_clock(subject.notes)), "SHIFTED_CLOCK_S": str(round(days * 86400))}
        elsewhere = subprocess.check_output(["date", "+%s"], env=os.environ | shift, text=True)
        assert abs(int(elsewhere) - time.time() - days * 86400) < 60, "the clock was not shifted"
        code = subject.finish(**shift)
        assert code == 0, f"an attempt {days:+g} days away ended with {code}: {subject.said()}"
        return f"{killed}; the next attempt ran {days:+g} days away and ended with 0"

    return act


def _shifted_clock(folder: Path) -> Path:
    """The library of `shifted_clock.c`. libfaketime is no use: it breaks Python's sleep."""
    library = folder / "shifted_clock.so"
    command = ["cc", "-shared", "-fPIC", "-o", library, Path(__file__).parent / "shifted_clock.c"]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise NotHitError("there is no C compiler (cc)") from None
    return library


TRAINING = "spar_core.training"
SERVER = "prefect server start"


def is_training(line: str) -> bool:
    """A training's process."""
    return TRAINING in line


def is_vllm(line: str) -> bool:
    """A vLLM server's own process."""
    return "vllm.entrypoints" in line and "server_guard" not in line


def is_prefect_server(line: str) -> bool:
    """The home's Prefect server."""
    return "prefect" in line and "server" in line


def is_worker(line: str) -> bool:
    """A Prefect worker."""
    return "prefect worker start" in line


def is_flow_run(line: str) -> bool:
    """The process in which a worker has a flow run."""
    return "prefect.flow_engine" in line or "prefect.engine" in line or "flow-run execute" in line
