"""Where the last refiner errs on its own actor's answers, by kind of constraint: the blind spots that the two share."""

from collections.abc import Sequence

from flows.experiments.document import Block, Heading, Table, Text
from flows.experiments.outcome import ExperimentOutcome, RunOutcome
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.statistics import mean_by_size

_RECALL, _OVERLOOKED, _ALARMS = "judge_recall_own/", "judge_overlooked_own/", "judge_false_alarm_own/"


def own_mistakes(outcome: ExperimentOutcome) -> list[Block]:
    """A table for the first variant, all its finished runs together; nothing where kinds were not measured."""
    variant = outcome.variants[0].name
    last = [run for run in outcome.of(variant) if run.complete and run.iterations]
    kinds = {
        metric.removeprefix(_RECALL)
        for run in last
        for metric in run.iterations[-1].scores
        if metric.startswith(_RECALL)
    }
    if not kinds:
        return []
    pooled = {kind: [_pooled(last, prefix + kind) for prefix in (_RECALL, _OVERLOOKED, _ALARMS)] for kind in kinds}
    unseen = {kind: seen.n - round(seen.n * seen.value) for kind, (seen, _, _) in pooled.items()}
    rows = [
        [kind, str(seen.n), str(unseen[kind]), _share(seen), _share(alone), _share(alarms)]
        for kind, (seen, alone, alarms) in sorted(pooled.items(), key=lambda entry: (-unseen[entry[0]], entry[0]))
    ]
    return [
        Heading(f"{variant}: the last refiner on its own actor's mistakes", 3),
        Text(
            "Answers of the final actor by each kind of constraint they break; what breaks two kinds counts in "
            "both. Seen: the majority of the votes says NO. Alone: answers that break nothing else. False alarm: right "
            "answers with that kind of constraint that are voted NO."
        ),
        Table(["breaks", "wrong answers", "unseen", "seen, %", "unseen of those alone, %", "false alarm, %"], rows),
    ]


def _pooled(runs: Sequence[RunOutcome], metric: str) -> Estimate:
    """A share over the items of all runs that measured it."""
    return mean_by_size([run.iterations[-1].scores[metric] for run in runs if metric in run.iterations[-1].scores])


def _share(estimate: Estimate) -> str:
    return f"{estimate.shown()} of {estimate.n}" if estimate.n else "-"
