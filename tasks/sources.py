"""What the code says: digests of modules that comments, docstrings and layout do not change, and what imports what."""

import ast
import importlib.util
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from spar_core.hashing import digest, file_digest

STARTER_WORLD = ("spar_core.starter.words", "spar_core.starter.world")
SEED_PROMPTS = ("spar_core.synthesis/data", "spar_core.constraints.vocabulary")
PACKAGES = ("spar_core", "tasks")  # the layers that results come from


@lru_cache(maxsize=1024)
def module_digest(name: str) -> str:
    """Digest of a module's code, without its docstrings and comments."""
    return digest(_plain(_parsed(name)))


def data_digest(names: Iterable[str]) -> str:
    """Digest of package data: `package/path` is a file or folder by its bytes, `package.module` a module's code."""
    return digest({name: _folder_digest(name) if "/" in name else module_digest(name) for name in sorted(names)})


@lru_cache(maxsize=1024)
def imported(name: str) -> frozenset[str]:
    """The modules of this project that a module imports, wherever in it the import stands.

    What it names in a string counts as well: modules that are imported late, or run in a subprocess.
    """
    found: set[str] = set()
    for node in ast.walk(_parsed(name)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {candidate for candidate in inside if _found(candidate)}
            found.update(modules or {node.module})
            if modules != inside:
                found.add(node.module)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _found(node.value):
            found.add(node.value)
    return frozenset(entry for entry in found if entry.partition(".")[0] in PACKAGES)


def closure(roots: Iterable[str], without: Iterable[str] = ()) -> tuple[str, ...]:
    """Modules reached from `roots` by imports, by name; what lies under `without` is neither listed nor looked into."""
    left_out, waiting, seen = tuple(without), list(roots), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or any(name == other or name.startswith(f"{other}.") for other in left_out):
            continue
        seen.add(name)
        waiting += imported(name)
    return tuple(sorted(seen))


@lru_cache(maxsize=64)
def _folder_digest(place: str) -> str:
    package, _, inside = place.partition("/")
    path = _source(package).parent / inside
    if path.is_file():
        return file_digest(path)
    files = sorted(entry for entry in path.rglob("*") if entry.is_file() and entry.suffix != ".pyc")
    return digest([[str(entry.relative_to(path)), file_digest(entry)] for entry in files])


@lru_cache(maxsize=1024)
def _parsed(name: str) -> ast.Module:
    return ast.parse(_source(name).read_bytes())


def _source(name: str) -> Path:
    found = _found(name)
    if found is None:
        raise ModuleNotFoundError(f"{name} has no source file")
    return found


@lru_cache(maxsize=8192)
def _found(name: str) -> Path | None:
    """The file of a module of this project, found without importing anything but the top package."""
    package, *inside = name.split(".")
    if package not in PACKAGES:
        return None
    root = importlib.util.find_spec(package)
    if root is None or root.origin is None:
        return None
    path = Path(root.origin).parent.joinpath(*inside)
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _plain(node: Any) -> Any:
    """A tree as lists; empty fields are left out, so that it is the same for every version of Python."""
    if isinstance(node, ast.AST):
        return [type(node).__name__, *(_fields(node))]
    if isinstance(node, list):
        return [_plain(entry) for entry in node]
    return repr(node)


def _fields(node: ast.AST) -> Iterator[Any]:
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            value = [entry for entry in value if not _is_text(entry)]
        if value not in (None, []):
            yield [name, _plain(value)]


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a bare string: a docstring, or the description of a field."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
