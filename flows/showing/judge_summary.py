"""How far the refiner can be trusted as a judge, as the terminal, `--json` and the Prefect UI show it."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from spar_core.evaluation.estimate import Estimate
from storage.catalog import open_catalog
from storage.home import Home

BIAS = "self_evaluation_bias"
JUDGE_COLUMNS = {
    "judge_balanced_accuracy_own": "judging its actor's answers, balanced %",
    "judge_balanced_accuracy_rewrites": "its own rewrites %",
    "judge_approved_rewrites": "of these approved %",
    "judge_approved_right_rewrites": "approved and right %",
    "judge_balanced_accuracy": "the first actor's answers %",
    BIAS: "self-evaluation bias, points",
}
_OVERVIEW = {
    "balanced accuracy": "judge_balanced_accuracy",
    "precision (failing among those called NO)": "judge_precision",
    "recall (called NO among the failing)": "judge_recall",
    "specificity (called YES among the right)": "judge_specificity",
    "calibration error of the vote share": "judge_calibration_error",
}
_TEXTS = {"the first actor's answers": "", "its own actor's answers": "_own", "its own rewrites": "_rewrites"}
_BIAS_PARTS = {
    "all": BIAS,
    "right texts alone": f"{BIAS}/right",
    "wrong texts alone": f"{BIAS}/wrong",
    "against the first actor's answers": f"{BIAS}/answers",
    "against the first refiner's rewrites of the same answers": f"{BIAS}/first_refiner",
}
_QUALITY = {
    "precision": "judge_precision",
    "recall": "judge_recall",
    "balanced accuracy": "judge_balanced_accuracy",
    "false alarms": "judge_false_alarm",
}
_MISSED = {texts: f"judge_missed{suffix}" for texts, suffix in _TEXTS.items()}
_OVERLOOKED = {texts: f"judge_overlooked{suffix}" for texts, suffix in _TEXTS.items()}
_OF_A_KIND = (*_QUALITY.values(), *_MISSED.values(), *_OVERLOOKED.values())


class Judge(NamedTuple):
    """Every figure of one iteration's refiner as a judge, by metric; `missing` says why a figure is not there."""

    iteration: int
    scores: dict[str, Estimate]
    missing: dict[str, str]

    def cells(self) -> list[str]:
        """Texts for a table: the iteration, then `JUDGE_COLUMNS`."""
        return [str(self.iteration), *(_shown(self.scores, metric) for metric in JUDGE_COLUMNS)]

    def reasons(self) -> list[str]:
        """A line per figure of the table that is not there."""
        absent = [metric for metric in JUDGE_COLUMNS if metric in self.missing]
        return [f"iteration {self.iteration}: no {metric}: {self.missing[metric]}" for metric in absent]

    def kinds(self) -> list[dict[str, Any]]:
        """JSON-like rows, one per constraint kind."""
        return [
            {
                "iteration": self.iteration,
                "kind": kind,
                **{m: self.scores[f"{m}/{kind}"].plain() for m in _OF_A_KIND if f"{m}/{kind}" in self.scores},
            }
            for kind in _kinds(self.scores)
        ]


def judges(home: Home, run_id: str) -> list[Judge]:
    """The refiners of a run as judges, one per measured iteration."""
    found: dict[int, Judge] = {}
    which = "WHERE run_id = ? AND benchmark = 'self_play' AND role = 'refiner'"
    with open_catalog(home) as catalog:
        scores = catalog.rows(f"SELECT * FROM eval_scores {which} ORDER BY iteration, metric", [run_id])
        reasons = catalog.rows(
            f"SELECT iteration, metric, detail FROM eval_items {which} AND value IS NULL AND cluster_id = ''", [run_id]
        )
    for row in scores:
        judge = found.setdefault(row["iteration"], Judge(row["iteration"], {}, {}))
        judge.scores[row["metric"]] = Estimate(row["value"], row["ci_low"], row["ci_high"], row["n"])
    for row in reasons:
        if row["iteration"] in found:
            found[row["iteration"]].missing[row["metric"]] = json.loads(row["detail"])["reason"]
    return list(found.values())


