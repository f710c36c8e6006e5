"""The gate: which registered models become the champions of their lineage. Every decision is a row, a tag and a line.

A lineage is a base model and an evaluation world: models of one lineage are compared, others never meet. A candidate is
compared with the champion on the same prompts with the same settings, by artifacts of the same stage; anything else
that was ever measured on either of them (a look at a few items, a benchmark, another world) does not count.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from prefect import task

from spar_core.config.run import PromotionConfig
from spar_core.evaluation.comparison import stratified_mean
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.promotion_rule import GATE_METRIC, Duel, duel, gate_metric, gate_observations, rule_on
from spar_core.hashing import digest
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef, ArtifactStore
from storage.entries import Decision, Promotion, utc_now
from storage.ledger import Ledger
from storage.registry import ModelVersion, Registry
from tasks.engines import ModelRef
from tasks.general_ability import ability_kept
from tasks.hack_gate import HackRuling, rule_on_hacks
from tasks.model_card import describe_models
from tasks.runtime import Runtime

_log = logging.getLogger(__name__)
_LINEAGE_LENGTH = 8


class Candidate(NamedTuple):
    """A registered version that asks to become champion."""

    role: ModelRole
    version: int
    model: ModelRef


class Comparison(NamedTuple):
    """The measurements of candidate and champion; `problem` says why there are none of the champion."""

    candidate: ArtifactRef | None
    champion: ArtifactRef | None
    problem: str = ""


class Contest(NamedTuple):
    """A candidate, and the champion it has to stand against; null where the lineage has none."""

    candidate: Candidate
    champion: Candidate | None
    measured: Comparison = Comparison(None, None)
    ability: Comparison | None = None
    """General ability, where the gate asks for it."""
    gone: int | None = None
    """Version of a champion whose weights are gone: it makes room."""


def lineage_of(ledger: Ledger, run_id: str) -> str:
    """The lineage of a run: what its iteration 0 was made from, and the world it is measured in.

    A run whose base models the ledger does not know is a lineage of its own.
    """
    run = ledger.run(run_id)
    bases = {entry.role: entry.parent_digest for entry in ledger.current_models(run_id) if entry.iteration == 0}
    if run is None or None in bases.values() or bases.keys() != GATE_METRIC.keys():
        return digest(["run", run_id])[:_LINEAGE_LENGTH]
    world = run.config.get("evaluation", {}).get("source")
    return digest(["lineage", sorted(bases.items()), world])[:_LINEAGE_LENGTH]


def champion_of(home: str, run_id: str, role: ModelRole) -> ModelVersion | None:
    """The champion of a run's lineage; in homes from before lineages, `champion` where it is of this one."""
    runtime = Runtime.of(home)
    lineage, registry = lineage_of(runtime.ledger, run_id), Registry(runtime.home)
    found = registry.champion(role, lineage)
    if found is not None:
        return found
    older = registry.champion(role)
    return older if older is not None and lineage_of(runtime.ledger, older.run_id) == lineage else None


def is_decided(home: str, run_id: str, candidate: Candidate) -> bool:
    """Whether the gate has compared this version before; then it is not asked again."""
    known = Runtime.of(home).ledger.promotion(run_id, candidate.role, candidate.version)
    return known is not None and known.decision != "unmeasured"


@task(name="promote", task_run_name="promote-{iteration}")
def promote_models(
    home: str, run_id: str, iteration: int, contests: Sequence[Contest], gate: PromotionConfig
) -> list[Promotion]:
    """Decide on each candidate, write the decision down, and move the aliases.

    Idempotent: what was decided stays, and what was left half done is completed.

    Raises:
        StorageError: the ledger or the registry cannot be written.
    """
    runtime = Runtime.of(home)
    registry, decisions = Registry(runtime.home), []
    for contest in contests:
        role, version, _ = contest.candidate
        known = runtime.ledger.promotion(run_id, role, version)
        entry = known
        if entry is None or entry.decision == "unmeasured":
            lineage = lineage_of(runtime.ledger, run_id)
            entry = _decided(contest, Promotion(
                run_id=run_id, iteration=iteration, role=role, version=version, lineage=lineage,
                metric=GATE_METRIC[role], decision="unmeasured", reason="", time=utc_now(),
            ), gate, runtime.store)  # fmt: skip
            if known is None or known.decision != entry.decision:
                runtime.ledger.record_promotion(entry)
                level = logging.WARNING if entry.decision == "unmeasured" else logging.INFO
                _log.log(level, "%s/%s is %s: %s", role, version, _SAID[entry.decision], entry.reason)
        _apply(registry, entry)
        decisions.append(entry)
    promoted = [entry for entry in runtime.ledger.promotions() if entry.decision in ("first", "promoted")]
    if promoted:
        registry.crown(promoted[-1].lineage)
    describe_models(runtime.home, [(entry.role, entry.version) for entry in decisions])
    return decisions


