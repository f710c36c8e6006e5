"""Where the rows of a home are, and what is next to each: the queries behind `storage.row_lineage`.

Each of `UP` and `DOWN` asks with one question mark for the neighbours of one thing, as `kind, id, said`.
"""

from typing import Literal

from storage.views import TRAININGS

ThingKind = Literal["model", "pair", "example", "tree", "vote", "answer", "prompt", "file", "source", "weights"]
"""`file` (by digest), `source` (of prompts, as they name it) and `weights` (of no registered model) are only named."""

# Where a kind's rows are: the queries of `kind, id, said`, with one question mark for an id's beginning.
FOUND: dict[ThingKind, str] = {
    "prompt": "SELECT prompt_id AS id, text AS said FROM prompts UNION ALL SELECT prompt_id, text FROM eval_prompts",
    "answer": "SELECT response_id AS id, text AS said FROM responses UNION ALL "
    "SELECT response_id, text FROM eval_responses",
    "tree": "SELECT tree_id AS id, stop_reason || ', ' || nodes_expanded || ' rewrites' AS said FROM trees",
    "pair": "SELECT pair_id AS id, chosen AS said FROM preference_pairs UNION ALL "
    "SELECT pair_id, chosen FROM judge_pairs UNION ALL SELECT pair_id, chosen FROM given_pairs",
    "example": "SELECT example_id AS id, kind || ' from ' || source AS said FROM refiner_examples",
    "model": "SELECT role || '/' || version AS id, run_id || ', iteration ' || iteration AS said FROM models",
}
# Votes have ids made of two, that begin as those of what they judge: only whole ones are looked for.
_VOTES = (
    "(SELECT stage_key, response_id, vote_index, verdict, critique, response_id || '/' || vote_index AS id FROM votes "
    "UNION ALL SELECT stage_key, response_id, vote_index, verdict, critique, response_id || '/' || vote_index "
    "FROM tree_votes)"
)
EXACT: dict[ThingKind, str] = {"vote": f"SELECT id, verdict || ': ' || critique AS said FROM {_VOTES}"}
# The vote that a judgement's example teaches: the first on its text that says what the example says.
_TAUGHT = "v.response_id = e.text_id AND v.critique = list_last(e.messages).content"
# Ids that stand for something else: a node for its tree, weights for their model.
STANDS_FOR: tuple[tuple[ThingKind, str], ...] = (
    ("tree", "SELECT node_id AS own, tree_id AS id, 'with node ' || node_id AS said FROM tree_nodes"),
    ("model", "SELECT digest AS own, role || '/' || version AS id, run_id AS said FROM models"),
)
_TRAINED = (
    "SELECT 'model' AS kind, m.role || '/' || m.version AS id, m.run_id || ', iteration ' || m.iteration AS said "
    "FROM {table} r JOIN lineage l ON l.child_kind = 'artifact' AND l.parent_id = r.stage_key "
    f"JOIN {TRAININGS} t ON t.stage_key = l.child_id JOIN models m USING (role, version) WHERE r.{{key}} = ?"
)
_PROMPT = "SELECT 'prompt' AS kind, prompt_id AS id, {text} AS said FROM {table} WHERE {key} = ? AND prompt_id <> ''"
_DATA = (
    "SELECT '{kind}' AS kind, r.{key} AS id, {text} AS said "
    f"FROM {TRAININGS} t JOIN lineage l ON l.child_kind = 'artifact' "
    "AND l.child_id = t.stage_key JOIN {table} r ON r.stage_key = l.parent_id "
    "WHERE t.role || '/' || t.version = ?"
)
# What the artifact of a row was made from beside other rows: files, and models, where they are registered by their
# version. Benchmarks are files that prompts were kept apart from.
_READ = (
    "SELECT 'file' AS kind, l.parent_id AS id, 'read as ' || l.parent_name AS said FROM {table} r JOIN lineage l "
    "ON l.child_kind = 'artifact' AND l.child_id = r.stage_key AND l.parent_kind = 'file' "
    "AND NOT starts_with(l.parent_name, 'benchmark') WHERE r.{key} = ?",
    "SELECT if(m.version IS NULL, 'weights', 'model') AS kind, "
    "coalesce(m.role || '/' || m.version, l.parent_id) AS id, 'asked as ' || l.parent_name AS said FROM {table} r "
    "JOIN lineage l ON l.child_kind = 'artifact' "
    "AND l.child_id = r.stage_key AND l.parent_kind = 'model' LEFT JOIN (SELECT digest, role, min(version) AS version "
    "FROM models GROUP BY ALL) m ON m.digest = l.parent_id WHERE r.{key} = ?",
)


def _read(table: str, key: str) -> tuple[str, ...]:
    return tuple(query.format(table=table, key=key) for query in _READ)


