"""docs/method.md names every difference between `profile: paper` and our defaults, with true values, and no other."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from spar_core.config.loading import build_config

_PAGE = Path(__file__).parents[3] / "docs" / "method.md"
_ROW = re.compile(r"^\| `(?P<key>[\w.]+)` \| `(?P<published>[^`]+)` \| `(?P<ours>[^`]+)` \| (?P<why>\S.*) \|$")


def named() -> dict[str, tuple[Any, Any]]:
    """Published value and ours by key, as the table states them."""
    section = _PAGE.read_text("utf-8").split("## Published choice, our default", 1)[1].split("\n#", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    rows = [_ROW.match(line) for line in lines]
    assert [line for line, row in zip(lines, rows, strict=True) if row is None] == []
    return {row["key"]: (yaml.safe_load(row["published"]), yaml.safe_load(row["ours"])) for row in rows if row}


def flat(config: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Every key with its value, also those that a dump leaves out where nothing is said."""
    found: dict[str, Any] = {}
    for key in type(config).model_fields:
        value = getattr(config, key)
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, BaseModel) else {prefix + key: value}
    return found


def test_the_paper_profile_differs_from_ours_in_the_rows_of_the_table_alone_and_each_row_is_true() -> None:
    ours, paper = (flat(build_config({"profile": name})) for name in ("ours", "paper"))
    differing = {key: (paper[key], ours[key]) for key in ours if paper[key] != ours[key]}
    assert differing.pop("profile") == ("paper", "ours")
    assert paper.keys() == ours.keys()
    assert named() == differing


def test_a_section_the_profile_sets_in_part_keeps_the_defaults_of_its_place() -> None:
    # warm starts have other defaults than the class they share with the refiner's training
    training = build_config({"profile": "paper"}).training
    default = build_config({}).training
    for name in ("warm_start_actor", "warm_start_refiner"):
        changed = {"loss_turns": "all", "overlong": "truncate"}
        assert getattr(training, name) == getattr(default, name).model_copy(update=changed)
    assert (training.warm_start_actor.learning_rate, training.warm_start_actor.schedule) == (
        2e-6,
        "constant_with_warmup",
    )
    assert (
        build_config({"training": {"warm_start_actor": {"epochs": 1}}}).training.warm_start_actor.learning_rate == 2e-6
    )
