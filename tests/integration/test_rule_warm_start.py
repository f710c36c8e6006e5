"""Rules as the teacher, for real: the embedded base before and after, measured with the truth on the same items."""

import json
from pathlib import Path
from typing import Any

import pytest

from spar_core.evaluation.comparison import Observation, paired_change
from tests.integration.command_line import spar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SETTINGS = (
    "warm_start.refiner_examples=1200",
    "evaluation.prompts=500",
    "evaluation.samples=1",
    "evaluation.refiner_items=500",
    "evaluation.calibration_items=0",
    "method.search.node_budget=1",
    "method.search.branch=1",
)
FIXES = "SELECT response_id, cluster_id, value FROM eval_items WHERE metric = 'fix'"
JUDGE = "SELECT ci_low, ci_high FROM eval_scores WHERE metric = 'judge_balanced_accuracy'"


def measured(home: Path, source: str) -> Path:
    settings = [part for setting in (*SETTINGS, f"warm_start.source={source}") for part in ("--set", setting)]
    done = spar("run", "--preset", "starter", "--iterations", "0", "--home", home, *settings, timeout=1200)
    assert done.returncode == 0, done.stderr
    return home


def asked(home: Path, query: str) -> list[dict[str, Any]]:
    found = spar("sql", "--home", home, query, "--json")
    assert found.returncode == 0, found.stderr
    rows: list[dict[str, Any]] = json.loads(found.stdout)
    return rows


def test_a_refiner_taught_by_rules_judges_and_mends_better(tmp_path: Path) -> None:
    before, after = measured(tmp_path / "before", "none"), measured(tmp_path / "after", "rules")
    (judged,), (judges,) = asked(before, JUDGE), asked(after, JUDGE)
    assert judges["ci_low"] > judged["ci_high"]
    fixes = [
        [Observation(row["response_id"], row["cluster_id"], row["value"]) for row in asked(home, FIXES)]
        for home in (before, after)
    ]
    change = paired_change(*fixes)  # of one rewrite each
    assert change is not None
    assert change.n == len(fixes[0]) == len(fixes[1]) > 200
    assert change.value > 0, change
