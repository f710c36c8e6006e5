"""A real Slurm of two machines on this one: its own daemons, configuration and keys, below one folder."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spar_core.ports import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
NODES = ("n1", "n2")
PATIENCE_S = 300
_CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=30
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """Programs of Slurm that are not on this machine."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


@contextmanager
def running_cluster(folder: Path) -> Iterator[None]:
    """Slurm's daemons, and `SLURM_CONF` pointing at them, for the time of the block."""
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    text = _CONFIGURATION.format(host=socket.gethostname(), port=free_port(), user=getpass.getuser(), folder=folder)
    for name in NODES:
        (folder / f"spool.{name}").mkdir()
        text += f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={free_port()} CPUs=2\n"
    (folder / "state").mkdir()
    (folder / "slurm.conf").write_text(text)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    munge = [f"--{name}={folder}/munge.{suffix}" for name, suffix in (("key-file", "key"), ("socket", "socket"))]
    munge += [f"--{name}={folder}/munge.{name}" for name in ("pid-file", "log-file", "seed-file")]
    daemons = []
    for command in (
        ["munged", "--force", "--foreground", *munge],
        ["slurmctld", "-D"],
        *(["slurmd", "-D", "-N", name] for name in NODES),
    ):
        with (folder / "daemons.log").open("ab") as log:
            path = f"{os.environ['PATH']}:/usr/sbin"
            daemons.append(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PATH": path}))
        if command[0] == "munged":
            await_that(lambda: (folder / "munge.socket").exists())
    try:
        await_that(lambda: asked("sinfo", "--noheader", "--format=%t %D").strip() == "idle 2")
        yield
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)
        del os.environ["SLURM_CONF"]


def asked(*command: str) -> str:
    """What one of Slurm's commands prints."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def state(job: str) -> str:
    """State of a job, such as RUNNING."""
    shown = asked("scontrol", "show", "job", job)
    return shown.partition("JobState=")[2].partition(" ")[0]


def ended(job: str, patience_s: float) -> str:
    """State of a job once it is over."""
    await_that(lambda: state(job) not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"), patience_s)
    return state(job)


def await_that(there: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not there():
        assert time.monotonic() < deadline, f"not in time; {asked('scontrol', 'show', 'job')}"
        time.sleep(0.2)
