"""An alarm for unattended deployments: a Prefect automation that calls a webhook when a night needs a look.

    python -m flows.serving.alarms https://example.org/hook

It fires for flow runs of this project's deployments that failed, crashed, were cancelled, found their home in use, or
did not start in time (no worker). Run it again to change the address. Prefect has blocks for mail, Slack and others:
give the automation another action in its UI.
"""

import sys
from datetime import timedelta
from typing import cast
from uuid import UUID

from prefect import get_client
from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.types import SecretDict
from pydantic import SecretStr

from flows.wiring.runs import SKIPPED

NAME = "spar-alarm"
STATES = ("Failed", "Crashed", "TimedOut", "Cancelled", SKIPPED, "Late")
_TEXT = (
    '{"text": {{ (flow_run.name ~ " of " ~ deployment.name ~ " is " ~ flow_run.state.name ~ ": " ~ '
    'flow_run.state.message) | tojson }}, "flow_run": "{{ flow_run.id }}"}'
)


def set_alarm(url: str) -> Automation:
    """Make the automation, or give it another address."""
    json_alone = SecretDict({"Content-Type": "application/json"})
    block = Webhook(method="POST", url=SecretStr(url), headers=json_alone)
    block_id = cast(UUID, block.save(NAME, overwrite=True))  # Prefect's types allow for its use in a coroutine
    with get_client(sync_client=True) as client:
        for known in client.read_automations_by_name(NAME):
            client.delete_automation(known.id)
    automation = Automation(
        name=NAME,
        description="Tells of nights that failed, were skipped or never started.",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in STATES},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification({"prefect.resource.id": "prefect.tag.spar"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[CallWebhook(block_document_id=block_id, payload=_TEXT)],
    )
    return cast(Automation, automation.create())


if __name__ == "__main__":
    set_alarm(sys.argv[1])
