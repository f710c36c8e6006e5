"""Page times and memory of `spar view` on a made home of the paper's size.

    python benchmarks/view.py [--home DIR] [--prompts 10000]

A home with ten answers per prompt, five votes per answer, a tree of six nodes per prompt: 100,000 responses, 500,000
votes, 10,000 trees by default. Each page is asked for three times, in process, without a network; the table shows the
first and the median of the others, then the resident memory before and after 200 pages.
"""

import argparse
import random
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
from starlette.testclient import TestClient

from flows.view.app import make_app
from spar_core.hashing import digest
from spar_core.records import (
    Constraint,
    Drop,
    EvalItem,
    Judgement,
    PreferencePair,
    Prompt,
    Response,
    Tree,
    TreeNode,
    Verdict,
    Vote,
)
from storage.artifacts import ArtifactStore, Provenance
from storage.entries import ModelEntry, StageRun
from storage.home import Home
from storage.ledger import Ledger

RUN, PART = "made", 500
WORDS = [digest(["word", n])[: 3 + n % 7] for n in range(2000)]


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def build(home: Home, prompts: int) -> None:
    home.settle()
    store, ledger = ArtifactStore(home), Ledger(home)
    ledger.open_run(RUN, {})
    for stage, tables in (
        ("prompts", ("prompts",)),
        ("responses", ("responses",)),
        ("judgements", ("judgements", "votes")),
        ("trees", ("trees", "tree_nodes", "tree_votes")),
        ("pairs", ("preference_pairs", "drops")),
        ("measures", ("eval_items",)),
    ):
        for part in range(0, prompts, PART):
            rows: dict[str, list] = {table: [] for table in tables}
            for number in range(part, min(part + PART, prompts)):
                made = of_prompt(number, stage)
                for table in tables:
                    rows[table] += made[table]
            with store.part(stage, f"{stage}-key", part // PART) as opened:
                for table, found in rows.items():
                    opened.write(table, found)
                lost = len(rows.get("drops", ()))
                opened.account(rows_in=PART, rows_out=PART - lost)
        inputs = () if stage == "prompts" else (last,)  # noqa: F821 - the stage before
        last = store.commit(stage, f"{stage}-key", provenance=Provenance(inputs=inputs))  # noqa: F841
        now = datetime.now(UTC)
        ledger.record_stage(
            StageRun(run_id=RUN, iteration=1, stage=stage, stage_key=f"{stage}-key", state="completed", started=now)
        )
    ledger.record_model(
        ModelEntry(
            run_id=RUN, role="actor", iteration=1, name="actor", version=1, uri="none", digest="m", train_stage_key=None
        )
    )
    ledger.close_run(RUN, "completed")


def of_prompt(number: int, stage: str) -> dict[str, list]:
    rng = random.Random(f"{number}/{stage}")
    name = digest(["prompt", number])
    answers = [digest(["answer", number, n]) for n in range(10)]
    tree, nodes = digest(["tree", number]), [answers[0], *(digest(["node", number, n]) for n in range(5))]
    if stage == "prompts":
        return {"prompts": [Prompt(name, text(rng, 60), (Constraint("punctuation:no_comma"),), "train", "made")]}
    if stage == "responses":
        made = [Response(a, name, n, text(rng, 100), "stop", 80, 150, "m", n) for n, a in enumerate(answers)]
        return {"responses": made}
    if stage == "judgements":
        return {
            "judgements": [Judgement(a, Verdict.NO, 1, 4, 0, 0.2, text(rng, 50)) for a in answers],
            "votes": [Vote(a, n, Verdict.NO, text(rng, 50), "stop", n) for a in answers for n in range(5)],
        }
    if stage == "trees":
        found = number % 3 > 0
        return {
            "trees": [Tree(tree, name, answers[0], "bfs", "accepted", 5, nodes[3] if found else None, 9.0)],
            "tree_nodes": [
                TreeNode(
                    tree_id=tree, node_id=node, parent_id=None if n == 0 else nodes[(n - 1) // 2],
                    depth=(n + 1).bit_length() - 1,
                    visit_order=n, response=text(rng, 100), reflection=text(rng, 30), critique=text(rng, 50), value=0.4,
                    yes_votes=2, no_votes=3, unparseable_votes=0, duplicate_of=None, accepted=found and n == 3,
                    finish_reason="stop", seed=n,
                )
                for n, node in enumerate(nodes)
            ],
            "tree_votes": [Vote(node, n, Verdict.NO, text(rng, 50), "stop", n) for node in nodes[1:] for n in range(5)],
        }  # fmt: skip
    if stage == "pairs":
        pair = PreferencePair(digest(["pair", number]), name, tree, text(rng, 60), text(rng, 100), text(rng, 100), 1.0)
        kept = number % 3 > 0
        return {
            "preference_pairs": [pair] if kept else [],
            "drops": [] if kept else [Drop("pairs", tree, "not_accepted")],
        }
    return {"eval_items": [EvalItem("self_play", "actor", "m", a, name, "accuracy", 1.0) for a in answers[:2]]}


def pages(prompts: int) -> list[str]:
    name, tree = digest(["prompt", prompts // 2]), digest(["tree", prompts // 2])
    lists = ["/runs", "/trees", "/prompts", "/pairs", "/drops", "/evaluation", "/evaluation/self_play", "/models"]
    filtered = ["/trees?outcome=changed&sort=largest&page=40", "/trees?q=abc", f"/trees/{tree}?outcome=changed"]
    filtered += ["/trees?root=right", f"/trees/{tree}?root=right&text=right"]
    single = [f"/runs/{RUN}", f"/runs/{RUN}/1", f"/trees/{tree}", f"/prompts/{name}", "/models/actor/1"]
    return [*lists, *filtered, *single, f"/pairs/{digest(['pair', 1])}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path("build/view-home"))
    parser.add_argument("--prompts", type=int, default=10_000)
    asked = parser.parse_args()
    home = Home(asked.home)
    if not home.runs.is_dir():
        begun = time.perf_counter()
        build(home, asked.prompts)
        print(f"the home was made in {time.perf_counter() - begun:.0f} s")
    begun = time.perf_counter()
    app = make_app(home)
    client = TestClient(app, base_url="http://127.0.0.1")
    client.get("/runs")
    print(f"opened, with the first page: {time.perf_counter() - begun:.2f} s (imports not counted)")
    begun, trees = time.perf_counter(), app.state.view.truth.progress().total
    app.state.view.truth.wait()
    print(f"the checker came to all {trees:,} trees in {time.perf_counter() - begun:.1f} s, in the background")
    print(f"{'page':60} {'first':>7} {'then':>7}")
    for page in pages(asked.prompts):
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            answer = client.get(page)
            times.append(time.perf_counter() - begun)
            assert answer.status_code == 200, page
        print(f"{page:60} {times[0]:7.2f} {statistics.median(times[1:]):7.2f}")
    before = psutil.Process().memory_info().rss
    for number in range(200):
        client.get(pages(asked.prompts)[number % len(pages(asked.prompts))])
    after = psutil.Process().memory_info().rss
    print(f"memory: {before / 2**20:.0f} MiB, after 200 pages {after / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
