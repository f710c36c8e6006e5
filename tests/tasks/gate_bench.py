"""A home for the gate: a ledger, artifacts of measurements, and a registry kept in memory."""

from pathlib import Path

from spar_core.config.run import PromotionConfig
from spar_core.records import EvalItem, Prompt
from storage.artifacts import ArtifactRef, Provenance
from storage.entries import ModelEntry, Promotion
from storage.home import Home
from storage.registry import ModelVersion
from tasks import gate
from tasks.engines import ModelRef
from tasks.gate import Candidate, Comparison, Contest, promote_models
from tasks.runtime import Runtime

ROLES = ("actor", "refiner")


class MemoryRegistry:
    """What `storage.registry.Registry` does, without its database."""

    def __init__(self) -> None:
        self.known: dict[str, list[ModelVersion]] = {role: [] for role in ROLES}
        self.aliases: dict[str, dict[str, int]] = {role: {} for role in ROLES}
        self.tags: dict[tuple[str, int], tuple[str, str]] = {}

    def add(self, role: str, run_id: str, iteration: int, path: Path, digest: str) -> int:
        version = len(self.known[role]) + 1
        self.known[role].append(ModelVersion(role, version, path, digest, run_id, iteration, ()))
        return version

    def champion(self, name, lineage=None):
        version = self.aliases[name].get("champion" if lineage is None else f"champion-{lineage}")
        return next((entry for entry in self.known[name] if entry.version == version), None)

    def promote(self, name, version, lineage):
        self.aliases[name][f"champion-{lineage}"] = version

    def crown(self, lineage):
        for role in ROLES:
            if f"champion-{lineage}" in self.aliases[role]:
                self.aliases[role]["champion"] = self.aliases[role][f"champion-{lineage}"]

    def decision(self, name, version):
        return self.tags.get((name, version), (None,))[0]

    def note_decision(self, name, version, decision, reason):
        self.tags[name, version] = (decision, reason)


class GateBench:
    """Registers models, measures them with given values, and asks the gate."""

    def __init__(self, root: Path, monkeypatch) -> None:
        self.home = Home(root)
        self.runtime = Runtime.of(str(root))
        self.registry = MemoryRegistry()
        monkeypatch.setattr(gate, "Registry", lambda home: self.registry)

    def run(self, run_id: str, base: str, world: str = "starter") -> None:
        self.runtime.ledger.open_run(run_id, {"evaluation": {"source": world}})
        for role in ROLES:
            self.register(run_id, 0, role, f"{run_id}-{role}-0", parent=base)

    def register(self, run_id: str, iteration: int, role: str, digest: str, parent: str = "") -> Candidate:
        path = self.home.root / "weights" / digest
        path.mkdir(parents=True, exist_ok=True)
        version = self.registry.add(role, run_id, iteration, path, digest)
        self.runtime.ledger.record_model(ModelEntry(
            run_id=run_id, role=role, iteration=iteration, name=role, version=version, uri=self.home.stored(path),
            digest=digest, parent_digest=parent,
        ))  # fmt: skip
        return Candidate(role, version, ModelRef(digest, str(path)))

    def measured(
        self,
        digest: str,
        values: list[float],
        *,
        stage: str = "eval_actor",
        prompts: str = "held-out",
        samples: int = 1,
    ) -> ArtifactRef:
        """An artifact of one item per prompt."""
        items = [
            EvalItem("self_play", "actor", digest, f"{digest}-{number}", f"prompt {number}", "accuracy", value)
            for number, value in enumerate(values)
        ]
        held_out = self._commit("eval_prompts", prompts, "eval_prompts", [Prompt.create(prompts)])
        provenance = Provenance(inputs=(held_out,), model_digests={"m": digest}, config={"samples": samples})
        return self._commit(stage, f"{stage}-{digest}-{prompts}-{samples}", "eval_items", items, provenance)

    def _commit(self, stage, key, table, rows, provenance=None) -> ArtifactRef:
        found = self.runtime.store.get(stage, key)
        if found is not None:
            return found
        with self.runtime.store.part(stage, key, 0) as part:
            part.write(table, rows)
        counts = {"rows_in": len(rows), "rows_out": len(rows)}
        return self.runtime.store.commit(stage, key, **counts, **({"provenance": provenance} if provenance else {}))

    def champion(self, run_id: str, role: str = "actor") -> Candidate | None:
        found = gate.champion_of(str(self.home.root), run_id, role)
        return None if found is None else Candidate(role, found.version, ModelRef(found.digest, str(found.path)))

    def ask(self, run_id: str, iteration: int, *contests: Contest, **rule) -> list[Promotion]:
        return promote_models.fn(str(self.home.root), run_id, iteration, contests, PromotionConfig(**rule))

    def first(self, run_id: str, measured: ArtifactRef | None = None) -> None:
        """Iteration 0 of a run, both roles."""
        contests = []
        for role in ROLES:
            version = next(v for v in self.registry.known[role] if (v.run_id, v.iteration) == (run_id, 0))
            candidate = Candidate(role, version.version, ModelRef(version.digest, str(version.path)))
            own = measured if role == "actor" else None
            contests.append(Contest(candidate, self.champion(run_id, role), Comparison(own, None)))
        self.ask(run_id, 0, *contests)


def share(right: int, of: int) -> list[float]:
    """So many ones, then zeros."""
    return [1.0] * right + [0.0] * (of - right)
