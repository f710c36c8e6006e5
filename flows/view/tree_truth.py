"""What a checker says of every search tree's failing answer and accepted text: found out in the background, not kept.

The first list of trees starts it; artifacts do not change, so each one's trees are checked once while the application
lives. Until then `checked` of `total` says how far it is. Some 100 bytes are held per tree.
"""

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from flows.view.reader import Reader
from flows.view.rules import right_of
from spar_core.errors import StorageError

Text = Literal["root", "accepted"]
Truth = Literal["right", "wrong", "unknown"]
_AT_ONCE = 500  # trees whose texts are held
_TABLES = (("trees", "tree_nodes", "prompts"), ("eval_trees", "eval_tree_nodes", "eval_prompts"))


class TreeVerdicts(NamedTuple):
    """Of one tree: what the checker says; `accepted` is null where the search accepted nothing."""

    root: Truth
    accepted: Truth | None


class Progress(NamedTuple):
    """How many of the trees that are in the home are checked."""

    checked: int
    total: int


class TreeTruth:
    """The verdicts on the trees of one home, by `STAGE_KEY/TREE_ID`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._found: dict[str, TreeVerdicts] = {}
        self._checked: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._closed = False

    def verdicts(self, stage_key: str, tree_id: str) -> TreeVerdicts | None:
        """Those on a tree; null where it is not checked yet."""
        return self._found.get(f"{stage_key}/{tree_id}")

    def keys(self, text: Text, truth: str) -> list[str]:
        """The trees, as `STAGE_KEY/TREE_ID`, on whose text the checker says this."""
        return [key for key, verdicts in self._found.copy().items() if getattr(verdicts, text) == truth]

    def progress(self) -> Progress:
        """How far the checking is; goes on with it where there are trees that are not checked."""
        artifacts = self._artifacts()
        total = sum(row["trees"] for row in artifacts)
        checked = sum(min(row["trees"], self._checked.get(_place(row), 0)) for row in artifacts)
        if checked < total:
            with self._lock:
                if not self._closed and (self._worker is None or not self._worker.is_alive()):
                    self._worker = threading.Thread(target=self._check, name="tree-truth", daemon=True)
                    self._worker.start()
        return Progress(checked, total)

    def wait(self) -> None:
        """Until what was begun is done."""
        if self._worker is not None:
            self._worker.join()

    def close(self) -> None:
        """End the checking; idempotent."""
        with self._lock:
            self._closed = True
        self.wait()

    def _artifacts(self) -> list[dict[str, Any]]:
        counts = (
            f"SELECT '{tables[0]}' AS kind, stage_key, count(DISTINCT tree_id) AS trees FROM {tables[0]} "
            "GROUP BY stage_key"
            for tables in _TABLES
        )
        return self._reader.rows(" UNION ALL ".join(counts))

    def _check(self) -> None:
        try:
            for artifact in self._artifacts():
                if self._checked.get(_place(artifact), 0) < artifact["trees"]:
                    self._check_artifact(_place(artifact))
        except StorageError:
            return  # a home that cannot be read now: the pages say so, and the next list tries again

    def _check_artifact(self, place: tuple[str, str]) -> None:
        kind, stage_key = place
        self._checked[place] = 0
        for row in self._texts(*next(tables for tables in _TABLES if tables[0] == kind), stage_key):
            if self._closed:
                return
            accepted = None if row["accepted"] is None else _said(row, row["accepted"])
            self._found[f"{stage_key}/{row['tree_id']}"] = TreeVerdicts(_said(row, row["root"]), accepted)
            self._checked[place] += 1

    def _texts(self, trees: str, nodes: str, prompts: str, stage_key: str) -> Iterator[dict[str, Any]]:
        last = ""
        while True:
            rows = self._reader.rows(
                f"""
SELECT t.tree_id, p.constraints, p.source, n.root, n.accepted
FROM (SELECT DISTINCT tree_id, prompt_id FROM {trees} WHERE stage_key = ? AND tree_id > ? ORDER BY tree_id
      LIMIT {_AT_ONCE}) t
LEFT JOIN (SELECT prompt_id, any_value(constraints) AS constraints, any_value(source) AS source FROM {prompts}
           GROUP BY prompt_id) p USING (prompt_id)
LEFT JOIN (SELECT tree_id, any_value(response) FILTER (parent_id IS NULL) AS root,
                  any_value(response) FILTER (accepted) AS accepted
           FROM {nodes} WHERE stage_key = ? AND tree_id > ? AND (parent_id IS NULL OR accepted) GROUP BY tree_id) n
  USING (tree_id)
ORDER BY t.tree_id""",
                [stage_key, last, stage_key, last],
            )
            yield from rows
            if len(rows) < _AT_ONCE:
                return
            last = rows[-1]["tree_id"]


def _place(artifact: Mapping[str, Any]) -> tuple[str, str]:
    return artifact["kind"], artifact["stage_key"]


def _said(prompt: Mapping[str, Any], text: str | None) -> Truth:
    right = None if text is None else right_of(prompt, text)
    return "unknown" if right is None else "right" if right else "wrong"