_SAID: dict[Decision, str] = {
    "first": "the first champion",
    "promoted": "promoted",
    "refused": "not promoted",
    "unmeasured": "not promoted",
}


def _decided(contest: Contest, entry: Promotion, gate: PromotionConfig, store: ArtifactStore) -> Promotion:
    candidate, champion, measured = contest[:3]
    if measured.candidate is not None:
        metric = gate_metric(candidate.role, measured.candidate.read("eval_items"))
        entry = entry.model_copy(update={"metric": metric})

    def ruled(decision: Decision, reason: str, found: Duel | None = None) -> Promotion:
        figures = {} if found is None else _figures(found)
        of = {
            "champion_version": contest.gone if champion is None else champion.version,
            "stage_key": None if measured.candidate is None else measured.candidate.stage_key,
        }
        return entry.model_copy(update={"decision": decision, "reason": reason, **of, **figures})

    if champion is None:
        first = ruled("first", measured.problem or f"no champion of lineage {entry.lineage} before it")
        own = None if measured.candidate is None else _alone(candidate.role, measured.candidate)
        return first if own is None else first.model_copy(update={"value": own.value, "n": own.n})
    name = f"{champion.role}/{champion.version}"
    if measured.candidate is None:
        return ruled("unmeasured", measured.problem or "nothing was measured to compare it by")
    same = champion.model.digest == candidate.model.digest
    theirs = measured.candidate if same else measured.champion
    problem = measured.problem if theirs is None else _incomparable(measured.candidate, theirs)
    if theirs is None or problem:
        return ruled("refused", f"not comparable with champion {name}: {problem}")
    found = duel(*(gate_observations(candidate.role, ref.read("eval_items")) for ref in (theirs, measured.candidate)))
    if found is None:
        return ruled("refused", f"not comparable with champion {name}: they have no measured item in common")
    if same:
        return ruled("promoted", f"the weights of champion {name}", found)
    if contest.ability is not None:
        kept = ability_kept(contest.ability.champion, contest.ability.candidate, gate.ability_margin or 0.0)
        if not kept.passed:
            return ruled("refused", f"{kept.reason} (champion {name})", found)
    hacking = HackRuling(False)
    if gate.max_hack_rate_rise is not None and candidate.role == "actor":
        hacking = rule_on_hacks(store, theirs, measured.candidate, gate.max_hack_rate_rise)
    if hacking.refused:
        return ruled("refused", f"{hacking.reason} (champion {name})", found)
    ruling = rule_on(found.difference, gate)
    shown = f"{entry.metric} {100 * found.candidate.value:.1f} against {100 * found.champion.value:.1f} % of {name}"
    reason = f"{shown}, {ruling.reason}" + (f"; {hacking.reason}" if hacking.reason else "")
    return ruled("promoted" if ruling.promoted else "refused", reason, found)


def _alone(role: ModelRole, measured: ArtifactRef) -> Estimate | None:
    return stratified_mean(gate_observations(role, measured.read("eval_items")))


def _figures(found: Duel) -> dict[str, float | int]:
    return {
        "value": found.candidate.value,
        "champion_value": found.champion.value,
        "difference": found.difference.value,
        "ci_low": found.difference.ci_low,
        "ci_high": found.difference.ci_high,
        "n": found.difference.n,
    }


def _incomparable(candidate: ArtifactRef, champion: ArtifactRef) -> str:
    """What two measurements differ in besides the model; empty where they are of the same kind."""
    ours, theirs = candidate.manifest(), champion.manifest()
    differ = {
        "the stage": (ours.stage, ours.code_version) != (theirs.stage, theirs.code_version),
        "the prompts": _inputs(candidate) != _inputs(champion),
        "the settings": ours.config != theirs.config,
    }
    found = [name for name, differs in differ.items() if differs]
    return f"{' and '.join(found)} of the two measurements differ" if found else ""


def _inputs(measured: ArtifactRef) -> list[tuple[str, str]]:
    return sorted((entry.stage, entry.content_digest) for entry in measured.manifest().inputs)


def _apply(registry: Registry, entry: Promotion) -> None:
    """Move the alias and note the decision; the note comes last, so that it means done."""
    if registry.decision(entry.role, entry.version) == entry.decision:
        return
    if entry.decision in ("first", "promoted"):
        reigning = registry.champion(entry.role, entry.lineage)
        if reigning is None or reigning.version in (entry.champion_version, entry.version):
            registry.promote(entry.role, entry.version, entry.lineage)
    registry.note_decision(entry.role, entry.version, entry.decision, entry.reason)
