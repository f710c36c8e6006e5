"""A small document: blocks that are written as Markdown and as one self-contained HTML page."""

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias


class Heading(NamedTuple):
    """A section's title."""

    text: str
    level: int = 2


class Text(NamedTuple):
    """A paragraph; `**bold**` and `` `code` `` are the only markup."""

    text: str


class Points(NamedTuple):
    """A list; `kind` "answer" is set off, "warning" is set off as one."""

    items: Sequence[str]
    kind: str = ""


class Table(NamedTuple):
    """Cells as text; columns from the second on hold figures unless `texts` says so."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: frozenset[int] = frozenset({0})


class Picture(NamedTuple):
    """A PNG beside the page."""

    file: Path
    caption: str


class Code(NamedTuple):
    """Verbatim lines."""

    text: str
    language: str = ""


class Folded(NamedTuple):
    """A table to open: part of the HTML page only."""

    title: str
    table: Table


Block: TypeAlias = Heading | Text | Points | Table | Picture | Code | Folded


def as_markdown(blocks: Sequence[Block]) -> str:
    """The document as Markdown; pictures are linked by file name."""
    return "\n\n".join(text for block in blocks if (text := _markdown(block))) + "\n"


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """The document as one HTML page with pictures and style inside."""
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body><main>\n{body_html(blocks)}\n</main></body></html>\n"
    )


def body_html(blocks: Sequence[Block]) -> str:
    """The blocks alone, as a part of another page: every text escaped."""
    return "\n".join(_html(block) for block in blocks)


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Text(text):
            return text
        case Points(items, kind):
            mark = "**Note:** " if kind == "warning" else ""
            return "\n".join(f"- {mark}{item}" for item in items)
        case Table(columns, rows, texts):
            rule = ["---" if index in texts else "---:" for index in range(len(columns))]
            return "\n".join(f"| {' | '.join(row)} |" for row in [columns, rule, *rows])
        case Picture(file, caption):
            return f"![{caption}]({file.name})\n\n{caption}"
        case Code(text, language):
            return f"```{language}\n{text.rstrip()}\n```"
        case Folded():
            return ""


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_inline(text)}</h{level}>"
        case Text(text):
            return f"<p>{_inline(text)}</p>"
        case Points(items, kind):
            listed = "".join(f"<li>{_inline(item)}</li>" for item in items)
            return f'<ul class="{kind}">{listed}</ul>' if kind else f"<ul>{listed}</ul>"
        case Table():
            return _table(block)
        case Picture(file, caption):
            data = base64.b64encode(file.read_bytes()).decode("ascii")
            image = f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
            return f"<figure>{image}<figcaption>{_inline(caption)}</figcaption></figure>"
        case Code(text):
            return f"<pre>{html.escape(text.rstrip())}</pre>"
        case Folded(title, table):
            return f"<details><summary>{_inline(title)}</summary>{_table(table)}</details>"


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        shown = (
            f"<{tag}{'' if index in table.texts else ' class=n'}>{_inline(cell)}</{tag}>"
            for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(shown)}</tr>"

    rows = "".join(row(cells, "td") for cells in table.rows)
    return f'<div class="scroll"><table><thead>{row(table.columns, "th")}</thead><tbody>{rows}</tbody></table></div>'


def _inline(text: str) -> str:
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)


_STYLE = """
:root { color-scheme: light; --line: #d8dee4; --soft: #f6f8fa; --ink: #1f2328; --dim: #59636e; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
p { max-width: 46rem; margin: .6rem 0; }
ul { padding-left: 1.3rem; max-width: 52rem; } li { margin: .3rem 0; }
ul.answer { background: #ddf4ff; border-left: 4px solid #0969da; }
ul.warning { background: #fff8c5; border-left: 4px solid #bf8700; }
ul.answer, ul.warning { padding: .8rem 1.2rem .8rem 2.1rem; border-radius: 0 6px 6px 0; }
.scroll { overflow-x: auto; margin: .9rem 0; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .38rem .8rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { background: var(--soft); font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody tr:hover { background: var(--soft); }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; }
figcaption { color: var(--dim); font-size: .875rem; max-width: 50rem; }
code { background: var(--soft); padding: .1rem .3rem; border-radius: 4px; font-size: .85em; }
pre { background: var(--soft); padding: .9rem 1.1rem; border-radius: 6px; overflow-x: auto;
  font-size: .82rem; line-height: 1.45; }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--dim); }
@media print { main { max-width: none; padding: 0; } .scroll { overflow: visible; } h2 { break-after: avoid; } }
"""
