"""A home with one iteration whose every text is what a hostile model could write, made through the storage itself."""

import json
from dataclasses import replace
from datetime import UTC, datetime

from spar_core.records import (
    Constraint,
    Drop,
    EvalItem,
    EvalScore,
    Judgement,
    Message,
    PreferencePair,
    Prompt,
    RefinerExample,
    Response,
    Tree,
    TreeNode,
    Verdict,
    Vote,
)
from storage.artifacts import ArtifactRef, ArtifactStore, Provenance
from storage.entries import ModelEntry, Promotion, StageRun
from storage.home import Home
from storage.ledger import Ledger

HOSTILE = (
    "</pre><script>alert(1)</script><img src=x onerror=alert(2)> \u202egnp.exe \x00\x07\ud800 "
    '"><a href="javascript:alert(3)">click</a> {{ 7 * 7 }} {% raw %} &lt;b&gt;'
)
RUN = "run-1"


def made_home(root, text=HOSTILE) -> Home:
    """One run with an iteration: a prompt, two answers, a tree of three nodes, a pair, an example, models, scores."""
    home = Home(root)
    home.settle()
    maker = Maker(home, text)
    maker.make()
    return home


class Maker:
    """Writes what a home holds, stage by stage."""

    def __init__(self, home: Home, text: str) -> None:
        self.home, self.text = home, text
        self.store, self.ledger = ArtifactStore(home), Ledger(home)
        self.now = datetime.now(UTC)

    def make(self) -> None:
        text = self.text
        self.ledger.open_run(RUN, {"note": text})
        prompt = Prompt("p1", f"prompt {text}", (Constraint("punctuation:no_comma"),), "train", text, f"seed {text}")
        self.put("prompts", prompts=[prompt])
        self.put("responses", responses=[_response("r1", text), _response("r2", f"second {text}", 1)])
        self.put(
            "judgements",
            judgements=[_judged("r1", Verdict.NO, text), replace(_judged("r2", Verdict.YES, text), votes_of="r1")],
            votes=[_vote("r1", text), _vote("r2", text)],
        )
        nodes = [
            _node("r1", None, 0, 0, text, text, anchored="rule"),
            _node("n2", "r1", 1, 1, f"{text} more", text, failure=text, value=None),
            _node("n3-node", "r1", 1, 2, f"better {text}", text, accepted=True, value=1.0, **_FEWER),
        ]
        tree = Tree("t1", "p1", "r1", "bfs", "accepted", 2, "n3-node", 1.5)
        self.put(
            "trees", trees=[tree], tree_nodes=nodes, tree_votes=[replace(_vote("n3-node", text), completion_tokens=9)]
        )
        taken = ("n3-node", "r1", False, True)  # the rejected text was cut
        pair = PreferencePair("pair1", "p1", "t1", f"prompt {text}", f"better {text}", text, 1.0, *taken)
        pairs = self.put("pairs", preference_pairs=[pair], drops=[Drop("pairs", "r2", "over_cap", text)])
        self.put(
            "judge_pairs", judge_pairs=[PreferencePair("judged", "p1", None, text, text, "no", 1.0, "r1/0", "r1/3")]
        )
        messages = (Message("user", text), Message("assistant", text))
        example = RefinerExample("e1", "judgement", text, messages, "p1", "n3-node", "t1")
        examples = self.put("refiner_data", refiner_examples=[example])
        self.put(
            "eval",
            eval_prompts=[Prompt("q1", f"held out {text}", (Constraint("punctuation:no_comma"),), "test", text)],
            eval_responses=[
                _response("s1", text, prompt="q1", model="new"),
                _response("s0", text, prompt="q1", model="old"),
            ],
            eval_items=[
                _item("old", 0.0, text),
                _item("new", 1.0, text),
                EvalItem("followbench", "actor", "new", "level/1", "level", "hard", 1.0, text),
            ],
            eval_scores=[
                _score("old", 0.25),
                _score("new", 0.75),
                EvalScore("followbench", "actor", "new", "hard", 0.5, 0.4, 0.6, 40),
            ],
        )
        for role, data in (("actor", pairs), ("refiner", examples)):
            trained = self.put(f"train_{role}", provenance=Provenance(inputs=(data,)), drops=[])
            self.model(role, 1, 0, "old", None, None)
            self.model(role, 2, 1, "new", "old", trained.stage_key)
        self.ledger.close_run(RUN, "completed", text)

    def put(self, stage: str, provenance: Provenance | None = None, run_id: str = RUN, **tables) -> ArtifactRef:
        key = f"{stage}-key"
        with self.store.part(stage, key, 0) as part:
            for table, rows in tables.items():
                part.write(table, rows)
            part.account(rows_in=1, rows_out=1 - len(tables.get("drops", ())))
        ref = self.store.commit(stage, key, provenance=provenance or Provenance())
        self.ledger.record_stage(
            StageRun(
                run_id=run_id,
                iteration=1,
                stage=stage,
                stage_key=key,
                state="completed",
                rows_in=1,
                rows_out=1,
                seconds=2.0,
                artifact_uri=ref.uri,
                started=self.now,
                ended=self.now,
                detail=self.text,
            )
        )
        return ref

    def model(self, role, version, iteration, digest, parent, trained) -> None:
        self.ledger.record_model(
            ModelEntry(
                run_id=RUN,
                role=role,
                iteration=iteration,
                name=role,
                version=version,
                uri="models/none",
                digest=digest,
                parent_digest=parent,
                train_stage_key=trained,
            )
        )
        self.ledger.record_promotion(
            Promotion(
                run_id=RUN,
                iteration=iteration,
                role=role,
                version=version,
                lineage="l",
                metric="accuracy",
                decision="promoted",
                reason=self.text,
                time=self.now,
            )
        )


_FEWER = {"votes_spared": 2, "completion_tokens": 12, "prompt_tokens": 30}


def _response(name, text, index=0, prompt="p1", model="old") -> Response:
    return Response(name, prompt, index, text, "stop", 10, 20, model, 7)


def _judged(name, verdict, text) -> Judgement:
    yes = 1 if verdict is Verdict.YES else 0
    return Judgement(name, verdict, yes, 1 - yes, 0, float(yes), text)


def _vote(name, text) -> Vote:
    return Vote(name, 0, Verdict.NO, text, "length", 3, thought=text)


def _node(name, parent, depth, order, response, text, **changed) -> TreeNode:
    known = {"value": 0.2, "accepted": False, "failure": None} | changed
    return TreeNode(
        tree_id="t1",
        node_id=name,
        parent_id=parent,
        depth=depth,
        visit_order=order,
        response=response,
        reflection=text,
        critique=text,
        yes_votes=1,
        no_votes=4,
        unparseable_votes=0,
        duplicate_of=None,
        finish_reason="stop",
        seed=1,
        rewrite=text,
        thought=text,
        **known,
    )


def _item(model, value, text) -> EvalItem:
    detail = json.dumps({"said": text})  # half a character is plain ASCII here, and none when it is read
    return EvalItem("self_play", "actor", model, "q1", "q1", "accuracy", value, detail)


def _score(model, value) -> EvalScore:
    return EvalScore("self_play", "actor", model, "accuracy", value, value - 0.1, value + 0.1, 40)
