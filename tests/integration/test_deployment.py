"""The shipped deployments on a real server: what prefect.yaml promises."""

import pytest

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def found(deployed):
    from prefect import get_client

    with get_client(sync_client=True) as client:
        return {entry.name: entry for entry in client.read_deployments()}


def test_every_deployment_of_prefect_yaml_is_accepted(found):
    assert set(found) == {"self-play", "iteration", "evaluation", "experiment"}
    assert {entry.work_pool_name for entry in found.values()} == {"local"}
    (schedule,) = found["iteration"].schedules
    assert (schedule.schedule.cron, schedule.active) == ("0 2 * * *", True)
    assert not found["self-play"].schedules


def test_overlapping_runs_of_a_deployment_are_cancelled_not_queued(found):
    for entry in found.values():
        assert entry.global_concurrency_limit.limit == 1
        assert entry.concurrency_options.collision_strategy == "CANCEL_NEW"


def test_the_iteration_says_whether_it_ever_ends(found):
    assert found["iteration"].parameters["until_complete"] is False
    assert "until_complete" in found["iteration"].parameter_openapi_schema["properties"]
