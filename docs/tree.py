"""Write the README's tree: every source file with the first sentence of its docstring. `python docs/tree.py`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "spar_core", "storage", "benchmarks")
START, END = "<!-- tree -->", "<!-- /tree -->"


def tree() -> str:
    """The files, a line each."""
    lines = ["```"]
    for package in PACKAGES:
        files = [path for path in sorted((ROOT / package).rglob("*.py")) if not path.name.startswith("__")]
        lines += [f"{path.relative_to(ROOT)!s:<52} {_sentence(path)}" for path in files]
    return "\n".join([*lines, "```"])


def _sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).split(". ")[0].rstrip(".")


def rendered(readme: str) -> str:
    """The README with its tree made anew."""
    before, rest = readme.split(START)
    return f"{before}{START}\n{tree()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(rendered(path.read_text(encoding="utf-8")), encoding="utf-8")
