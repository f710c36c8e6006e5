"""What a row was made from and what was made of it: models, pairs, examples, trees, answers and prompts.

One question asks for the neighbours of one thing, so that a walk costs what is shown of it, whatever the home holds.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from spar_core.errors import StorageError
from storage.catalog import Catalog
from storage.lineage_queries import DOWN, EXACT, FOUND, STANDS_FOR, UP, ThingKind

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


def neighbours(catalog: Catalog, thing: Thing, direction: Direction, most: int = 10) -> Neighbours:
    """What a thing was made from (`up`) or what was made of it (`down`): at most `most` of it, and how many in all.

    Raises:
        StorageError: the home cannot be read.
    """
    queries = _queries(thing.kind, direction)
    if not queries:
        return Neighbours([], 0)
    union = _union(queries)
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
    for kind, query in (FOUND | EXACT if exact else FOUND).items():
        condition, value = ("id = ?", text) if exact else ("starts_with(id, ?)", text)
        for row in catalog.rows(f"SELECT DISTINCT ON (id) id, said FROM ({query}) WHERE {condition} LIMIT 3", [value]):
            things.append(Thing(kind, row["id"], row["said"] or ""))
    if not things and not exact:
        for kind, query in STANDS_FOR:
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
    """A thing with what is above or below it, nested: `kind`, `id`, `said`, `direction`'s things, `more`, `repeated`.

    `more` counts neighbours that are not named, also where `depth` ends the walk. What is met a second time is
    `repeated`: named, and not followed again.

    Raises:
        StorageError: the home cannot be read.
    """
    followed: set[Thing] = set()
    cut: dict[ThingKind, list[dict[str, Any]]] = {}

    def step(thing: Thing, left: int) -> dict[str, Any]:
        node: dict[str, Any] = {"kind": thing.kind, "id": thing.id, "said": thing.said, direction: [], "more": 0}
        known = thing._replace(said="")
        node["repeated"] = known in followed
        if node["repeated"]:
            return node
        if left <= 0:
            cut.setdefault(thing.kind, []).append(node)
            return node
        followed.add(known)
        near = neighbours(catalog, thing, direction, most)
        node[direction] = [step(entry, left - 1) for entry in near.things]
        node["more"] = near.more
        return node

    found = step(thing, depth)
    for kind, nodes in cut.items():
        counts = _counts(catalog, kind, direction, [node["id"] for node in nodes])
        for node in nodes:
            node["more"] = counts.get(node["id"], 0)
    return found


def _counts(catalog: Catalog, kind: ThingKind, direction: Direction, ids: Sequence[str]) -> dict[str, int]:
    """How many neighbours each of several things has, in one query."""
    queries = _queries(kind, direction)
    if not queries:
        return {}
    near = _union(queries).replace("?", "thing.id")
    rows = catalog.rows(
        "SELECT thing.id, near.total FROM (SELECT DISTINCT unnest(?) AS id) thing, LATERAL (SELECT count(*) AS total "
        f"FROM (SELECT DISTINCT near.kind, near.id FROM ({near}) near WHERE near.id IS NOT NULL)) near",
        [list(ids)],
    )
    return {row["id"]: row["total"] for row in rows}


def _queries(kind: ThingKind, direction: Direction) -> tuple[str, ...]:
    return (UP if direction == "up" else DOWN).get(kind, ())


def _union(queries: Sequence[str]) -> str:
    return " UNION ALL ".join(f"({query})" for query in queries)
