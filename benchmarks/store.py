"""Seconds of `spar sql` over a home in an object store, for the questions of docs/tables.md.

    python -m benchmarks.store [--prompts 43000] [--pause-ms 20]

Makes a home in an S3 server (moto) as `benchmarks/view.py` does: ten answers per prompt, five votes per answer, a tree
of six nodes per prompt, in parts of 500 prompts. The questions then go through `benchmarks/range_server.py`, which
answers every request after a pause, as a store at some distance does. Every question is asked by a catalogue of its
own, as `spar sql` does, in a working folder that holds no data; the second time its ledger and index are there already.
Requests and MB are those of the first time. The same questions on a folder stand beside. What the process needs
once (imports, its first connection) is not counted: a question before the first takes it.
"""

import argparse
import os
import shutil
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks.range_server import RangeServer
from benchmarks.view import build
from storage.catalog import open_catalog
from storage.home import Home
from storage.objects import object_store
from storage.remote import WORK_VARIABLE
from tests.storage.object_server import make_bucket, object_server, variables

QUESTIONS = {
    "how deep are accepted rewrites": "SELECT iteration, n.depth, count(*) FROM trees t JOIN tree_nodes n "
    "USING (run_id, iteration, tree_id) WHERE n.accepted AND n.depth > 0 GROUP BY ALL ORDER BY ALL",
    "what was lost, where and why": "SELECT iteration, stage, reason, count(*) FROM drops GROUP BY ALL ORDER BY ALL",
    "kinds that are broken": "SELECT iteration, metric, value FROM eval_scores WHERE metric LIKE 'kind/%' ORDER BY ALL",
    "why a figure is not there": "SELECT iteration, metric, detail FROM eval_items WHERE value IS NULL",
    "why it was not promoted": "SELECT iteration, role, version, decision, reason FROM promotions ORDER BY time",
    "what a model was trained on": "SELECT l.* FROM models m JOIN lineage l ON l.child_id = m.digest "
    "WHERE m.role = 'actor' AND m.version = 2",
    "votes by verdict": "SELECT iteration, verdict, count(*) FROM votes GROUP BY ALL ORDER BY ALL",
    "answers by length": "SELECT iteration, finish_reason, avg(completion_tokens) FROM responses GROUP BY ALL",
}


def asked(home: Home, sql: str) -> float:
    """Seconds of one question, with opening the catalogue."""
    begun = time.perf_counter()
    home.check_layout()
    with open_catalog(home) as catalog:
        catalog.query(sql)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=43_000)
    parser.add_argument("--pause-ms", type=float, default=20)
    given = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = stack.enter_context(object_server())
        os.environ.update(variables(address) | {WORK_VARIABLE: str(scratch / "writer")})
        make_bucket(address, "benchmark")
        url, plain = "s3://benchmark/home", scratch / "plain"
        writer, begun = Home(url), time.perf_counter()
        build(writer, given.prompts)
        print(f"{given.prompts:,} prompts, made and sent in {time.perf_counter() - begun:.0f} s", flush=True)
        for top in ("artifacts", "runs"):
            shutil.copytree(writer.root / top, plain / top)
        server = stack.enter_context(closing(RangeServer(address, scratch / "copies", given.pause_ms / 1000)))
        for stored in object_store(url).listed("artifacts"):
            if "/joined/" in stored.key:
                server.copy(f"/benchmark/home/{stored.key}")
        os.environ.update(variables(server.address))
        object_store.cache_clear()
        os.sync()  # what was just written shall not slow the questions down
        os.environ[WORK_VARIABLE] = str(scratch / "imports")
        asked(Home(url), next(iter(QUESTIONS.values())))
        print(f"{'question':30} {'first':>7} {'then':>7} {'folder':>7} {'requests':>9} {'MB':>7}")
        for name, sql in QUESTIONS.items():
            os.environ[WORK_VARIABLE] = str(scratch / name)
            before = server.requests, server.sent_bytes
            first = asked(Home(url), sql)
            requests, sent = server.requests - before[0], server.sent_bytes - before[1]
            then, folder = asked(Home(url), sql), asked(Home(plain), sql)
            print(f"{name:30} {first:7.2f} {then:7.2f} {folder:7.2f} {requests:9} {sent / 1e6:7.1f}", flush=True)


if __name__ == "__main__":
    main()
