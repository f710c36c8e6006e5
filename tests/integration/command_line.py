"""The `spar` command line as a user runs it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPT = "tests.integration.scripted_model:answer"
SCRIPTED = ("--set", "engine.kind=scripted", "--set", f"engine.script={SCRIPT}")


def environment(**extra: str) -> dict[str, str]:
    """This process's, but for what it knows of Prefect: a run starts a server of its own unless it is given one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **extra}


def spar(*arguments: str | Path, timeout: float = 560, **extra: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout, env=environment(**extra), check=False
    )


def started(*arguments: str | Path, **extra: str) -> "subprocess.Popen[str]":
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(*arguments), env=environment(**extra), start_new_session=True, **pipes)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "flows", *map(str, arguments)]
