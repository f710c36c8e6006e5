"""Pages of search trees: the list, and one tree with one of its nodes opened."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flows.view.lists import Choice, Lister, of_run, values_of
from flows.view.reader import Reader, Rows
from flows.view.rendering import missing, reader_of, render, view_of
from flows.view.rules import is_right, rules_of
from flows.view.tree_picture import path_to, tree_picture
from flows.view.tree_truth import Text
from flows.view.word_diff import changed_words, word_diff
from storage import places
from storage.other_pages import tree_pages

_TRUTHS = (("right", "right"), ("wrong", "wrong"), ("unknown", "not known"))
# One text of all keys, as the parameter of every filter is one text.
_OF_KEYS = "stage_key || '/' || tree_id IN (SELECT unnest(string_split(?, ' ')))"


def _of_truth(text: Text) -> Callable[[Request, str], str]:
    """The trees on whose failing answer or accepted text the checker says something."""
    return lambda request, truth: " ".join(view_of(request).truth.keys(text, truth))


_ROWS = """
SELECT t.*, p.text AS prompt, p.constraints, p.source, a.depth AS accepted_depth, t.of AS searched,
       t.accepted_node_id IS NOT NULL AS found
FROM (SELECT *, 'training' AS of FROM trees UNION ALL BY NAME SELECT *, 'evaluation' AS of FROM eval_trees) t
LEFT JOIN (SELECT prompt_id, any_value(text) AS text, any_value(constraints) AS constraints, any_value(source) AS source
           FROM (SELECT * FROM prompts UNION ALL BY NAME SELECT * FROM eval_prompts) GROUP BY prompt_id) p
  USING (prompt_id)
