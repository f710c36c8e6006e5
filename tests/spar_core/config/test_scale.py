import pytest

from spar_core.config.loading import build_config, load_config
from spar_core.config.scale import ScaleConfig
from spar_core.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"scale": {"ray": {"address": "head:6379"}}}, "scale.ray is set, but scale.runner is threads"),
        ({"scale": {"runner": "ray", "ray": {"replicas": 2}}}, "set engine.kind=vllm"),
        (
            {"scale": {"runner": "ray", "ray": {"address": "ray://head:10001"}}},
            "start the command on one of its machines",
        ),
        ({"training": {"launch": {"nodes": 2}}}, "name where they meet"),
    ],
)
def test_what_does_not_fit_together_is_told_with_the_remedy(settings, told):
    with pytest.raises(ConfigError, match=told):
        build_config(settings)


def test_a_ray_cluster_needs_no_meeting_point_and_serves_vllm():
    config = build_config(
        {
            "scale": {"runner": "ray", "ray": {"address": "auto", "replicas": 2}},
            "engine": {"kind": "vllm"},
            "training": {"launch": {"nodes": 2}},
        }
    )
    assert (config.scale.ray.replicas, config.training.launch.nodes) == (2, 2)
    assert load_config("smoke").scale == ScaleConfig()
