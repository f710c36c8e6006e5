"""What whoever opens an engine knows of it: the model's digest, its neighbours, where its files go, when to give up."""

import threading
from pathlib import Path
from typing import NamedTuple

from spar_core.config.scale import RayConfig
from spar_core.engines.placement import ALONE, Seat


class Opening(NamedTuple):
    """How an engine is opened; the defaults suit an engine that somebody opens by hand.

    Fields:
        digest: content digest of the model where it is known; None: the weights are read to make it.
        seat: its place among the models that are loaded at the same time.
        logs: folder for the logs of servers; None: the system's folder for temporary files.
        records: folder in which running servers are noted, so that orphans are found; None: beside the log.
        host: address of this machine on which servers listen.
        cluster: the Ray cluster that this process has joined, where servers are started there; None: on this machine.
        abandoned: set by somebody who no longer wants the engine: a start under way ends at once.
    """

    digest: str | None = None
    seat: Seat = ALONE
    logs: Path | None = None
    records: Path | None = None
    abandoned: threading.Event | None = None
    host: str = "127.0.0.1"
    cluster: RayConfig | None = None


BY_HAND = Opening()
