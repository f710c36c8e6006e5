"""A home with runs of several nights, small and without any engine: each night makes data, trains and measures."""

from datetime import UTC, datetime, timedelta

from spar_core.records import EvalScore, Prompt, Verdict, Vote
from storage.artifacts import ArtifactStore, Provenance
from storage.entries import ModelEntry, Run, StageRun
from storage.home import Home
from storage.ledger import Ledger

NOW = datetime.now(UTC)


class Nights:
    """One run; `age` in days."""

    def __init__(self, home: Home, run_id: str, state: str = "completed", age: float = 0.0, config=None) -> None:
        self.home, self.run_id = home, run_id
        self.store, self.ledger = ArtifactStore(home), Ledger(home)
        ended = NOW - timedelta(days=age)
        run = Run(run_id=run_id, state=state, created=ended, ended=ended, config=config or {})
        self.ledger._write(self.ledger._folder(run_id) / "run.json", run)
        self.model = "base"

    def stage(self, number, stage, tables, inputs=(), model=None, files=None):
        key = f"{self.run_id}-{number}"
        with self.store.part(stage, key, 0) as part:
            for table, rows in tables.items():
                part.write(table, rows)
        if files is not None:
            source = self.store.workspace(stage, key) / "out"
            source.mkdir()
            for name, content in files.items():
                (source / name).write_bytes(content)
            self.store.adopt_model(stage, key, source)
        models = {} if model is None else {"actor": model}
        ref = self.store.commit(stage, key, rows_in=0, rows_out=0, provenance=Provenance(inputs, models))
        entry = {"stage": stage, "stage_key": key, "state": "completed", "started": NOW, "artifact_uri": ref.uri}
        self.ledger.record_stage(StageRun(run_id=self.run_id, iteration=number, **entry))
        return ref

    def night(self, number: int, weights: int = 100_000) -> "Nights":
        """One iteration: prompts, votes on them, a model trained on the votes, its scores."""
        prompts = self.stage(number, "prompts", {"prompts": [Prompt.create(f"{self.run_id} {number}")]})
        votes = [Vote("r", 0, Verdict.YES, f"{self.run_id} {number}", "stop", 1)]
        judged = self.stage(number, "judgements", {"votes": votes}, (prompts,), self.model)
        content = f"{self.run_id} {number} ".encode() * weights
        trained = self.stage(
            number,
            "train_actor",
            {},
            (judged,),
            self.model,
            {"model.safetensors": content[:weights], "config.json": b"{}"},
        )
        score = EvalScore("starter", "actor", trained.model_digest, "accuracy", 0.5, 0.4, 0.6, 10)
        self.stage(number, "eval_scores", {"eval_scores": [score]}, (prompts,), trained.model_digest)
        entry = {"role": "actor", "iteration": number, "name": "actor", "digest": trained.model_digest}
        version = len(self.ledger.models()) + 1
        uri = self.home.stored(trained.model_folder)
        model = ModelEntry(
            run_id=self.run_id,
            version=version,
            uri=uri,
            parent_digest=self.model,
            train_stage_key=trained.stage_key,
            **entry,
        )
        self.ledger.record_model(model)
        self.model = trained.model_digest
        return self
