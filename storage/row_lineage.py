"""What a row was made from and what was made of it: models, pairs, examples, trees, answers and prompts.

One question asks for the neighbours of one thing, so that a walk costs what is shown of it, whatever the home holds.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from spar_core.errors import StorageError
from storage.catalog import Catalog

ThingKind = Literal["model", "pair", "example", "tree", "answer", "prompt"]
Direction = Literal["up", "down"]
_SHORTEST = 6  # digits of an id that may stand for the whole


class Thing(NamedTuple):
    """A row by kind and id; a model's id is `role/version`. `said` is a line about it."""

    kind: ThingKind
    id: str
    said: str = ""


class Neighbours(NamedTuple):
    """What a thing was made from, or what was made of it: some of it, and how many there are in all."""

    things: list[Thing]
    total: int

    @property
    def more(self) -> int:
        """How many are not named."""
        return self.total - len(self.things)


# Where a kind's rows are: the queries of `kind, id, said`, with one question mark for an id's beginning.
_FOUND: dict[ThingKind, str] = {
    "prompt": "SELECT prompt_id AS id, text AS said FROM prompts UNION ALL SELECT prompt_id, text FROM eval_prompts",
    "answer": "SELECT response_id AS id, text AS said FROM responses UNION ALL "
    "SELECT response_id, text FROM eval_responses",
    "tree": "SELECT tree_id AS id, stop_reason || ', ' || nodes_expanded || ' rewrites' AS said FROM trees",
    "pair": "SELECT pair_id AS id, chosen AS said FROM preference_pairs UNION ALL "
    "SELECT pair_id, chosen FROM judge_pairs UNION ALL SELECT pair_id, chosen FROM given_pairs",
    "example": "SELECT example_id AS id, kind || ' from ' || source AS said FROM refiner_examples",
    "model": "SELECT role || '/' || version AS id, run_id || ', iteration ' || iteration AS said FROM models",
}
# Ids that stand for something else: a node for its tree, weights for their model.
_STANDS_FOR: tuple[tuple[ThingKind, str], ...] = (
    ("tree", "SELECT node_id AS own, tree_id AS id, 'with node ' || node_id AS said FROM tree_nodes"),
    ("model", "SELECT digest AS own, role || '/' || version AS id, run_id AS said FROM models"),
)
_TRAINED = (
    "SELECT 'model' AS kind, m.role || '/' || m.version AS id, m.run_id || ', iteration ' || m.iteration AS said "
    "FROM {table} r JOIN lineage l ON l.child_kind = 'artifact' AND l.parent_id = r.stage_key "
    "JOIN models m ON m.train_stage_key = l.child_id WHERE r.{key} = ?"
)
_PROMPT = "SELECT 'prompt' AS kind, prompt_id AS id, {text} AS said FROM {table} WHERE {key} = ? AND prompt_id <> ''"
_DATA = (
    "SELECT '{kind}' AS kind, r.{key} AS id, {text} AS said FROM models m JOIN lineage l ON l.child_kind = 'artifact' "
    "AND l.child_id = m.train_stage_key JOIN {table} r ON r.stage_key = l.parent_id "
    "WHERE m.role || '/' || m.version = ?"
)
_UP: dict[ThingKind, tuple[str, ...]] = {
    "model": (
        "SELECT 'model' AS kind, p.role || '/' || p.version AS id, p.run_id || ', iteration ' || p.iteration AS said "
        "FROM models m JOIN models p ON p.role = m.role AND p.digest = m.parent_digest "
        "WHERE m.role || '/' || m.version = ?",
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
    ),
    "example": (
        "SELECT 'tree' AS kind, tree_id AS id, 'node ' || text_id AS said FROM refiner_examples "
        "WHERE example_id = ? AND tree_id IS NOT NULL",
        "SELECT 'answer' AS kind, r.response_id AS id, r.text AS said FROM refiner_examples e "
        "JOIN responses r ON r.response_id = e.text_id WHERE e.example_id = ?",
        "SELECT 'prompt' AS kind, p.prompt_id AS id, p.text AS said FROM refiner_examples e "
        "JOIN prompts p USING (prompt_id) WHERE e.example_id = ?",
    ),
    "tree": (
        "SELECT 'answer' AS kind, t.root_response_id AS id, r.text AS said FROM trees t "
        "JOIN responses r ON r.response_id = t.root_response_id WHERE t.tree_id = ?",
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
    "prompt": (),
}
_DOWN: dict[ThingKind, tuple[str, ...]] = {
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
        "FROM models m JOIN models c ON c.role = m.role AND c.parent_digest = m.digest AND c.version > m.version "
        "WHERE m.role || '/' || m.version = ?",
    ),
}


