"""Night after night with `spar gc` in between: the disk stays flat, kept models have their data, runs resume.

SPAR_GC_NIGHTS says how many (default 5); what each night left on the disk is logged (`--log-cli-level=INFO`).
"""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.cli import invoke
from flows.wiring.request import RunRequest
from storage.catalog import open_catalog
from storage.home import Home
from storage.ledger import Ledger
from tests.integration.command_line import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
_log = logging.getLogger(__name__)
NIGHTS = int(os.environ.get("SPAR_GC_NIGHTS", "5"))
KEPT = 2
CHAMPIONS = 2  # nights at most that the champions of both roles keep besides
# Smaller than smoke: what counts is that every stage writes what it writes, and that models are trained.
SMALL = ["prompts.per_iteration=8", "evaluation.prompts=8", "evaluation.refiner_items=4"]
SMALL += ["evaluation.calibration_items=4", "warm_start.actor_examples=16", "warm_start.refiner_examples=16"]
SMALL += [f"training.{name}.max_steps=1" for name in ("actor", "refiner", "warm_start_actor", "warm_start_refiner")]
_NIGHT = """
import sys
from flows.wiring.request import RunRequest
from flows.wiring.session import session
request = RunRequest.model_validate_json(sys.argv[1])
with session(request.resolve().home, "night", quiet=True):
    from flows.self_play import iteration
    iteration(request)
"""


def _night(request: RunRequest) -> None:
    """As a worker does it, without a server of its own."""
    from flows.wiring.session import session

    run = request.resolve()
    with session(run.home, "night", quiet=True):
        from flows.self_play import iteration

        iteration(request)
    Ledger(run.home).close_run(run.run_id, "completed")


def _collect(home: Home) -> None:
    options = ("--keep-runs", "1", "--keep-days", "0", "--keep-models", str(KEPT))
    assert invoke(["gc", "--home", str(home.root), *options, "--delete"]) == 0


def _bytes(*tops: Path) -> int:
    files = (path for top in tops if top.is_dir() for path in top.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


def test_nights_leave_the_disk_flat(tmp_path: Path, prefect_server: str) -> None:
    home = Home(tmp_path / "home")
    request = RunRequest(preset="smoke", overrides=SMALL, home=str(home.root))
    sizes = []
    for number in range(1, NIGHTS + 1):
        started = time.monotonic()
        _night(request)
        grown = _bytes(home.artifacts)
        _collect(home)
        sizes.append(_bytes(home.artifacts, home.work, home.journal, home.logs))
        databases = _bytes(home.mlflow, home.prefect, home.runs)
        figures = tuple(round(size / 2**20, 2) for size in (grown, sizes[-1], databases))
        seconds = time.monotonic() - started
        _log.info("night %d: %.0f s; artifacts %.2f MiB, collected %.2f, databases %.2f", number, seconds, *figures)
    one = sizes[0] / 2  # the start and the first night
    assert max(sizes) < 1.1 * (1 + KEPT + CHAMPIONS) * one
    _check_kept_models(home, [0, *range(NIGHTS - KEPT + 1, NIGHTS + 1)])

    _killed_night(request, home)
    before = {stage.stage_key for stage in Ledger(home).stages() if stage.iteration == NIGHTS + 1}
    _collect(home)
    _night(request)
    resumed = {s.stage: s for s in Ledger(home).stages() if s.iteration == NIGHTS + 1}
    assert resumed["responses"].cached
    assert before <= {stage.stage_key for stage in resumed.values()}
    assert resumed["train_actor"].state == "completed"


def _check_kept_models(home: Home, iterations: list[int]) -> None:
    """Every kept model can be asked for its data; of the others, the scores are left."""
    with open_catalog(home) as catalog:
        models = catalog.rows("SELECT iteration, uri, train_stage_key FROM models WHERE role = 'actor' ORDER BY 1")
        kept = [row["iteration"] for row in models if home.located(row["uri"]).is_dir()]
        assert set(iterations) <= set(kept)  # and those of champions in between
        assert len(kept) <= len(iterations) + CHAMPIONS
        for number in kept:
            (row,) = catalog.rows(
                "SELECT (SELECT count(*) FROM tree_votes WHERE iteration = $1) AS votes,"
                " (SELECT count(*) FROM preference_pairs WHERE iteration = $1) AS pairs,"
                " (SELECT count(*) FROM refiner_examples WHERE iteration = $1) AS examples",
                [number],
            )
            assert row["examples"] > 0
            assert number == 0 or (row["votes"] > 0 and row["pairs"] > 0)
        measured = catalog.rows("SELECT DISTINCT iteration FROM eval_scores ORDER BY 1")
        assert [row["iteration"] for row in measured] == list(range(NIGHTS + 1))


def _killed_night(request: RunRequest, home: Home) -> None:
    """Kill -9 in the middle of one more night, with answers committed and judgements under way."""
    command = [sys.executable, "-c", _NIGHT, request.model_dump_json()]
    server = {name: value for name, value in os.environ.items() if name.startswith("PREFECT_")}
    process = subprocess.Popen(command, env=environment(**server), start_new_session=True)
    deadline = time.monotonic() + 240
    try:
        while process.poll() is None and time.monotonic() < deadline:
            done = {s.stage for s in Ledger(home).stages() if s.iteration == NIGHTS + 1 and s.state == "completed"}
            if "responses" in done:
                break
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert "responses" in done
    run = Ledger(home).run(request.resolve().run_id)  # complete since its first night, and stays so
    assert run.activity is not None
    assert run.activity.state == "running"
