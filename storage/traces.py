"""Work as MLflow traces: a tree of steps, each with what went in and what came out.

A trace has an id of its own content, so that it is logged once however often it is asked for. Steps have no times of
their own: they are spread evenly over the time given, in their order.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from spar_core.hashing import digest
from storage.home import Home
from storage.mlflow_store import connect, experiment_id, mlflow_errors, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Span

StepKind = Literal["AGENT", "LLM", "EVALUATOR", "CHAIN"]
_PREVIEW = 400  # characters of the list of traces
_TEXT = 20_000  # characters of a value: a trace is read by people
_STEP_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name, its kind (a span type of MLflow), what went in and came out, and the steps within it."""

    name: str
    kind: StepKind
    given: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    within: tuple["Step", ...] = ()
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace to log. `identity` (no quotes in it) tells it from all others of the home; `tags` are searched for."""

    identity: str
    step: Step
    begun: datetime
    seconds: float
    tags: Mapping[str, str] = field(default_factory=dict)


class _Placed(NamedTuple):
    step: Step
    parent: int | None
    first: int
    """Number of the step, in order, from 0."""
    last: int
    """Number of the last step within it."""


class Traces:
    """The traces of one home's experiment in MLflow."""

    def __init__(self, home: Home) -> None:
        from mlflow.tracing.client import TracingClient

        self._home = home
        self._experiment = experiment_id(connect(home), home)
        self._client = TracingClient(tracking_uri(home))

    def log(self, trace: Trace, mlflow_run: str | None = None) -> str:
        """Log a trace, below an MLflow run if one is given; returns its id. One that is there is left as it is.

        Raises:
            StorageError: the database fails.
        """
        from mlflow.entities import TraceInfo, TraceLocation, TraceState

        number = int(digest(["trace", trace.identity])[:32], 16)
        trace_id = f"tr-{number:032x}"
        root = trace.step
        with mlflow_errors(self._home):
            if self._is_there(trace.identity):
                return trace_id
            info = TraceInfo(
                trace_id=trace_id,
                trace_location=TraceLocation.from_experiment_id(self._experiment),
                request_time=int(trace.begun.timestamp() * 1000),
                execution_duration=int(trace.seconds * 1000),
                state=TraceState.ERROR if root.failed else TraceState.OK,
                request_preview=_first(root.given)[:_PREVIEW],
                response_preview=_first(root.made)[:_PREVIEW],
                client_request_id=trace.identity,
                trace_metadata={} if mlflow_run is None else {"mlflow.sourceRun": mlflow_run},
                tags={"mlflow.traceName": root.name, **{f"spar.{name}": value for name, value in trace.tags.items()}},
            )
            self._client.log_spans(self._experiment, list(_spans(trace, number)))
            self._client.start_trace(info)  # last: a trace that has its request's id is whole
        return trace_id

    def _is_there(self, identity: str) -> bool:
        wanted = f"attributes.client_request_id = '{identity}'"
        found = self._client.search_traces(
            experiment_ids=[self._experiment], filter_string=wanted, max_results=1, include_spans=False
        )
        return bool(found)


def _spans(trace: Trace, number: int) -> Iterator["Span"]:
    from mlflow.entities import Span

    placed = list(_placed(trace.step))
    length = max(_STEP_NS, int(trace.seconds * 1e9 / len(placed)))
    begun = int(trace.begun.timestamp() * 1e9)
    for entry in placed:
        step = entry.step
        attributes = {
            "mlflow.traceRequestId": f"tr-{number:032x}",
            "mlflow.spanType": step.kind,
            "mlflow.spanInputs": _cut(step.given),
            "mlflow.spanOutputs": _cut(step.made),
            **_cut(step.facts),
        }
        yield Span.from_dict(
            {
                "trace_id": base64.b64encode(number.to_bytes(16)).decode(),
                "span_id": _span_id(number, entry.first),
                "parent_span_id": None if entry.parent is None else _span_id(number, entry.parent),
                "name": step.name,
                "start_time_unix_nano": begun + entry.first * length,
                "end_time_unix_nano": begun + (entry.last + 1) * length,
                "events": [],
                "status": {"code": "STATUS_CODE_ERROR" if step.failed else "STATUS_CODE_OK", "message": step.failed},
                "attributes": {name: json.dumps(value, ensure_ascii=False) for name, value in attributes.items()},
            }
        )


def _placed(root: Step) -> Iterator[_Placed]:
    """Every step in order, the ones within a step after it."""
    waiting: list[tuple[Step, int | None]] = [(root, None)]
    number = 0
    while waiting:
        step, parent = waiting.pop()
        yield _Placed(step, parent, number, number + _size(step) - 1)
        waiting.extend((inner, number) for inner in reversed(step.within))
        number += 1


def _size(step: Step) -> int:
    return 1 + sum(_size(inner) for inner in step.within)


def _span_id(number: int, step: int) -> str:
    return base64.b64encode(hashlib.blake2b(f"{number}/{step}".encode(), digest_size=8).digest()).decode()


def _cut(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: f"{value[:_TEXT]} [...]" if isinstance(value, str) and len(value) > _TEXT else value
        for name, value in values.items()
    }


def _first(values: Mapping[str, Any]) -> str:
    """The first value as text; none where there is nothing."""
    return str(next((value for value in values.values() if value is not None), ""))
