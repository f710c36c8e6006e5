"""Kill -9 while trees are asked ahead of their stage: the same result, and no answer that was kept is asked again."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from storage.artifacts import ArtifactStore
from storage.home import Home
from tests.integration.command_line import environment
from tests.integration.journals import journaled_keys

Asked = list[tuple[str, str]]
SHARDS, REQUESTS = 3, 4  # under way at once: of a stage, and for each
LOST = SHARDS * REQUESTS + 2 * SHARDS * REQUESTS  # by two kills; at the second, shards and what is asked ahead of them
MODEL = "refiner"  # the digest under which the journals hold the requests of judges and rewrites


class Iteration:
    """One iteration's data on one home; `asked` is what the model was asked, in order: (kind, key)."""

    def __init__(self, folder: Path, server: str, name: str) -> None:
        self.home = Home(folder / name)
        self._log = folder / f"{name}.log"
        prompts = folder / "prompts.jsonl"
        prompts.write_text("".join(f'{{"prompt": "Name {number} birds."}}\n' for number in range(12)), encoding="utf-8")
        self._command = [sys.executable, "-m", "tests.integration.overlapped_iteration", str(self.home.root)]
        self._command.append(f"prompts.path={prompts}")
        self._environment = environment(PREFECT_API_URL=server, SCRIPT_LOG=str(self._log), SCRIPT_MODEL=MODEL)

    def completed(self, *settings: str) -> dict[str, tuple[str, str]]:
        """Run to the end; key and content of every artifact, by stage."""
        command = [*self._command, *settings]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=560, check=False)
        assert done.returncode == 0, done.stderr
        whole, damaged = ArtifactStore(self.home).scan(verify=True)
        assert not damaged
        return {entry.ref.stage: (entry.ref.stage_key, entry.ref.content_digest) for entry in whole}

    def killed_when(self, reached: Callable[[], bool], latency: float) -> None:
        """Start, wait until it has come so far, kill -9. `latency`: seconds of each request."""
        process = subprocess.Popen(
            [*self._command, f"engine.latency_s={latency}"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            while not reached() and process.poll() is None:
                time.sleep(0.01)
        finally:
            process.kill()
            _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors  # 0: it ended before it could be killed

    def asks(self, kind: str) -> int:
        return sum(1 for name, _ in self.asked if name == kind)

    def has(self, stage: str) -> bool:
        """Whether the artifact of a stage is there."""
        return any(self.home.artifacts.glob(f"stage={stage}/*/manifest.json"))

    @property
    def asked(self) -> Asked:
        if not self._log.exists():
            return []
        lines = self._log.read_text(encoding="utf-8").splitlines(keepends=True)
        return [(kind, key) for kind, key in (line.split() for line in lines if line.endswith("\n"))]

    def forget(self) -> Asked:
        """What was asked; from now on nothing was."""
        found = self.asked
        self._log.unlink()
        return found

    @property
    def journaled(self) -> set[str]:
        return journaled_keys(self.home.journal)


@pytest.mark.timeout(900)
def test_killed_while_trees_are_asked_ahead_and_while_their_stage_takes_over(prefect_server, tmp_path):
    calm = Iteration(tmp_path, prefect_server, "calm")
    expected = calm.completed("orchestration.overlap=false")
    assert {"responses", "judgements", "negatives", "trees", "pairs"} <= set(expected)

    for latency in (0.1, 0.5, 2.0):  # where the machine stalls a kill comes too late: a slower model leaves more time
        killed = Iteration(tmp_path, prefect_server, f"killed-{latency}")
        killed.killed_when(partial(_asks_rewrites, killed), latency)
        if killed.has("judgements"):
            continue  # else these were asked ahead
        kept, first = killed.journaled, killed.forget()
        killed.killed_when(partial(_asks_rewrites, killed, "negatives"), latency)
        if not killed.has("trees"):
            break
    else:
        pytest.fail("no kill came in time")
    assert {key for kind, key in first if kind == "refine"} & kept
    assert kept.isdisjoint(key for _, key in killed.asked)
    kept |= killed.journaled
    second = killed.forget()

    assert killed.completed() == expected
    third = killed.asked
    assert kept.isdisjoint(key for _, key in third)
    assert {*first, *second, *third} == set(calm.asked)
    assert len(first) + len(second) + len(third) <= len(calm.asked) + LOST
    assert not list(killed.home.journal.rglob("*.sqlite"))


def _asks_rewrites(iteration: Iteration, after: str | None = None) -> bool:
    return (after is None or iteration.has(after)) and iteration.asks("refine") >= 4
