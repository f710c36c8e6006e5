"""Pages of registered models: what each is, how good, why it has its place, and what it learned from."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flows.view.reader import Reader, Rows
from flows.view.rendering import missing, reader_of, render
from storage.other_pages import version_pages
from storage.views import TRAININGS

_SCORE = {"actor": "accuracy", "refiner": "judge_balanced_accuracy"}
# The rows of a training's data, by table, with the path their pages have.
_LEARNED = (
    ("prompts", "prompt_id", "prompts", "text"),
    ("preference_pairs", "pair_id", "pairs", "prompt"),
    ("judge_pairs", "pair_id", "pairs", "prompt"),
    ("given_pairs", "pair_id", "pairs", "chosen"),
    ("refiner_examples", "example_id", "examples", "list_last(messages).content"),
)
_SOME = 20


def models(request: Request) -> Response:
    """All models by role, the newest first."""
    rows = reader_of(request).rows(
        "SELECT DISTINCT m.*, p.decision, p.reason FROM models m LEFT JOIN promotions p "
        "ON p.run_id = m.run_id AND p.role = m.role AND p.version = m.version ORDER BY m.role, m.version DESC"
    )
    scores = reader_of(request).rows(
        "SELECT DISTINCT ON (model_digest, metric) * FROM eval_scores WHERE benchmark = 'self_play' AND "
        "settings = '' AND list_contains(?, metric) ORDER BY model_digest, metric, n DESC",
        [list(_SCORE.values())],
    )
    by_model = {(row["model_digest"], row["metric"]): row for row in scores}
    return render(request, "models.html", {"models": rows, "scores": by_model, "metric": _SCORE})


def model(request: Request) -> Response:
    """One version: scores beside its parent's, why it has its place, what it learned from, what came of it."""
    reader = reader_of(request)
    role, text = request.path_params["role"], request.path_params["version"]
    version = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    found = reader.one("SELECT * FROM models WHERE role = ? AND version = ?", [role, version])
    if found is None:
        raise missing(f"no {role}/{text} in this home")
    shown = {
        "model": found,
        "parent": reader.one(
            "SELECT * FROM models WHERE role = ? AND digest = ? AND digest <> ? AND version < ? "
            "ORDER BY run_id = ? DESC, version DESC",
            [role, found["parent_digest"], found["digest"], version, found["run_id"]],
        ),
        "children": reader.rows(
            "SELECT DISTINCT role, version, run_id, iteration FROM models WHERE role = ? AND parent_digest = ? "
            "AND digest <> parent_digest ORDER BY version",
            [role, found["digest"]],
        ),
        "promotions": reader.rows("SELECT * FROM promotions WHERE role = ? AND version = ?", [role, version]),
        "scores": _scores(reader, found),
        "learned": _learned(reader, found),
        "others": version_pages(reader.home, role, version),
        "trainings": reader.rows(
            f"SELECT DISTINCT ON (s.stage_key) s.* FROM {TRAININGS} t JOIN stages s USING (stage_key) "
            "WHERE t.role = ? AND t.version = ? ORDER BY s.stage_key = ?, s.stage_key",
            [role, version, found["train_stage_key"]],
        ),
    }
    return render(request, "model.html", shown)


def _scores(reader: Reader, found: dict[str, Any]) -> Rows:
    """Scores of a model beside its parent's, those of the first rank before kinds and subsets."""
    return reader.rows(
        "SELECT benchmark, metric, arg_max(value, n) FILTER (model_digest = ?) AS value, "
        "arg_max(ci_low, n) FILTER (model_digest = ?) AS ci_low, "
        "arg_max(ci_high, n) FILTER (model_digest = ?) AS ci_high, "
        "max(n) FILTER (model_digest = ?) AS n, arg_max(value, n) FILTER (model_digest <> ?) AS before "
        "FROM eval_scores WHERE role = ? AND list_contains([?, ?], model_digest) "
        "AND settings = '' GROUP BY benchmark, metric "
        "HAVING value IS NOT NULL AND NOT isnan(value) ORDER BY benchmark, contains(metric, '/'), metric LIMIT 300",
        [*[found["digest"]] * 5, found["role"], found["digest"], found["parent_digest"] or ""],
    )


def _learned(reader: Reader, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Per table of its training's data: how many rows, and some of them."""
    parents = reader.rows(
        f"SELECT DISTINCT l.parent_id FROM {TRAININGS} t JOIN lineage l ON l.child_id = t.stage_key "
        "WHERE l.child_kind = 'artifact' AND l.parent_kind = 'artifact' AND t.role = ? AND t.version = ?",
        [found["role"], found["version"]],
    )
    keys = [row["parent_id"] for row in parents]
    learned = []
    for table, key, path, text in _LEARNED:
        rows = reader.rows(
            f"SELECT DISTINCT {key} AS id, {text} AS text, iteration, run_id, count(*) OVER () AS total FROM {table} "
            f"WHERE list_contains(?, stage_key) AND run_id = ? ORDER BY id LIMIT {_SOME}",
            [keys, found["run_id"]],
        )
        if rows:
            learned.append({"table": table, "path": path, "rows": rows, "total": rows[0]["total"]})
    return learned


ROUTES: list[BaseRoute] = [Route("/models", models), Route("/models/{role}/{version}", model)]
