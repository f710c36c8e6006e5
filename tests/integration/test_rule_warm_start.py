"""Rules as the teacher, for real: the embedded base before and after, measured with true fixes on the same items."""

import json
from pathlib import Path

import pytest

from spar_core.evaluation.comparison import Observation, paired_change
from tests.integration.command_line import spar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SETTINGS = (
    "--preset", "starter", "--iterations", "0",
    "--set", "warm_start.refiner_examples=2400",
    "--set", "evaluation.prompts=500", "--set", "evaluation.samples=1",
    "--set", "evaluation.refiner_items=500", "--set", "evaluation.calibration_items=0",
    "--set", "method.search.node_budget=1", "--set", "method.search.branch=1",
)  # fmt: skip
FIXES = "SELECT item_id, response_id, cluster_id, value FROM eval_items WHERE metric = 'fix' AND run_id = '{}'"


def fixes(home: Path, source: str) -> list[Observation]:
    done = spar("run", "--home", home, "--run-id", source, *SETTINGS, "--set", f"warm_start.source={source}", "--json")
    assert done.returncode == 0, done.stderr
    found = spar("sql", "--home", home, FIXES.format(source), "--json")
    assert found.returncode == 0, found.stderr
    rows = json.loads(found.stdout)
    return [Observation(row["response_id"] or row["cluster_id"], row["cluster_id"], row["value"]) for row in rows]


def test_a_refiner_taught_by_rules_mends_more_with_one_rewrite(tmp_path: Path) -> None:
    before, after = fixes(tmp_path, "none"), fixes(tmp_path, "rules")
    change = paired_change(before, after)
    assert change is not None
    assert change.n == len(before) == len(after) > 200
    assert change.ci_low > 0, change