def judge_report(judge: Judge) -> str:
    """The figures of one iteration as Markdown."""
    sections = [
        f"# The refiner as a judge, iteration {judge.iteration}",
        "Votes against the truth on held-out prompts. NO is the positive class: the judge is to find what fails. "
        "Percent with 95 % interval (n).",
        _overview(judge),
        "## Self-evaluation bias",
        "Points of vote share it gives its own rewrites beyond what it gives equally right or wrong texts of others.",
        _bias(judge),
        f"## Reliability of the vote share\n\n{_reliability(judge.scores)}",
        "## Causes of error",
        "Kinds that the failing texts it passed break: share of these texts.",
        _by_kind(judge.scores, _MISSED),
        "Texts that break one kind alone: share it passed, so the kind was overlooked.",
        _by_kind(judge.scores, _OVERLOOKED),
        "## By constraint kind",
        "The first actor's answers. A verdict names no constraint: a false alarm counts for every kind of its prompt.",
        _by_kind(judge.scores, _QUALITY),
    ]
    return "\n\n".join(sections)


def _overview(judge: Judge) -> str:
    rows = []
    for name, metric in _OVERVIEW.items():
        names = [metric + suffix for suffix in _TEXTS.values()]
        rows.append([name, *(_with_n(judge.scores, entry, judge.missing) for entry in names)])
    return _markdown(["", *_TEXTS], rows)


def _bias(judge: Judge) -> str:
    rows = [
        [name, _with_n(judge.scores, metric, judge.missing)]
        for name, metric in _BIAS_PARTS.items()
        if metric in judge.scores or metric == BIAS
    ]
    return _markdown(["compared", "bias"], rows)


def _reliability(scores: Mapping[str, Estimate]) -> str:
    """Side by side for answers and rewrites; the bar is the share right, which should grow with the votes."""
    ways = {"the first actor's answers": "judge_reliability/", "its own rewrites": "judge_reliability_rewrites/"}
    places = sorted({name.rpartition("/")[2] for name in scores if name.startswith(tuple(ways.values()))})
    rows = []
    for place in places:
        row = [place]
        for prefix in ways.values():
            score = scores.get(prefix + place)
            row += ["", "-"] if score is None else [_bar(score.value), _with_n(scores, prefix + place)]
        rows.append(row)
    return _markdown(["votes YES", *(cell for way in ways for cell in (way, "truly right %"))], rows)


def _by_kind(scores: Mapping[str, Estimate], columns: Mapping[str, str]) -> str:
    """The kinds that stand behind most of the failing texts it passed come first."""

    def passed(kind: str) -> float:
        names = [f"{metric}/{kind}" for metric in _MISSED.values()]
        return -sum(scores[name].value for name in names if name in scores)

    rows = [
        [f"`{kind}`", *(_with_n(scores, f"{metric}/{kind}") for metric in columns.values())]
        for kind in sorted(_kinds(scores), key=passed)
    ]
    return _markdown(["kind", *columns], rows)


def _kinds(scores: Mapping[str, Estimate]) -> list[str]:
    return sorted(
        {kind for metric, _, kind in (name.partition("/") for name in scores) if kind and metric in _OF_A_KIND}
    )


def _shown(scores: Mapping[str, Estimate], metric: str) -> str:
    score = scores.get(metric)
    return "-" if score is None else score.shown(signed=metric.startswith(BIAS))


def _with_n(scores: Mapping[str, Estimate], metric: str, missing: Mapping[str, str] | None = None) -> str:
    if metric in scores:
        return f"{_shown(scores, metric)} ({scores[metric].n})"
    return (missing or {}).get(metric, "-")


def _bar(share: float) -> str:
    return "█" * round(10 * share) + "░" * (10 - round(10 * share))


def _markdown(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
