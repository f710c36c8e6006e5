"""What a stage shows in a real Prefect server: the assets it made and read, and its page."""

import time
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
)
from prefect.events import Event
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

from spar_core.hashing import digest
from storage.addresses import known_port
from tasks.engines import ModelRef
from tests.tasks.stage_bench import Bench

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home")


def test_prefect_shows_what_a_stage_was_made_from(bench):
    cut = bench.run(bench.split)
    model = ModelRef("f00d", str(cut.folder / "model"))  # as if that stage had trained it
    other = ModelRef("a server's own name", "/elsewhere/base")
    call = bench.call(bench.double, {"prompts": cut}, {"actor": model, "refiner": other})
    doubled = bench.run_call(bench.double, call)
    bench.run_call(bench.double, call)  # cached: the asset is not told to be made again
    mine = f"spar://{bench.home.identity}/artifacts"
    named = f"spar://{bench.home.identity}/models/{digest(other.digest)}"  # an asset's key holds no such text
    made = materialisations(f"{mine}/double/{doubled.stage_key}")
    assert [sorted(made_from(event)) for event in made] == [sorted([f"{mine}/cut/{cut.stage_key}", named, "spar"])]
    here = f":{known_port(bench.home, 'view')}/runs/run/1"
    pages = [page for page in markdown("stage-double-1-run") if here in page]
    assert pages  # of the stage as it was made, and as it was cached
    page = pages[-1]
    assert "| rows in | 7 |" in page
    assert f"`{doubled.content_digest}`" in page
    assert f"cut `{cut.stage_key[:12]}`" in page


def materialisations(key: str) -> list[Event]:
    """How often an asset was made, as soon as the server has it from events."""
    wanted = EventFilter(
        event=EventNameFilter(name=["prefect.asset.materialization.succeeded"]), resource=EventResourceFilter(id=[key])
    )
    for _ in range(100):
        with get_client(sync_client=True) as client:
            found = client.read_events(filter=wanted, limit=50).events
        if found:
            return list(found)
        time.sleep(0.2)
    return []


def made_from(event: Event) -> list[str]:
    return [related.id for related in event.related if related.role.startswith("asset")]


def markdown(key: str) -> list[str]:
    """Every home of this module has a stage of that name."""
    with get_client(sync_client=True) as client:
        chosen = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        return [str(artifact.data) for artifact in client.read_artifacts(artifact_filter=chosen)]
