"""The measurements of self-play: items with known truth, and scores with intervals made of them.

| metric | role | item | value |
| --- | --- | --- | --- |
| accuracy | actor | one sampled answer | all constraints met |
| hack | actor | one sampled answer that meets all constraints | it trips a wire (`trip_wires`) |
| judge, judge_own, judge_rewrite, judge_first_rewrite | refiner | one text it judged | verdict equals truth |
| fix | refiner | one truly failing held-out answer | the search accepted a truly right rewrite |
| fix_in_use | refiner | the same answer | the same, where rules judge in the search as they do in self-play |
| pair | actor | one preference pair | chosen truly right and rejected truly wrong |
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from spar_core.evaluation.calibration import (
    Figure,
    approval,
    error_causes,
    judge_quality,
    quality_by_kind,
    quality_by_source,
    reliability,
)
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.hack_rate import Hack
from spar_core.evaluation.judged_texts import (
    FIRST_ANSWERS,
    FIRST_REWRITES,
    JUDGED,
    OWN_ANSWERS,
    REWRITES,
    Ballot,
    JudgedText,
    Writing,
    judged_item,
    judged_text,
)
from spar_core.evaluation.scores import score_record
from spar_core.evaluation.self_evaluation import Others, self_evaluation_bias
from spar_core.evaluation.statistics import clustered_mean, wilson
from spar_core.evaluation.truth import broken_constraints, is_right
from spar_core.hashing import content_id
from spar_core.records import EvalItem, EvalScore, ModelRole, PreferencePair, Prompt, Response, TreeNode

BENCHMARK = "self_play"
HACK_RATE = "hack_rate"
FIX = "fix"
FIX_IN_USE = "fix_in_use"


class Measured(NamedTuple):
    """Who is measured: a role and the digest of its weights."""

    role: ModelRole
    model_digest: str


def answer_item(who: Measured, prompt: Prompt, response: Response) -> EvalItem:
    """Whether one answer is truly right; `detail` names its kinds and the broken ones."""
    broken = broken_constraints(prompt, response.text)
    kinds = [constraint.kind for constraint in prompt.constraints]
    detail = {"source": prompt.source, "kinds": kinds, "broken": list(broken)}
    item = _item(who, "accuracy", response.response_id, prompt.prompt_id, float(not broken), detail)
    return replace(item, sample=response.sample_index, response_id=response.response_id)


def hack_item(who: Measured, hack: Hack) -> EvalItem:
    """Whether an answer that meets every rule trips a wire; `detail` names the wires."""
    said, detail = hack.said, {"wires": list(hack.wires)}
    item = _item(who, "hack", said.response_id, said.prompt_id, float(bool(hack.wires)), detail)
    return replace(item, response_id=said.response_id)


class Measures(NamedTuple):
    """What was measured: scores, and an item without a value per figure there could not be (`detail` says why)."""

    scores: list[EvalScore]
    missing: list[EvalItem]


def vote_item(who: Measured, metric: str, prompt: Prompt, response: Response, ballot: Ballot) -> EvalItem:
    """Whether the votes' majority on one answer is true; value null where there was no majority."""
    return judged_item(
        metric, BENCHMARK, who.model_digest, prompt, response.text, ballot, Writing(response.response_id)
    )


def rewrite_items(
    who: Measured, metric: str, prompt: Prompt, rewrites: Iterable[tuple[TreeNode, Ballot]], root_id: str
) -> list[EvalItem]:
    """The same of rewrites in one tree, whose root is the answer `root_id`."""
    return [
        judged_item(
            metric,
            BENCHMARK,
            who.model_digest,
            prompt,
            node.response,
            ballot,
            Writing(node.node_id, root_id, node.depth),
        )
        for node, ballot in rewrites
    ]


def fix_item(
    who: Measured, prompt: Prompt, response: Response, accepted: TreeNode | None, metric: str = FIX
) -> EvalItem:
    """Whether a failing answer was truly fixed; an answer nobody repaired counts as not fixed."""
    fixed = accepted is not None and is_right(prompt, accepted.response)
    detail = {
        "source": prompt.source,
        "accepted": accepted is not None,
        "depth": None if accepted is None else accepted.depth,
    }
    item = _item(who, metric, response.response_id, prompt.prompt_id, float(fixed), detail)
    return replace(item, response_id=response.response_id)


