"""The measurements of self-play: items with known truth, and scores with intervals made of them.

| metric | role | item | value |
| --- | --- | --- | --- |
| accuracy | actor | one sampled answer | all constraints met |
| judge | refiner | one held-out answer | verdict equals truth |
| fix | refiner | one truly failing held-out answer | the search accepted a truly right rewrite |
| pair | actor | one preference pair | chosen truly right and rejected truly wrong |
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from spar_core.evaluation.statistics import Interval, clustered_mean, wilson
from spar_core.evaluation.truth import broken_constraints, is_right
from spar_core.hashing import content_id
from spar_core.records import (
    EvalItem,
    EvalScore,
    Judgement,
    ModelRole,
    PreferencePair,
    Prompt,
    Response,
    TreeNode,
    Verdict,
)

BENCHMARK = "self_play"


class Measured(NamedTuple):
    """Who is measured: a role and the digest of its weights."""

    role: ModelRole
    model_digest: str


def answer_item(who: Measured, prompt: Prompt, response: Response) -> EvalItem:
    """Whether one answer is truly right; `detail` names its kinds and the broken ones."""
    broken = broken_constraints(prompt, response.text)
    kinds = [constraint.kind for constraint in prompt.constraints]
    detail = {"source": prompt.source, "kinds": kinds, "broken": list(broken)}
    return _item(who, "accuracy", response.response_id, prompt.prompt_id, float(not broken), detail)


def judgement_item(who: Measured, prompt: Prompt, response: Response, judgement: Judgement | None) -> EvalItem:
    """Whether the majority verdict on one answer is true; value null where there was no majority."""
    truth = is_right(prompt, response.text)
    said = None if judgement is None else judgement.verdict is Verdict.YES
    value = None if said is None else float(said == truth)
    detail = {
        "source": prompt.source,
        "truth": truth,
        "said": said,
        "share": None if judgement is None else judgement.value,
        "broken": list(broken_constraints(prompt, response.text)),
    }
    return _item(who, "judge", response.response_id, prompt.prompt_id, value, detail)


def fix_item(who: Measured, prompt: Prompt, response: Response, accepted: TreeNode | None) -> EvalItem:
    """Whether a failing answer was truly fixed; an answer nobody repaired counts as not fixed."""
    fixed = accepted is not None and is_right(prompt, accepted.response)
    detail = {
        "source": prompt.source,
        "accepted": accepted is not None,
        "depth": None if accepted is None else accepted.depth,
    }
    return _item(who, "fix", response.response_id, prompt.prompt_id, float(fixed), detail)


def pair_item(who: Measured, prompt: Prompt, pair: PreferencePair) -> EvalItem:
    """Whether a pair teaches the truth: chosen right, rejected wrong."""
    chosen_right, rejected_wrong = is_right(prompt, pair.chosen), not is_right(prompt, pair.rejected)
    detail = {"source": prompt.source, "chosen_right": chosen_right, "rejected_wrong": rejected_wrong}
    return _item(who, "pair", pair.pair_id, prompt.prompt_id, float(chosen_right and rejected_wrong), detail)


def self_play_scores(who: Measured, items: Iterable[EvalItem]) -> list[EvalScore]:
    """Every metric the items allow, each with n and a 95 % interval.

    Answers are resampled by prompt (cluster bootstrap); single binary items get Wilson intervals.
    """
    by_metric: dict[str, list[EvalItem]] = defaultdict(list)
    for item in items:
        by_metric[item.metric].append(item)
    scores = _accuracy_scores(who, by_metric["accuracy"]) + _judge_scores(who, by_metric["judge"])
    scores += _rate(who, "fix_rate", by_metric["fix"])
    for name, group in _by_source(by_metric["fix"]).items():
        scores += _rate(who, f"fix_rate/{name}", group)
    deep = [item for item in by_metric["fix"] if _detail(item)["accepted"]]
    scores += _rate(who, "accepted_below_depth_1", deep, lambda detail: detail["depth"] > 1)
    scores += _rate(who, "pair_truth", by_metric["pair"])
    scores += _rate(who, "pair_chosen_right", by_metric["pair"], lambda detail: detail["chosen_right"])
    scores += _rate(who, "pair_rejected_wrong", by_metric["pair"], lambda detail: detail["rejected_wrong"])
    return scores


def _accuracy_scores(who: Measured, items: Sequence[EvalItem]) -> list[EvalScore]:
    scores = _clustered(who, "accuracy", [(item.value, item.cluster_id) for item in items])
    for name, group in _by_source(items).items():
        scores += _clustered(who, f"accuracy/{name}", [(item.value, item.cluster_id) for item in group])
    met: dict[str, list[tuple[float | None, str]]] = defaultdict(list)
    for item in items:
        detail = _detail(item)
        for kind in detail["kinds"]:
            met[kind].append((float(kind not in detail["broken"]), item.cluster_id))
    for kind in sorted(met):
        scores += _clustered(who, f"kind/{kind}", met[kind])
    return scores


def _judge_scores(who: Measured, items: Sequence[EvalItem]) -> list[EvalScore]:
    if not items:
        return []
    scored = [item for item in items if item.value is not None]
    truths = {truth: [item for item in scored if _detail(item)["truth"] is truth] for truth in (True, False)}
    scores = _rate(who, "judge_unscored", items, lambda detail: detail["said"] is None)
    scores += _rate(who, "judge_recall_right", truths[True]) + _rate(who, "judge_recall_wrong", truths[False])
    if truths[True] and truths[False]:
        recalls = [wilson(sum(i.value == 1.0 for i in group), len(group)) for group in truths.values()]
        scores.append(_score(who, "judge_balanced_accuracy", mean_of_two(*recalls)))
    return scores


def mean_of_two(first: Interval, second: Interval) -> Interval:
    """Mean of two independent shares; its interval recovers their variances from theirs (MOVER, Zou & Donner 2008)."""
    low = math.hypot(first.value - first.ci_low, second.value - second.ci_low) / 2
    high = math.hypot(first.ci_high - first.value, second.ci_high - second.value) / 2
    value = (first.value + second.value) / 2
    return Interval(value, max(0.0, value - low), min(1.0, value + high), first.n + second.n)


def _by_source(items: Sequence[EvalItem]) -> dict[str, list[EvalItem]]:
    groups: dict[str, list[EvalItem]] = defaultdict(list)
    for item in items:
        groups[str(_detail(item)["source"]).rpartition("/")[2]].append(item)
    return dict(sorted(groups.items())) if len(groups) > 1 else {}


def _clustered(who: Measured, metric: str, values: Sequence[tuple[float | None, str]]) -> list[EvalScore]:
    known = [(value, cluster) for value, cluster in values if value is not None]
    if not known:
        return []
    numbers, clusters = [value for value, _ in known], [cluster for _, cluster in known]
    return [_score(who, metric, clustered_mean(numbers, clusters))]


def _rate(who: Measured, metric: str, items: Sequence[EvalItem], test: Any = None) -> list[EvalScore]:
    values = [item.value == 1.0 if test is None else bool(test(_detail(item))) for item in items]
    if not values:
        return []
    return [_score(who, metric, wilson(sum(values), len(values)))]


def _score(who: Measured, metric: str, interval: Interval) -> EvalScore:
    return EvalScore(BENCHMARK, who.role, who.model_digest, metric, *interval)


def _item(
    who: Measured, metric: str, subject: str, cluster: str, value: float | None, detail: dict[str, Any]
) -> EvalItem:
    item_id = content_id("eval", BENCHMARK, metric, who.model_digest, subject)
    text = json.dumps(detail, sort_keys=True)
    return EvalItem(BENCHMARK, who.role, who.model_digest, item_id, cluster, metric, value, text)


def _detail(item: EvalItem) -> dict[str, Any]:
    detail: dict[str, Any] = json.loads(item.detail)
    return detail