UP: dict[ThingKind, tuple[str, ...]] = {
    "model": (
        "SELECT 'model' AS kind, p.role || '/' || p.version AS id, p.run_id || ', iteration ' || p.iteration AS said "
        "FROM models m JOIN models p ON p.role = m.role AND p.digest = m.parent_digest "
        # Weights that no training touched are registered with each run that begins with them: they come from nothing,
        # and what was made of them from the own run's entry.
        "AND p.digest <> m.digest AND p.version < m.version WHERE m.role || '/' || m.version = ? "
        "QUALIFY row_number() OVER (ORDER BY p.run_id = m.run_id DESC, p.version DESC) = 1",
        _DATA.format(kind="prompt", key="prompt_id", text="r.text", table="prompts"),  # of rewards for its answers
        _DATA.format(kind="pair", key="pair_id", text="r.chosen", table="preference_pairs"),
        _DATA.format(kind="pair", key="pair_id", text="r.chosen", table="judge_pairs"),
        _DATA.format(kind="pair", key="pair_id", text="r.chosen", table="given_pairs"),
        _DATA.format(kind="example", key="example_id", text="r.kind || ' from ' || r.source", table="refiner_examples"),
    ),
    "pair": (
        "SELECT 'tree' AS kind, tree_id AS id, 'its accepted rewrite over its root' AS said FROM preference_pairs "
        "WHERE pair_id = ? AND tree_id IS NOT NULL",
        "SELECT 'answer' AS kind, r.response_id AS id, 'chosen: ' || r.text AS said FROM preference_pairs p "
        "JOIN responses r ON r.response_id = p.chosen_id WHERE p.pair_id = ?",
        "SELECT 'answer' AS kind, r.response_id AS id, 'rejected: ' || r.text AS said FROM preference_pairs p "
        "JOIN responses r ON r.response_id = p.rejected_id WHERE p.pair_id = ?",
        "SELECT 'answer' AS kind, r.response_id AS id, 'two judgements of it: ' || r.text AS said FROM judge_pairs p "
        "JOIN responses r ON r.response_id = split_part(p.chosen_id, '/', 1) WHERE p.pair_id = ?",
        _PROMPT.format(text="prompt", table="preference_pairs", key="pair_id"),
        _PROMPT.format(text="''", table="judge_pairs", key="pair_id"),
        "SELECT 'vote' AS kind, chosen_id AS id, 'chosen' AS said FROM judge_pairs WHERE pair_id = ?",
        "SELECT 'vote' AS kind, rejected_id AS id, 'rejected' AS said FROM judge_pairs WHERE pair_id = ?",
        *_read("given_pairs", "pair_id"),
    ),
    "example": (
        "SELECT 'tree' AS kind, tree_id AS id, 'node ' || text_id AS said FROM refiner_examples "
        "WHERE example_id = ? AND tree_id IS NOT NULL",
        "SELECT 'answer' AS kind, r.response_id AS id, r.text AS said FROM refiner_examples e "
        "JOIN responses r ON r.response_id = e.text_id WHERE e.example_id = ?",
        "SELECT 'prompt' AS kind, p.prompt_id AS id, p.text AS said FROM refiner_examples e "
        "JOIN prompts p USING (prompt_id) WHERE e.example_id = ?",
        "SELECT 'vote' AS kind, arg_min(v.id, v.vote_index) AS id, 'what it teaches: ' || any_value(v.verdict) AS said "
        f"FROM refiner_examples e JOIN {_VOTES} v ON {_TAUGHT} WHERE e.example_id = ? GROUP BY e.example_id",
        *_read("refiner_examples", "example_id"),
    ),
    "tree": (
        "SELECT 'answer' AS kind, t.root_response_id AS id, r.text AS said FROM trees t "
        "JOIN responses r ON r.response_id = t.root_response_id WHERE t.tree_id = ?",
        "SELECT 'vote' AS kind, v.id, v.verdict || ' on the failing answer' AS said FROM trees t "
        f"JOIN {_VOTES} v ON v.response_id = t.root_response_id WHERE t.tree_id = ?",
        "SELECT 'vote' AS kind, v.id, v.verdict || ' on rewrite ' || n.visit_order AS said FROM tree_nodes n "
        f"JOIN {_VOTES} v ON v.response_id = n.node_id WHERE n.tree_id = ? AND n.parent_id IS NOT NULL",
    ),
    "vote": (
        "SELECT 'answer' AS kind, response_id AS id, text AS said FROM responses "
        "WHERE response_id = split_part(?, '/', 1)",
        "SELECT 'tree' AS kind, tree_id AS id, 'node ' || node_id AS said FROM tree_nodes "
        "WHERE node_id = split_part(?, '/', 1) AND parent_id IS NOT NULL",
        f"SELECT 'model' AS kind, m.role || '/' || m.version AS id, 'wrote it' AS said FROM {_VOTES} v JOIN lineage l "
        "ON l.child_kind = 'artifact' AND l.child_id = v.stage_key AND l.parent_kind = 'model' "
        "JOIN models m ON m.digest = l.parent_id AND m.role = 'refiner' WHERE v.id = ?",
    ),
    "answer": (
        "SELECT 'prompt' AS kind, p.prompt_id AS id, p.text AS said FROM responses r "
        "JOIN prompts p USING (prompt_id) WHERE r.response_id = ?",
        "SELECT 'prompt' AS kind, p.prompt_id AS id, p.text AS said FROM eval_responses r "
        "JOIN eval_prompts p USING (prompt_id) WHERE r.response_id = ?",
        "SELECT 'model' AS kind, m.role || '/' || m.version AS id, 'wrote it' AS said "
        "FROM (SELECT response_id, model_digest FROM responses UNION ALL "
        "SELECT response_id, model_digest FROM eval_responses) r "
        "JOIN models m ON m.digest = r.model_digest AND m.role = 'actor' WHERE r.response_id = ?",
    ),
    "prompt": (
        "SELECT 'source' AS kind, p.source AS id, 'split ' || p.split || if(p.source = 'user', '', "
        "coalesce(', drawn with seed ' || (r.config ->> '$.seed'), '')) "
        "|| coalesce(', made from: ' || nullif(p.seed_prompt, ''), '') AS said "
        "FROM prompts p JOIN runs r USING (run_id) WHERE p.prompt_id = ?",
        "SELECT 'source' AS kind, source AS id, 'split ' || split || ', to measure with' AS said FROM eval_prompts "
        "WHERE prompt_id = ?",
        *_read("prompts", "prompt_id"),
        *_read("eval_prompts", "prompt_id"),
    ),
}
DOWN: dict[ThingKind, tuple[str, ...]] = {
    "prompt": (
        "SELECT 'answer' AS kind, response_id AS id, text AS said FROM responses WHERE prompt_id = ?",
        "SELECT 'answer' AS kind, response_id AS id, 'measured: ' || text AS said FROM eval_responses "
        "WHERE prompt_id = ?",
        _TRAINED.format(table="prompts", key="prompt_id"),
    ),
    "answer": (
        "SELECT 'tree' AS kind, tree_id AS id, stop_reason AS said FROM trees WHERE root_response_id = ?",
        "SELECT 'pair' AS kind, pair_id AS id, 'chosen' AS said FROM preference_pairs WHERE chosen_id = ?",
        "SELECT 'pair' AS kind, pair_id AS id, 'rejected' AS said FROM preference_pairs "
        "WHERE rejected_id = ? AND tree_id IS NULL",
        "SELECT 'pair' AS kind, pair_id AS id, 'judgements of it' AS said FROM judge_pairs "
        "WHERE split_part(chosen_id, '/', 1) = ?",
        "SELECT 'example' AS kind, example_id AS id, kind AS said FROM refiner_examples WHERE text_id = ?",
        f"SELECT 'vote' AS kind, id, verdict AS said FROM {_VOTES} WHERE response_id = ?",
    ),
    "vote": (
        f"SELECT 'example' AS kind, e.example_id AS id, 'teaches it' AS said FROM {_VOTES} v "
        f"JOIN refiner_examples e ON {_TAUGHT} WHERE v.id = ?",
        "SELECT 'pair' AS kind, pair_id AS id, 'chosen' AS said FROM judge_pairs WHERE chosen_id = ?",
        "SELECT 'pair' AS kind, pair_id AS id, 'rejected' AS said FROM judge_pairs WHERE rejected_id = ?",
    ),
    "tree": (
        "SELECT 'pair' AS kind, pair_id AS id, chosen AS said FROM preference_pairs WHERE tree_id = ?",
        "SELECT 'example' AS kind, example_id AS id, kind || ' from ' || source AS said FROM refiner_examples "
        "WHERE tree_id = ?",
    ),
    "pair": tuple(
        _TRAINED.format(table=table, key="pair_id") for table in ("preference_pairs", "judge_pairs", "given_pairs")
    ),
    "example": (_TRAINED.format(table="refiner_examples", key="example_id"),),
    "model": (
        "SELECT 'model' AS kind, c.role || '/' || c.version AS id, c.run_id || ', iteration ' || c.iteration AS said "
        "FROM models m JOIN models c ON c.role = m.role AND c.parent_digest = m.digest AND c.digest <> m.digest "
        "AND c.version > m.version "
        "WHERE m.role || '/' || m.version = ?",
    ),
}
