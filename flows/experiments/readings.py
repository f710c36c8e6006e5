"""What the catalogue, the ledger and the manifests of a home say of an experiment's runs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from flows.experiments.outcome import IterationOutcome, RunOutcome
from flows.experiments.specification import PlannedRun
from spar_core.evaluation.comparison import Observation
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.judged_texts import FIRST_ANSWERS, FIRST_REWRITES, JUDGED, OWN_ANSWERS, REWRITES
from storage.artifacts import ArtifactStore
from storage.catalog import Catalog
from storage.home import Home
from storage.ledger import Ledger

_SELF_PLAY = "self_play"
_MEASURING = "eval_"
_PAIRED = {
    "accuracy": "accuracy",
    "judge": "judge_balanced_accuracy",
    "fix": "fix_rate",
    "fix_in_use": "fix_rate_in_use",
}
"""Items whose truth pairs over iterations and runs, and the score made of them."""
_OWN = {OWN_ANSWERS: "judge_balanced_accuracy_own", REWRITES: "judge_balanced_accuracy_rewrites"}
"""Texts that each refiner has of its own: those of two refiners are other texts."""
UNPAIRED = frozenset(_OWN.values())
POOL = "judge_balanced_accuracy_pool"
"""Over the common pool: texts that every refiner of an experiment judges, the first models' answers and rewrites."""
_POOLED = (FIRST_ANSWERS, FIRST_REWRITES)


class Item(NamedTuple):
    """The value of one measured item of one run and iteration; samples of a prompt are averaged."""

    metric: str
    cluster: str
    stratum: str
    source: str
    value: float
    text: str = ""
    """Id of a judged text; empty for other items."""
    depth: int = 0
    """Of a rewrite in its tree."""


class Readings:
    """Everything about some runs, read once."""

    def __init__(self, home: Home, catalog: Catalog, run_ids: Iterable[str]) -> None:
        self._store = ArtifactStore(home)
        self._ledger = Ledger(home)
        self._ids = sorted(set(run_ids))
        self._scores = self._grouped(catalog, _SCORES)
        self._stages = self._grouped(catalog, _STAGES)
        self._depths = self._grouped(catalog, _DEPTHS)
        self._items = self._grouped(catalog, _ITEMS)

    def run(self, planned: PlannedRun, reason: str = "") -> RunOutcome:
        """One run as far as it went; `reason` is why it failed where that is known."""
        run_id, last = planned.run.run_id, planned.run.config.iterations
        iterations = tuple(
            self._iteration(run_id, number) for number in range(last + 1) if self._scores[run_id, number]
        )
        known = self._ledger.run(run_id)
        complete = not reason and known is not None and known.state == "completed" and len(iterations) == last + 1
        if not complete and not reason:
            reason = self._reason(run_id, "not run yet" if known is None else known.state)
        return RunOutcome(
            variant=planned.variant,
            seed=planned.seed,
            run_id=run_id,
            complete=complete,
            reason="" if complete else reason,
            iterations=iterations,
        )

    def observations(self, run_id: str, seed: int, iteration: int) -> dict[str, list[Observation]]:
        """The items of an iteration by the score made of them; those of a prompt are one cluster, whatever the seed.

        Accuracy is also given for each source of prompts, if there are several. The first refiner's rewrites are its
        own at iteration 0: the votes of its searches are its judgement of the pool.
        """
        items = [Item(**row) for row in self._items[run_id, iteration]]
        sources = {item.source for item in items if item.metric == "accuracy"}
        found: dict[str, list[Observation]] = defaultdict(list)
        for item in items:
            observation = Observation((seed, item.cluster), item.cluster, item.value, item.stratum)
            judged = observation._replace(key=(seed, item.text))
            if item.metric in _PAIRED:
                found[_PAIRED[item.metric]].append(observation)
            if item.metric in _OWN:
                found[_OWN[item.metric]].append(judged)
            first = iteration == 0 and item.metric == REWRITES and item.depth == 1
            if item.text and (item.metric in _POOLED or first):
                found[POOL].append(judged)
            if item.metric == "accuracy" and len(sources) > 1:
                found[f"accuracy/{item.source}"].append(observation)
        if len({judged.stratum for judged in found[POOL]}) < 2:
            del found[POOL]  # right texts alone or wrong ones alone: nothing to balance
        return found

    def _iteration(self, run_id: str, number: int) -> IterationOutcome:
        stages = {row["stage"]: row for row in self._stages[run_id, number]}
        own = [row for name, row in stages.items() if not name.startswith(_MEASURING)]
        tokens = [self._metric(row, "completion_tokens") for row in own if number > 0 and not _trains(row)]
        return IterationOutcome(
            iteration=number,
            scores={
                row["metric"]: Estimate(row["value"], row["ci_low"], row["ci_high"], row["n"])
                for row in self._scores[run_id, number]
            },
            pairs=int(stages["pairs"]["rows_out"]) if "pairs" in stages else 0,
            dpo_steps=self._steps(stages.get("train_actor")),
            refiner_steps=self._steps(stages.get("train_refiner")),
            tokens=int(sum(count for count in tokens if count is not None)) if any(tokens) else None,
            seconds=round(sum(row["seconds"] or 0.0 for row in own), 1),
            accepted_by_depth={row["depth"]: row["trees"] for row in self._depths[run_id, number]},
        )

    def _steps(self, stage: dict[str, Any] | None) -> int | None:
        if stage is None:
            return 0
        steps = self._metric(stage, "steps")
        return None if steps is None else int(steps)

    def _metric(self, stage: dict[str, Any], name: str) -> float | None:
        artifact = self._store.get(stage["stage"], stage["stage_key"])
        return None if artifact is None else artifact.manifest().metrics.get(name)

    def _reason(self, run_id: str, state: str) -> str:
        failed = [stage for stage in self._ledger.stages(run_id) if stage.state == "failed"]
        if state == "failed" and failed:
            return f"{failed[-1].stage}, iteration {failed[-1].iteration}: {failed[-1].detail}"
        told = {"running": "interrupted, or still running", "waiting": "not all of its iterations are there yet"}
        return told.get(state, state)

    def _grouped(self, catalog: Catalog, query: str) -> dict[tuple[str, int], list[dict[str, Any]]]:
        """Rows by run and iteration; the query's `RUNS` becomes the list of run ids."""
        found: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
        if self._ids:
            listed = ", ".join("?" * len(self._ids))
            for row in catalog.rows(query.replace("RUNS", listed), self._ids):
                found[row.pop("run_id"), row.pop("iteration")].append(row)
        return found


