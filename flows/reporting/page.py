"""Reports as files: one page with everything in it, at most two megabytes."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment
from markupsafe import Markup

from flows.reporting.chosen import KINDS, RULE, ChosenTree, chosen_trees
from flows.reporting.run_report import run_report
from flows.view.reader import Reader
from flows.view.rendering import templates
from flows.view.self_contained import inlined
from storage import places
from storage.addresses import view_page
from storage.disk import write_text
from storage.home import Home
from storage.other_pages import run_pages

REPORT_FILE = "report.html"
"""Its name in MLflow."""
MOST_BYTES = 2_000_000  # that a mail takes: trees are left out beyond
_STYLES, _SCRIPTS = ("view.css", "report.css"), ("report.js",)


class Page(NamedTuple):
    """A page, and how many of the chosen trees are in it."""

    html: str
    policy: str
    trees: int
    trees_chosen: int


class _Links:
    """`storage.places` for a file that lies anywhere: a tree in it is linked within it, all else in `spar view`."""

    def __init__(self, view: str) -> None:
        self._view = view
        self.inside: dict[str, str] = {}

    def __getattr__(self, name: str) -> Callable[..., str]:
        return partial(self._address, name)

    def elsewhere(self, tree_id: str) -> str:
        """A tree in `spar view`, also one that is in the file."""
        return f"{self._view}{places.tree(tree_id)}"

    def _address(self, name: str, *parts: Any, **filters: str) -> str:
        if name == "tree" and parts[0] in self.inside:
            return self.inside[parts[0]]
        return f"{self._view}{getattr(places, name)(*parts, **filters)}"


def report_of_run(reader: Reader, run_id: str, view: str | None = None) -> Page:
    """The page of a run.

    Args:
        reader: of the home.
        run_id: the run.
        view: where `spar view` answers, without a slash at its end; null: at the home's own address.

    Raises:
        StorageError: there is no such run, or the home cannot be read.
    """
    home = reader.home
    address = view_page(home, "") if view is None else view
    report, chosen = run_report(reader, run_id), chosen_trees(reader, [run_id])
    context = {"report": report, "others": run_pages(home, run_id), "view": f"{address}{places.run(run_id)}"}
    return assembled(home, address, "report_run.html", context, chosen)


def write_page(path: Path, page: Page) -> None:
    """Write a page; it appears only when complete.

    Raises:
        StorageError: the file cannot be written.
    """
    write_text(path, page.html)


def assembled(home: Home, view: str, template: str, context: Mapping[str, Any], chosen: Sequence[ChosenTree]) -> Page:
    """A page with as many of the chosen trees, in their order, as it has room for.

    Args:
        home: what it is about.
        view: where its links lead: the address of `spar view`.
        template: one that extends `report.html`.
        context: what it shows besides trees.
        chosen: the trees.
    """
    links = _Links(view)
    environment = templates()
    environment.globals["places"] = links
    parts = inlined(_STYLES, _SCRIPTS)
    shared = {**context, "inlined": parts, "home": str(home.root), "kinds": KINDS, "rule": RULE, "chosen": len(chosen)}

    def whole(trees: Sequence[tuple[ChosenTree, Markup]]) -> str:
        return _clean(environment.get_template(template).render({**shared, "trees": trees}))

    links.inside = {tree.found.tree["tree_id"]: f"#tree-{place}" for place, tree in enumerate(chosen)}
    room = MOST_BYTES - len(whole([]).encode())
    fitting = []
    for place, tree in enumerate(chosen):
        drawn = _tree(environment, links, place, tree)
        size = len(drawn.encode()) + 2 * len(tree.found.prompt["text"][:400].encode()) + 1000  # its row of the list
        if size <= room:
            room -= size
            fitting.append((tree, drawn))
        else:
            del links.inside[tree.found.tree["tree_id"]]
    return Page(whole(fitting), parts.policy, len(fitting), len(chosen))


def _tree(environment: Environment, links: _Links, place: int, tree: ChosenTree) -> Markup:
    anchors = {node["node_id"]: f"#tree-{place}-{number}" for number, node in enumerate(tree.found.nodes)}
    template = environment.get_template("report_tree.html")
    shown = {"tree": tree, "place": place, "elsewhere": links.elsewhere}
    return Markup(_clean(template.render(**shown, node_place=lambda node_id: anchors.get(node_id, "#"))))


def _clean(html: str) -> str:
    """JSON within a text can hold half a character, which has no UTF-8 form."""
    return html.encode("utf-8", "replace").decode()
