"""Which stages leave the process of the run."""

from pathlib import Path
from typing import Any

import pytest

from spar_core.config.scale import ScaleConfig
from spar_core.engines.configuration import (
    EngineConfig,
    OpenAIEngineConfig,
    ScriptedEngineConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from tasks.calls import StageCall, Surroundings
from tasks.runners import ShardRunner

SERVERS = OpenAIEngineConfig(base_urls=("http://a/v1",), model="m")


def call(home: Path, runner: Any, *engines: EngineConfig) -> StageCall:
    named = {str(number): engine for number, engine in enumerate(engines)}
    where = Surroundings(scale=ScaleConfig(runner=runner))
    return StageCall("stage", 1, str(home), "run", iteration=None, seed=0, engines=named, surroundings=where)


@pytest.mark.parametrize(
    ("engines", "away"),
    [
        ((), True),
        ((TransformersEngineConfig(), ScriptedEngineConfig(script="a:b")), True),
        ((VllmEngineConfig(),), False),
        ((TransformersEngineConfig(), SERVERS), False),
    ],
)
def test_on_ray_all_leave_but_those_that_ask_servers(tmp_path, engines, away):
    assert ShardRunner(call(tmp_path, "ray", *engines)).away is away
    assert ShardRunner(call(tmp_path, "ray", *engines), stays=True).away is False
    assert ShardRunner(call(tmp_path, "threads", *engines)).away is False


def test_where_a_stage_is_computed_is_not_in_its_key(tmp_path):
    assert call(tmp_path, "ray").key == call(tmp_path, "threads").key


def test_shards_that_leave_wait_at_the_cluster_and_others_follow_the_servers(tmp_path):
    assert ShardRunner(call(tmp_path, "ray")).at_once > 2  # no engine of this process says what a cluster bears
    assert ShardRunner(call(tmp_path, "threads")).at_once == "auto"
