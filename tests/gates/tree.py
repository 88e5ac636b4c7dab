"""What the gates know about the tree: its files, its rooms, its imports, without importing any of it."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src/atoll"


def modules(room: str = "") -> list[Path]:
    """Every module of the package, or of one room."""
    return sorted((SOURCE / room).rglob("*.py"))


def name(path: Path) -> str:
    """A module's path as the gates print it: relative to the tree."""
    return str(path.relative_to(ROOT))


def rooms() -> set[str]:
    """The folders of `src/atoll`."""
    return {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}


@functools.cache
def parsed(path: Path) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(path.read_text(), str(path))


def imports(path: Path, *, at_import: bool = False) -> Iterator[tuple[str, int]]:
    """(module, line) of each import; with `at_import` only those that importing the module executes.

    `from a import b` gives both `a` and `a.b`. Blocks under `if TYPE_CHECKING:` are never executed and left out.
    """
    yield from _imports_in(parsed(path).body, at_import)


def _imports_in(body: list[ast.stmt], at_import: bool) -> Iterator[tuple[str, int]]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _imports_in(node.orelse, at_import)
        elif not (at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            for field in ("body", "orelse", "finalbody"):
                yield from _imports_in(getattr(node, field, []) or [], at_import)
            # A handler of ImportError is the way round, where the light module is lacking.
            handlers = [] if at_import else getattr(node, "handlers", [])
            for part in [*handlers, *getattr(node, "cases", [])]:
                yield from _imports_in(part.body, at_import)


def function(path: Path, qualified: str) -> ast.AST | None:
    """The function, method (`Class.method`) or class of that name, or None."""
    body: list[ast.stmt] = parsed(path).body
    found: ast.AST | None = None
    for part in qualified.split("."):
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        found = next((node for node in body if isinstance(node, kinds) and node.name == part), None)
        if found is None:
            return None
        body = found.body  # type: ignore[attr-defined]
    return found