LEFT JOIN (SELECT run_id, iteration, tree_id, any_value(depth) AS depth FROM (SELECT * FROM tree_nodes WHERE accepted
           UNION ALL BY NAME SELECT * FROM eval_tree_nodes WHERE accepted) GROUP BY ALL) a
  ON a.run_id = t.run_id AND a.iteration IS NOT DISTINCT FROM t.iteration AND a.tree_id = t.tree_id"""
LISTER = Lister(
    _ROWS,
    [
        Choice("q", "Prompt holds", "prompt ILIKE ? ESCAPE '\\'", like=True),
        *of_run("trees"),
        Choice(
            "of",
            "Made for",
            "",
            fixed=(("training", "training"), ("evaluation", "measuring")),
            conditions={"training": "searched = 'training'", "evaluation": "searched = 'evaluation'"},
        ),
        Choice(
            "outcome",
            "Verdict",
            "",
            fixed=(("changed", "changed to YES"), ("kept", "stays NO")),
            conditions={"changed": "found", "kept": "NOT found"},
        ),
        Choice("root", "Failing answer, by the checker", _OF_KEYS, fixed=_TRUTHS, found=_of_truth("root")),
        Choice("text", "Accepted text, by the checker", _OF_KEYS, fixed=_TRUTHS, found=_of_truth("accepted")),
        Choice("stop", "Stopped because", "stop_reason = ?", values_of("stop_reason", "trees")),
        Choice(
            "depth",
            "Accepted at depth",
            "CAST(accepted_depth AS VARCHAR) = ?",
            "SELECT DISTINCT depth AS value FROM tree_nodes WHERE accepted ORDER BY 1",
        ),
        Choice(
            "kind",
            "Constraint",
            "list_contains(list_transform(constraints, lambda c: c.kind), ?)",
            "SELECT DISTINCT c.kind AS value FROM (SELECT unnest(constraints) AS c FROM prompts) ORDER BY 1",
        ),
    ],
    {
        "newest": "run_id, iteration DESC, searched DESC, tree_id",
        "largest": "nodes_expanded DESC, run_id, iteration, tree_id",
        "deepest": "accepted_depth DESC NULLS LAST, run_id, iteration, tree_id",
        "slowest": "engine_seconds DESC, run_id, iteration, tree_id",
    },
    "/trees",
)
_VOTE = "response_id, vote_index, verdict, critique, finish_reason, thought, voter, wording, completion_tokens"
_TABLES = (("trees", "tree_nodes", "tree_votes", "prompts"), ("eval_trees", "eval_tree_nodes", None, "eval_prompts"))


def trees(request: Request) -> Response:
    """The list of trees."""
    truth = view_of(request).truth
    progress = truth.progress()
    listing = LISTER.asked(request, reader_of(request))
    verdicts = [truth.verdicts(row["stage_key"], row["tree_id"]) for row in listing.page.rows]
    shown = {"listing": listing, "lister": LISTER, "progress": progress, "verdicts": verdicts}
    return render(request, "trees.html", shown)


class TreeReading(NamedTuple):
    """A tree with everything a page shows of it; rows are those of the tables."""

    tree: dict[str, Any]
    prompt: dict[str, Any]
    nodes: list[dict[str, Any]]
    votes: dict[str, list[dict[str, Any]]]
    pair: dict[str, Any] | None


def read_tree(reader: Reader, tree_id: str) -> TreeReading | None:
    """A tree of training or measuring, by its id."""
    return read_trees(reader, [tree_id]).get(tree_id)


def read_trees(reader: Reader, tree_ids: Sequence[str]) -> dict[str, TreeReading]:
    """A few trees of training or measuring, by id; those that are not there are left out."""
    found: dict[str, TreeReading] = {}
    for tables in _TABLES:
        missed = [name for name in tree_ids if name not in found]
        if not missed:
            break
        rows = reader.rows(
            f"SELECT DISTINCT ON (tree_id) * FROM {tables[0]} WHERE tree_id IN {_marks(missed)} "
            "ORDER BY tree_id, run_id, iteration",
            missed,
        )
        found |= _readings(reader, {row["tree_id"]: row for row in rows}, *tables[1:]) if rows else {}
    return found


def _readings(
    reader: Reader, trees: Mapping[str, dict[str, Any]], nodes_table: str, votes_table: str | None, prompts_table: str
) -> dict[str, TreeReading]:
    keys = sorted({row["stage_key"] for row in trees.values()})
    nodes: dict[str, Rows] = {name: [] for name in trees}
    for node in reader.rows(
        f"SELECT DISTINCT ON (stage_key, tree_id, node_id) * FROM {nodes_table} "
        f"WHERE stage_key IN {_marks(keys)} AND tree_id IN {_marks(trees)}",
        [*keys, *trees],
    ):
        if node["stage_key"] == trees[node["tree_id"]]["stage_key"]:
            nodes[node["tree_id"]].append(node)
    for own in nodes.values():
        own.sort(key=lambda node: node["visit_order"])
    votes = {} if votes_table is None else _votes(reader, votes_table, trees, nodes)
    asked = sorted({row["prompt_id"] for row in trees.values()})
    prompts = reader.rows(
        f"SELECT DISTINCT ON (prompt_id) * FROM {prompts_table} WHERE prompt_id IN {_marks(asked)} ORDER BY prompt_id",
        asked,
    )
    pairs = reader.rows(f"SELECT * FROM preference_pairs WHERE tree_id IN {_marks(trees)}", list(trees))
    by_prompt = {row["prompt_id"]: row for row in prompts}
    by_tree = {row["tree_id"]: row for row in reversed(pairs)}
    return {
        name: TreeReading(
            row,
            by_prompt.get(row["prompt_id"]) or _unknown(row["prompt_id"]),
            nodes[name],
            votes.get(name, {}),
            by_tree.get(name),
        )
        for name, row in trees.items()
    }


def _marks(values: Collection[str]) -> str:
    """Question marks in brackets for a few values: filters of this form, unlike those by lists, skip parts of files."""
    return f"({', '.join('?' * len(values))})"


def _votes(
    reader: Reader, table: str, trees: Mapping[str, dict[str, Any]], nodes: Mapping[str, Rows]
) -> dict[str, dict[str, Rows]]:
    """Votes by tree and node: a root's are those of the answer, which another stage asked for."""
    roots = {name: row["root_response_id"] for name, row in trees.items()}
    keys, runs = (sorted({row[column] for row in trees.values()}) for column in ("stage_key", "run_id"))
    ids, answers = sorted({node["node_id"] for own in nodes.values() for node in own}), sorted(set(roots.values()))
    cast: dict[tuple[str, str], Rows] = {}
    for vote in reader.rows(
        f"SELECT DISTINCT stage_key, {_VOTE} FROM {table} WHERE stage_key IN {_marks(keys)} "
        "AND response_id IN (SELECT unnest(?)) ORDER BY stage_key, response_id, vote_index",
        [*keys, ids],
    ):
        cast.setdefault((vote["stage_key"], vote["response_id"]), []).append(vote)
    first: dict[tuple[str, int | None, str], Rows] = {}
    taken_over = {
        (row["run_id"], row["iteration"], row["response_id"]): row["votes_of"]
        for row in reader.rows(
            f"SELECT run_id, iteration, response_id, votes_of FROM judgements WHERE run_id IN {_marks(runs)} "
            f"AND response_id IN {_marks(answers)} AND votes_of <> ''",
            [*runs, *answers],
        )
    }
    answers += sorted(set(taken_over.values()))
    for vote in reader.rows(
        f"SELECT DISTINCT run_id, iteration, {_VOTE} FROM votes WHERE run_id IN {_marks(runs)} "
        f"AND response_id IN {_marks(answers)} ORDER BY run_id, iteration, response_id, vote_index",
        [*runs, *answers],
    ):
        first.setdefault((vote["run_id"], vote["iteration"], vote["response_id"]), []).append(vote)
    found: dict[str, dict[str, Rows]] = {}
    for name, row in trees.items():
        own = {node["node_id"]: cast.get((row["stage_key"], node["node_id"]), []) for node in nodes[name]}
        if nodes[name]:
            answer = (row["run_id"], row["iteration"], roots[name])
            own[nodes[name][0]["node_id"]] = first.get((*answer[:2], taken_over.get(answer, answer[2])), [])
        found[name] = own
    return found


