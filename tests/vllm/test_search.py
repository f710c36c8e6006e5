"""`spar search` through a real vLLM server finds trees of the same truth as the in-process engine."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from spar_core.engines.vllm_server import VllmServer
from spar_core.evaluation.truth import is_right
from spar_core.records import Prompt
from spar_core.starter.world import generate_prompts
from tests.vllm.vllm_environment import needs_vllm

PROMPTS = 80

pytestmark = needs_vllm(1800)


class Truth(NamedTuple):
    """What a search came to: answers right at once, trees, and the shares accepted and truly fixed of them."""

    right: float
    trees: int
    accepted: float
    fixed: float


@pytest.fixture(scope="module")
def prompts() -> dict[str, Prompt]:
    return {prompt.text: prompt for prompt in generate_prompts(PROMPTS, 3, "dev")}


def search(folder: Path, prompts: dict[str, Prompt], reference: str) -> Truth:
    rows = folder / "prompts.jsonl"
    rows.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts), encoding="utf-8")
    command = [sys.executable, "-m", "flows", "search", "--json", "--preset", "starter", "--home", str(folder / "home")]
    command += ["--prompts", str(rows), "--out", str(folder / "out"), "--set", "method.responses.per_prompt=1"]
    subprocess.run([*command, "--actor", reference, "--refiner", reference], check=True, stdout=subprocess.DEVNULL)
    texts = {row["prompt_id"]: row["text"] for row in pq.read_table(folder / "out" / "prompts.parquet").to_pylist()}
    answers = pq.read_table(folder / "out" / "responses.parquet").to_pylist()
    trees = pq.read_table(folder / "out" / "trees.parquet").to_pylist()
    nodes = {row["node_id"]: row for row in pq.read_table(folder / "out" / "tree_nodes.parquet").to_pylist()}
    accepted = [tree for tree in trees if tree["accepted_node_id"] is not None]
    fixed = [
        is_right(prompts[texts[tree["prompt_id"]]], nodes[tree["accepted_node_id"]]["response"]) for tree in accepted
    ]
    right = [is_right(prompts[texts[row["prompt_id"]]], row["text"]) for row in answers]
    return Truth(sum(right) / len(right), len(trees), len(accepted) / len(trees), sum(fixed) / len(trees))


def test_trees_through_the_server_are_as_true_as_in_process(
    starter_server: VllmServer,
    prompts: dict[str, Prompt],
    tmp_path_factory: pytest.TempPathFactory,
    record_property: Callable[[str, object], None],
) -> None:
    served = search(tmp_path_factory.mktemp("served"), prompts, starter_server.base_url)
    local = search(tmp_path_factory.mktemp("local"), prompts, "starter")
    record_property("served", served)
    record_property("in_process", local)
    assert min(served.trees, local.trees) >= 20
    assert min(served.fixed, local.fixed) >= 0.4
    # Samples differ, as the two draw differently; with some 50 trees each the standard error of a difference is
    # about 0.09, so 0.25 is more than two and a half of them.
    assert abs(served.right - local.right) <= 0.25
    assert abs(served.accepted - local.accepted) <= 0.25
    assert abs(served.fixed - local.fixed) <= 0.25
