"""Search trees of a run, good and bad, as Markdown: what the model really writes, whole.

    python -m benchmarks.printed_trees --home HOME --run RUN [--each 3] > trees.md

The trees are chosen by the rule that `spar report` follows, not by hand; the rule stands on the page.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.reporting.chosen import KINDS, RULE, ChosenTree, chosen_trees
from flows.view.reader import Reader
from flows.view.rules import Rule
from storage.home import Home


def fenced(text: str) -> str:
    """A text as it is, whatever it holds."""
    longest = max((len(run) for run in re.findall("~+", text)), default=0)
    fence = "~" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def verdicts(rules: Sequence[Rule]) -> str:
    """`met: Use no commas. Broken: ...`"""
    words = {True: "met", False: "**broken**", None: "not known"}
    return "; ".join(f"{words[rule.met]}: {rule.said}" for rule in rules) or "no constraint is known"


def printed(number: int, chosen: ChosenTree) -> Iterator[str]:
    """One tree: the prompt, and every node under its parent."""
    tree, nodes = chosen.found.tree, chosen.found.nodes
    yield f"## {number}. {chosen.kind}: {KINDS[chosen.kind]}\n"
    yield f"`{tree['tree_id']}`, {tree['stop_reason']} after {tree['nodes_expanded']} rewrites. The prompt:\n"
    yield fenced(chosen.found.prompt["text"]) + "\n"
    numbers = {node["node_id"]: place for place, node in enumerate(nodes)}
    for place, node in enumerate(nodes):
        facts = chosen.facts[node["node_id"]]
        name = (
            "The failing answer" if place == 0 else f"Rewrite {place} of {numbers[node['parent_id']] or 'the answer'}"
        )
        state = "could not be used: " + node["failure"] if node["failure"] else verdicts(facts["rules"])
        yield f"**{name}**{', accepted' if node['accepted'] else ''} ({state}):\n"
        yield fenced(node["response"] or node["rewrite"] or "") + "\n"
        if node["critique"] and not node["accepted"]:
            yield f"What it is told: {' '.join(node['critique'].split())}\n"


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--run", required=True, help="its id, as `spar status` names it")
    parser.add_argument("--each", type=int, default=3, help="trees of each kind")
    asked = parser.parse_args()
    reader = Reader(Home(asked.home))
    try:
        found = chosen_trees(reader, [asked.run], asked.each)
    finally:
        reader.close()
    sys.stdout.write(f"{RULE}\n\n")
    for number, chosen in enumerate(found, start=1):
        sys.stdout.write("\n".join(printed(number, chosen)) + "\n")


if __name__ == "__main__":
    main()