def tree(request: Request) -> Response:
    """One tree: its picture, and one node against its parent and the root."""
    reader = reader_of(request)
    name = request.path_params["tree_id"]
    found = read_tree(reader, name)
    if found is None:
        raise missing(f"no tree {name} in this home")
    node = chosen_node(found, request.query_params.get("node"))
    before, after = LISTER.neighbours(request, reader, "tree_id", name)
    shown = {
        "found": found,
        "picture": tree_picture(found.nodes, node["node_id"]),
        "node": node,
        "facts": facts_of(found, node),
        "previous": before,
        "next": after,
        "listed": LISTER.asked_query(request),
        "others": tree_pages(reader.home, found.tree["run_id"], name),
    }
    return render(request, "tree.html", shown)


def chosen_node(found: TreeReading, node_id: str | None) -> dict[str, Any]:
    """The node asked for, else the accepted one, else the best."""
    by_id = {node["node_id"]: node for node in found.nodes}
    if node_id in by_id:
        return by_id[node_id]
    if not by_id:
        raise missing(f"tree {found.tree['tree_id']} has no nodes")
    accepted = by_id.get(found.tree["accepted_node_id"])
    return accepted or max(found.nodes, key=lambda node: (node["value"] or 0.0, -node["visit_order"]))


def facts_of(found: TreeReading, node: Mapping[str, Any]) -> dict[str, Any]:
    """What is computed for the opened node: diffs, the checker's verdicts, where it stands."""
    by_id = {entry["node_id"]: entry for entry in found.nodes}
    root, parent = found.nodes[0], by_id.get(node["parent_id"])
    against = {}
    if parent is not None:
        against["parent"] = word_diff(parent["response"], node["response"])
    if parent is not None and parent is not root:
        against["root"] = word_diff(root["response"], node["response"])
    rules = rules_of(found.prompt, node["response"])
    return {
        "against": against,
        "changed": {name: changed_words(pieces) for name, pieces in against.items()},
        "rules": rules,
        "right": is_right(rules),
        "root_rules": rules_of(found.prompt, root["response"]),
        "path": [by_id[name] for name in path_to(found.nodes, node["node_id"])],
        "children": [entry for entry in found.nodes if entry["parent_id"] == node["node_id"]],
        "votes": found.votes.get(node["node_id"], []),
        "tokens": _tokens(node, found.votes.get(node["node_id"], [])),
        "place": places.tree(found.tree["tree_id"], node["node_id"]),
    }


def _tokens(node: Mapping[str, Any], votes: Rows) -> dict[str, int]:
    """Completion tokens of the rewrite and of the votes on it, where they are known."""
    known = [vote["completion_tokens"] for vote in votes if vote["completion_tokens"] is not None]
    found = {"votes": sum(known)} if known else {}
    return found if node["completion_tokens"] is None else {"rewrite": node["completion_tokens"], **found}


def _unknown(prompt_id: str) -> dict[str, Any]:
    return {
        "prompt_id": prompt_id,
        "text": "(this prompt is not in the home any more)",
        "constraints": [],
        "source": "",
    }


ROUTES: list[BaseRoute] = [Route("/trees", trees), Route("/trees/{tree_id}", tree)]
