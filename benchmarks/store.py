"""Seconds of `spar sql` over a home in an object store, for the questions of docs/tables.md.

    python benchmarks/store.py [--home s3://bucket/prefix] [--prompts 43000]

Without a home it starts an S3 server in memory (moto, one Python process, some milliseconds per request) and makes a
home there as `benchmarks/view.py` does: ten answers per prompt, five votes per answer, a tree of six nodes per prompt,
in parts of 500 prompts. Every question is asked by a catalogue of its own, as `spar sql` does, in a working folder that
holds no data; the second time its ledger and index are there already. The same questions on a folder stand beside.
"""

import argparse
import os
import secrets
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.view import build
from storage.catalog import open_catalog
from storage.home import Home
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
    parser.add_argument("--home")
    parser.add_argument("--prompts", type=int, default=43_000)
    given = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = given.home
        if url is None:
            address = stack.enter_context(object_server())
            os.environ.update(variables(address))
            url = f"s3://benchmark/{secrets.token_hex(4)}"
            make_bucket(address, "benchmark")
        os.environ[WORK_VARIABLE] = str(scratch / "writer")
        writer, plain = Home(url), scratch / "plain"
        begun = time.perf_counter()
        build(writer, given.prompts)
        print(f"{given.prompts:,} prompts, made and sent in {time.perf_counter() - begun:.0f} s", flush=True)
        for top in ("artifacts", "runs"):
            shutil.copytree(writer.root / top, plain / top)
        print(f"{'question':30} {'first':>7} {'then':>7} {'folder':>7}")
        for name, sql in QUESTIONS.items():
            os.environ[WORK_VARIABLE] = str(scratch / name)
            first, then = asked(Home(url), sql), asked(Home(url), sql)
            print(f"{name:30} {first:7.2f} {then:7.2f} {asked(Home(plain), sql):7.2f}", flush=True)


if __name__ == "__main__":
    main()