def curve_items(catalog: Catalog, run_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Items of the search curves: run_id, iteration, metric, cluster, source, value."""
    if not run_ids:
        return []
    return catalog.rows(_CURVE_ITEMS.replace("RUNS", ", ".join("?" * len(run_ids))), list(run_ids))


def _trains(stage: dict[str, Any]) -> bool:
    return str(stage["stage"]).startswith(("train_", "warm_start"))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


_SCORES = f"""
    SELECT run_id, iteration, metric, value, ci_low, ci_high, n FROM eval_scores
    WHERE run_id IN (RUNS) AND benchmark = '{_SELF_PLAY}' ORDER BY metric"""

# A stage that several runs share took its seconds in the one that computed it.
_STAGES = """
    SELECT s.run_id, s.iteration, s.stage, s.stage_key, s.rows_out, t.seconds
    FROM stages s JOIN (SELECT stage_key, max(seconds) AS seconds FROM stages GROUP BY stage_key) t USING (stage_key)
    WHERE s.run_id IN (RUNS) AND s.state = 'completed' AND s.iteration IS NOT NULL"""

_DEPTHS = """
    SELECT t.run_id, t.iteration, n.depth, count(*) AS trees
    FROM trees t JOIN tree_nodes n USING (run_id, iteration, tree_id)
    WHERE t.run_id IN (RUNS) AND t.iteration > 0 AND n.accepted AND n.depth > 0 GROUP BY ALL ORDER BY n.depth"""

_ITEMS = f"""
    SELECT run_id, iteration, metric, cluster_id AS cluster,
        coalesce(json_extract_string(detail, '$.truth'), '') AS stratum,
        regexp_extract(coalesce(json_extract_string(detail, '$.source'), ''), '[^/]*$') AS source,
        avg(value) AS value,
        CASE WHEN metric IN ({_listed(JUDGED)}) THEN coalesce(response_id, '') ELSE '' END AS text,
        coalesce(CAST(json_extract(detail, '$.depth') AS INTEGER), 0) AS depth
    FROM eval_items
    WHERE run_id IN (RUNS) AND benchmark = '{_SELF_PLAY}' AND value IS NOT NULL
        AND metric IN ({_listed([*_PAIRED, *JUDGED])})
    GROUP BY ALL ORDER BY ALL"""

_CURVE_ITEMS = """
    SELECT run_id, iteration, metric, cluster_id AS cluster, value,
        regexp_extract(coalesce(json_extract_string(detail, '$.source'), ''), '[^/]*$') AS source
    FROM eval_items WHERE run_id IN (RUNS) AND benchmark = 'search_curve' AND value IS NOT NULL"""
