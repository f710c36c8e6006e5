"""What the ledger keeps: one frozen record per fact, each a small JSON file."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from spar_core.records import ModelRole

RunState = Literal["running", "waiting", "completed", "failed", "interrupted"]
"""`waiting`: it ended well, further iterations of its configuration are still to be made."""
StageState = Literal["running", "completed", "failed"]
Decision = Literal["first", "promoted", "refused", "unmeasured"]


class Entry(BaseModel):
    """Fields that a newer version adds are left out by an older one."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Activity(Entry):
    """What a run was opened for last, and what became of that; `flow_run` is the id of Prefect's flow run."""

    name: str
    state: RunState
    started: datetime
    ended: datetime | None = None
    detail: str = ""
    flow_run: str | None = None


class Run(Entry):
    """One run. `config` is the whole configuration; a run that was killed says "running" until the home's next use.

    A completed run stays completed, whatever is done with it later: that is its activity. `generation` counts how often
    the run was begun anew, for other results or fewer iterations: stages and models of earlier ones are superseded
    until the run reaches them again.
    """

    run_id: str
    state: RunState
    created: datetime
    ended: datetime | None = None
    config: dict[str, Any]
    activity: Activity | None = None
    generation: int = 0


class StageRun(Entry):
    """What became of one stage in one run. `iteration` is null for stages outside of iterations; rows are null
    until the stage is complete; `seconds` is wall time in this run; `artifact_uri` is relative to the home;
    `collected`: `spar gc` has deleted the artifact since; `made_here`: this run computed it, now or earlier.
    """

    run_id: str
    iteration: int | None
    stage: str
    stage_key: str
    state: StageState
    cached: bool = False
    rows_in: int | None = None
    rows_out: int | None = None
    rows_dropped: int | None = None
    seconds: float | None = None
    artifact_uri: str | None = None
    started: datetime
    ended: datetime | None = None
    detail: str = ""
    collected: bool = False
    generation: int = 0
    made_here: bool = False


class ModelEntry(Entry):
    """A registered model version. `uri` is its folder, relative to the home where it lies inside (`Home.located`);
    `parent_digest` that of the weights training began with; `generation` that of the run when it was registered last,
    null in homes from before."""

    run_id: str
    role: ModelRole
    iteration: int
    name: str
    version: int
    uri: str
    digest: str
    parent_digest: str | None = None
    train_stage_key: str | None = None
    generation: int | None = None


class Promotion(Entry):
    """What the gate decided on one model version, and why.

    `first`: no champion of the lineage stood against it. `unmeasured`: there was nothing to compare it by.
    Figures are over the `n` items both were measured on, `difference` is candidate minus champion, paired, with its
    95 % interval. `stage_key` is that of the candidate's measurement.
    """

    run_id: str
    iteration: int
    role: ModelRole
    version: int
    champion_version: int | None = None
    lineage: str
    metric: str
    value: float | None = None
    champion_value: float | None = None
    difference: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    decision: Decision
    reason: str
    time: datetime
    stage_key: str | None = None


class Start(Entry):
    """The models that an iteration began with, by digest; kept so that resuming it goes on from the same.

    `start_from`: `champion`, those of the lineage at that time; `last`, those of the iteration before as they are now.
    Of iteration 0 it is kept where the configuration names the models by an alias, which moves: `named` says how.
    `flow_run`: id of Prefect's flow run that took it up last.
    """

    run_id: str
    iteration: int
    start_from: Literal["last", "champion"] = "champion"
    named: str = ""
    flow_run: str | None = None
    actor: str
    refiner: str


class Spent(Entry):
    """What a run has cost so far, over all its starts: tokens that models read and wrote for it, its seconds, and these
    times the GPUs it held."""

    run_id: str
    read: int = 0
    written: int = 0
    seconds: float = 0.0
    gpu_seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.read + self.written


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)