def neighbours(catalog: Catalog, thing: Thing, direction: Direction, most: int = 10) -> Neighbours:
    """What a thing was made from (`up`) or what was made of it (`down`): at most `most` of it, and how many in all.

    Raises:
        StorageError: the home cannot be read.
    """
    queries = (_UP if direction == "up" else _DOWN)[thing.kind]
    if not queries:
        return Neighbours([], 0)
    union = " UNION ALL ".join(f"({query})" for query in queries)
    rows = catalog.rows(
        f"SELECT kind, id, any_value(said) AS said, count(*) OVER () AS total FROM ({union}) "
        f"WHERE id IS NOT NULL GROUP BY kind, id ORDER BY kind = 'model' DESC, kind, id LIMIT {most}",
        [thing.id] * len(queries),
    )
    return Neighbours(
        [Thing(row["kind"], row["id"], row["said"] or "") for row in rows], rows[0]["total"] if rows else 0
    )


def found(catalog: Catalog, reference: str) -> Thing:
    """The thing of an id, of an id's beginning, or a model by `role/version`.

    Raises:
        StorageError: nothing has it, or several things do; the message says which.
    """
    text = reference.strip()
    exact = "/" in text
    if not exact and len(text) < _SHORTEST:
        raise StorageError(
            f"{reference!r} is too short: give at least {_SHORTEST} digits of an id, or a model as actor/3"
        )
    things: list[Thing] = []
    for kind, query in _FOUND.items():
        condition, value = ("id = ?", text) if exact else ("starts_with(id, ?)", text)
        for row in catalog.rows(f"SELECT DISTINCT ON (id) id, said FROM ({query}) WHERE {condition} LIMIT 3", [value]):
            things.append(Thing(kind, row["id"], row["said"] or ""))
    if not things and not exact:
        for kind, query in _STANDS_FOR:
            rows = catalog.rows(f"SELECT DISTINCT id, said FROM ({query}) WHERE starts_with(own, ?) LIMIT 3", [text])
            things += [Thing(kind, row["id"], row["said"]) for row in rows]
    if not things:
        raise StorageError(
            f"nothing here has the id {reference!r}; models are named actor/3, all else by its id or the first "
            f"{_SHORTEST} digits of it or more: those that `spar view` and `spar sql` show"
        )
    if len(things) > 1:
        raise StorageError(f"{reference!r} may be {_listed(things)}; give more digits")
    return things[0]


def _listed(things: Sequence[Thing]) -> str:
    return ", ".join(f"{thing.kind} {thing.id}" for thing in things)


def walk(catalog: Catalog, thing: Thing, direction: Direction, depth: int, most: int) -> dict[str, Any]:
    """A thing with what is above or below it, nested: `kind`, `id`, `said`, `direction`'s things, `more`.

    What is met a second time is named and not followed again.

    Raises:
        StorageError: the home cannot be read.
    """
    followed: set[Thing] = set()

    def step(thing: Thing, left: int) -> dict[str, Any]:
        node: dict[str, Any] = {"kind": thing.kind, "id": thing.id, "said": thing.said, direction: [], "more": 0}
        known = thing._replace(said="")
        if left <= 0 or known in followed:
            return node
        followed.add(known)
        near = neighbours(catalog, thing, direction, most)
        node[direction] = [step(entry, left - 1) for entry in near.things]
        node["more"] = near.more
        return node

    return step(thing, depth)
