"""`spar lineage`: what a model, pair, example, tree, answer or prompt came from, and what came of it."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from flows.commands.options import home_option, json_option, opened

_SAID = 90  # characters of a text
_ID = 12  # digits of an id


@click.command()
@click.argument("reference")
@click.option("--up", "way", flag_value="up", help="Only what it was made from.")
@click.option("--down", "way", flag_value="down", help="Only what was made of it.")
@click.option("--depth", type=click.IntRange(1, 20), default=4, show_default=True, help="How many steps.")
@click.option("--most", type=click.IntRange(1, 1000), default=4, show_default=True, help="Neighbours of each to name.")
@home_option
@json_option
def lineage(reference: str, way: str | None, depth: int, most: int, home: Path | None, as_json: bool) -> int:
    """What REFERENCE was made from, and what was made of it. REFERENCE: a model (actor/3, actor@champion), or the id of
    a pair, example, tree, answer or prompt, or its first digits.

    \b
    Example:
      spar lineage actor/3
      spar lineage 4208706c --up
      spar lineage refiner@champion --depth 2 --json
    """
    from flows.wiring.models import by_number
    from storage.catalog import open_catalog
    from storage.row_lineage import found, walk

    where = opened(home)
    with open_catalog(where) as catalog:
        thing = found(catalog, by_number(reference, where))
        ways = [entry for entry in ("up", "down") if way in (None, entry)]
        told = {entry: walk(catalog, thing, entry, depth, most) for entry in ways}  # type: ignore[arg-type]
    if as_json:
        plain = {"kind": thing.kind, "id": thing.id, "said": thing.said}
        for entry in ways:
            plain |= {entry: told[entry][entry], f"more_{entry}": told[entry]["more"]}
        click.echo(json.dumps(plain, ensure_ascii=False))
        return 0
    console = Console()
    for entry in ways:
        title = {"up": "made from", "down": "became"}[entry]
        console.print(_drawn(told[entry], entry, Tree(Text.assemble(_line(told[entry]), (f"  {title}", "dim")))))
    return 0


def _drawn(node: dict[str, Any], way: str, tree: Tree) -> Tree:
    for entry in node[way]:
        _drawn(entry, way, tree.add(_line(entry)))
    if node["more"]:
        tree.add(Text(f"and {node['more']:,} more" if node[way] else f"{node['more']:,} more", style="dim"))
    elif node["repeated"]:
        tree.add(Text("as above", style="dim"))
    return tree


def _line(node: dict[str, Any]) -> Text:
    said = _printable(node["said"])
    shown = said if len(said) <= _SAID else f"{said[: _SAID - 1]}\u2026"
    name, of, part = node["id"].partition("/")
    whole = node["kind"] in ("model", "source")
    known = _printable(node["id"]) if whole else f"{name[:_ID]}{of}{part}"
    return Text.assemble((f"{node['kind']} ", "cyan"), (known, "bold"), f"  {shown}" if shown else "")


def _printable(text: str) -> str:
    """On one line, without what a terminal would obey: models and users may have written anything."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