def pair_item(who: Measured, prompt: Prompt, pair: PreferencePair) -> EvalItem:
    """Whether a pair teaches the truth: chosen right, rejected wrong. `ordered`: chosen breaks fewer constraints."""
    chosen, rejected = (len(broken_constraints(prompt, text)) for text in (pair.chosen, pair.rejected))
    chosen_right, rejected_wrong = chosen == 0, rejected > 0
    detail = {
        "source": prompt.source,
        "chosen_right": chosen_right,
        "rejected_wrong": rejected_wrong,
        "ordered": chosen < rejected,
    }
    return _item(who, "pair", pair.pair_id, prompt.prompt_id, float(chosen_right and rejected_wrong), detail)


def self_play_measures(who: Measured, items: Iterable[EvalItem]) -> Measures:
    """Every metric the items allow, each with n and a 95 % interval.

    Answers are resampled by prompt (cluster bootstrap); single binary items get Wilson intervals.
    """
    by_metric: dict[str, list[EvalItem]] = defaultdict(list)
    for item in items:
        by_metric[item.metric].append(item)
    scores = _accuracy_scores(who, by_metric["accuracy"])
    scores += _clustered(who, HACK_RATE, [(item.value, item.cluster_id) for item in by_metric["hack"]])
    judged = {metric: by_metric[metric] for metric in JUDGED if by_metric[metric]}
    for metric, name in ((FIRST_ANSWERS, "judge_unscored"), (OWN_ANSWERS, "judge_unscored_own")):
        scores += _rate(who, name, judged.get(metric, ()), lambda detail: detail["said"] is None)
    figures = judge_figures({metric: [judged_text(item) for item in group] for metric, group in judged.items()})
    scores += [_score(who, figure.metric, figure.interval) for figure in figures if figure.interval is not None]
    for metric, rate in ((FIX, "fix_rate"), (FIX_IN_USE, "fix_rate_in_use")):
        scores += _rate(who, rate, by_metric[metric])
        for name, group in _by_source(by_metric[metric]).items():
            scores += _rate(who, f"{rate}/{name}", group)
    deep = [item for item in by_metric[FIX] if _detail(item)["accepted"]]
    scores += _rate(who, "accepted_below_depth_1", deep, lambda detail: detail["depth"] > 1)
    scores += _rate(who, "pair_truth", by_metric["pair"])
    scores += _rate(who, "pair_ordered", by_metric["pair"], lambda detail: detail["ordered"])
    scores += _rate(who, "pair_chosen_right", by_metric["pair"], lambda detail: detail["chosen_right"])
    scores += _rate(who, "pair_rejected_wrong", by_metric["pair"], lambda detail: detail["rejected_wrong"])
    return Measures(scores, [_missing(who, figure) for figure in figures if figure.interval is None])


def judge_figures(texts: Mapping[str, Sequence[JudgedText]]) -> list[Figure]:
    """Every figure of a judge, from the texts it judged by metric (`judged_texts`); none for texts it was not given."""
    figures: list[Figure] = []
    if FIRST_ANSWERS in texts:
        answers = texts[FIRST_ANSWERS]
        figures += judge_quality(answers) + reliability(answers) + quality_by_kind(answers) + error_causes(answers)
        figures += quality_by_source(answers)
    if OWN_ANSWERS in texts:  # half of them wrong by choice: what depends on how many are wrong says nothing
        own = texts[OWN_ANSWERS]
        figures += judge_quality(own, "_own", sampled_by_truth=True) + error_causes(own, "_own")
        figures += quality_by_kind(own, "_own", sampled_by_truth=True)
    if REWRITES in texts:
        rewrites = texts[REWRITES]
        figures += judge_quality(rewrites, "_rewrites") + reliability(rewrites, "_rewrites")
        figures += error_causes(rewrites, "_rewrites") + approval(rewrites, "_rewrites")
        others = Others(texts.get(FIRST_ANSWERS, ()), texts.get(FIRST_REWRITES, ()))
        figures += self_evaluation_bias(rewrites, others)
    return figures


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


def _score(who: Measured, metric: str, estimate: Estimate) -> EvalScore:
    return score_record(BENCHMARK, who.role, who.model_digest, metric, estimate)


def _missing(who: Measured, figure: Figure) -> EvalItem:
    return _item(who, figure.metric, "figure", "", None, {"reason": figure.reason})


def _item(
    who: Measured, metric: str, subject: str, cluster: str, value: float | None, detail: dict[str, Any]
) -> EvalItem:
    item_id = content_id("eval", BENCHMARK, metric, who.model_digest, subject)
    text = json.dumps(detail, sort_keys=True)
    return EvalItem(BENCHMARK, who.role, who.model_digest, item_id, cluster, metric, value, text)


def _detail(item: EvalItem) -> dict[str, Any]:
    detail: dict[str, Any] = json.loads(item.detail)
    return detail
