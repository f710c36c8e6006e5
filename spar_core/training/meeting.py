"""Several machines, one run: the first drives it, the others join its trainings as they come.

They share one folder. In it the first keeps `run` (that it is there, or how it ended) and, while a training runs,
`training` (what to start). Torch's rendezvous then brings the processes together.
"""

import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.errors import TrainingError
from spar_core.training.commands import command, environment
from spar_core.training.process_group import stop_group
from spar_core.training.specification import TrainingSpec

NODE_VARIABLES = ("SPAR_NODE_RANK", "SLURM_NODEID")
"""Environment variables that say which machine this is; the first that is set counts."""
_LAUNCH_VARIABLES = ("SLURM_JOB_ID", "SLURM_STEP_ID")  # together they name one `srun`, until its job is queued again
_RESTARTS_VARIABLE = "SLURM_RESTART_COUNT"  # unset in a job that was not
_BEAT_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 30.0  # processes whose training ended elsewhere end by themselves, mostly
_RUNNING, _DONE, _FAILED = "running", "done", "failed"


class Patience(NamedTuple):
    """How long silence of the first machine is borne, in seconds."""

    while_training: float = 120.0
    """Then what was joined is ended: its peers are gone."""
    altogether: float = 3600.0
    """Then waiting ends; it also covers the time in which the first machine is not started yet."""


_PATIENCE = Patience()


def node_rank() -> int:
    """Which of several machines this is; 0 drives the run.

    Raises:
        TrainingError: the environment variable holds no number.
    """
    for name in NODE_VARIABLES:
        value = os.environ.get(name, "")
        if value:
            if not value.isdigit():
                raise TrainingError(f"{name} is {value!r}; it must be the number of this machine: 0, 1, 2, ...")
            return int(value)
    return 0


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """While a run goes on, tell the other machines so; then, how it ended."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training").unlink(missing_ok=True)  # of a run that was killed
    ended, token = threading.Event(), uuid.uuid4().hex

    def beat() -> None:
        count = 0
        while not ended.wait(_BEAT_SECONDS if count else 0):
            count += 1
            with suppress(OSError):  # of a shared disk, for a moment; the next beat tells as much
                _put(folder / "run", {"state": _RUNNING, "token": token, "beat": count})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    state = _FAILED
    try:
        yield
        state = _DONE
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):  # the run's own end is what is told here; the others go by the silence
            _put(folder / "run", {"state": state, "token": token, "launch": _launch()})


@contextmanager
def invited(folder: Path, spec_file: Path, identity: str) -> Iterator[str]:
    """While a training runs, have the other machines join it; yields the name of this try."""
    folder.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    _put(folder / "training", {"spec": str(spec_file), "identity": identity, "token": token})
    try:
        yield token
    finally:
        (folder / "training").unlink(missing_ok=True)


def join_trainings(folder: Path, node: int, say: Callable[[str], None], patience: Patience = _PATIENCE) -> None:
    """Join every training of a run until the run has ended.

    Args:
        folder: what `driving` and `invited` write to, on the first machine.
        node: which machine this is, from 1.
        say: receives what happens, a line each.
        patience: with a first machine that says nothing.

    Raises:
        TrainingError: the run failed, or nothing was heard of the first machine for too long.
    """
    follower = _Follower(folder, patience)
    joined: set[str] = set()
    while (state := follower.look()) == _RUNNING:
        found = _read(folder / "training")
        if found and found["token"] not in joined:
            joined.add(found["token"])
            _join(found, node, follower, say)
        time.sleep(_LOOK_SECONDS)
    if state == _FAILED:
        raise TrainingError("the run ended on the first machine without finishing; it says why. Start it again on all.")
    say("the run is finished")


class _Follower:
    """What is known of the first machine; time is told by this machine's own clock."""

    def __init__(self, folder: Path, patience: Patience) -> None:
        self._folder = folder
        self._patience = patience
        self._found = _read(folder / "run")
        # What an earlier run has left is not what this one will say; one of the same launch was just faster.
        ours = _launch() is not None and self._found.get("launch") == _launch()
        self._stale = None if ours or self._found.get("state") == _RUNNING else self._found.get("token")
        self._heard = time.monotonic()

    def look(self) -> str:
        """State of the run.

        Raises:
            TrainingError: nothing new for too long.
        """
        found = _read(self._folder / "run")
        if found and found != self._found:
            self._found, self._heard = found, time.monotonic()
        if self.silent_for() > self._patience.altogether:
            raise TrainingError(
                f"nothing was heard of the first machine for {self._patience.altogether / 60:.0f} minutes (in "
                f"{self._folder}): start the same command there, with the same home."
            )
        if not self._found or self._found["token"] == self._stale:
            return _RUNNING
        return str(self._found["state"])

    def silent_for(self) -> float:
        """Seconds since the first machine last wrote something new."""
        return time.monotonic() - self._heard

    def still_wants(self, token: str) -> bool:
        """Whether this try of a training still runs over there."""
        self.look()
        return _read(self._folder / "training").get("token") == token and (
            self.silent_for() <= self._patience.while_training
        )


def _join(found: dict[str, Any], node: int, follower: _Follower, say: Callable[[str], None]) -> None:
    """Run this machine's part of one training; returns when it has ended, well or not."""
    try:
        spec = TrainingSpec.model_validate_json(Path(found["spec"]).read_text(encoding="utf-8"))
    except FileNotFoundError:  # over already
        return
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{found['spec']}, which the first machine wrote, cannot be read here ({error}); install the same version "
            "of spar on all machines and start the command again on this one."
        ) from error
    log = spec.log.with_name(f"{spec.log.stem}.node{node}{spec.log.suffix}")
    say(f"joining {spec.label}; log: {log}")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command(spec, found["identity"], Path(found["spec"]), node, found["token"]),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(spec),
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                if not follower.still_wants(found["token"]):
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_GRACE_SECONDS)
                    if not follower.still_wants(found["token"]):  # the disk may have failed for a moment
                        break
                time.sleep(_LOOK_SECONDS)
        finally:
            stop_group(process)
    say(f"{spec.label} ended here" if process.returncode == 0 else f"{spec.label} broke off; waiting for the next try")


def _launch() -> str | None:
    """Names the one command that started this process on all machines; None where nothing does."""
    values = [os.environ.get(name, "") for name in _LAUNCH_VARIABLES]
    return ".".join([*values, os.environ.get(_RESTARTS_VARIABLE, "0")]) if all(values) else None


def _put(file: Path, content: dict[str, Any]) -> None:
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(file)


def _read(file: Path) -> dict[str, Any]:
    """What lies there; nothing while there is nothing."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
