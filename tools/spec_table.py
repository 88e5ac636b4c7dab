#!/usr/bin/python3
"""Writes `docs/runtime-spec.md`: every MUST and SHOULD of the OCI runtime-spec with the tests that show it.

    tools/spec_table.py            write the table
    tools/spec_table.py --check    only say what is wrong with it; exit code 1 then

The requirements are in `tests/validation/requirements.txt`, whose head explains its form. A test names what it shows
by `@pytest.mark.spec("document#section.key", …)`; the marks are read from the sources, nothing is imported.
Start reading at `table`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "tests/validation/requirements.txt"
DOCUMENT = ROOT / "docs/runtime-spec.md"

HEAD = """# The runtime-spec, requirement by requirement

Written by `tools/spec_table.py` of `tests/validation/requirements.txt` and of the marks in the tests; do not edit.
{count} requirements, {tested} with a test, {reasoned} with the reason why there is none. Tests are below
`tests/integration` unless a folder is named.
"""


class Requirement(NamedTuple):
    """One line of the list; `name` is `document#section.key`."""

    name: str
    level: str
    words: str
    reason: str


def requirements(path: Path = REQUIREMENTS) -> list[Requirement]:
    """The list, in its order. Raises ValueError, with the line, where it is malformed or an entry stands twice."""
    found: list[Requirement] = []
    section = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("["):
            section = text.strip("[]")
            continue
        fields = [field.strip() for field in text.split(" | ")]
        if not section or len(fields) not in (3, 4) or fields[1] not in ("MUST", "SHOULD"):
            raise ValueError(f"{path.name}:{number}: not `key | MUST or SHOULD | words [| - reason]`: {text}")
        reason = fields[3].removeprefix("- ") if len(fields) == 4 else ""
        entry = Requirement(f"{section}.{fields[0]}", fields[1], fields[2], reason)
        if any(entry.name == other.name for other in found):
            raise ValueError(f"{path.name}:{number}: {entry.name} stands twice")
        found.append(entry)
    return found


def marks(tests: Path = ROOT / "tests") -> dict[str, list[str]]:
    """Requirement → the tests that name it, as `folder/file.py::test`."""
    found: dict[str, list[str]] = {}
    for path in sorted(tests.rglob("test_*.py")):
        source = path.read_text()
        if "mark.spec(" not in source:
            continue
        for test, name in _marked(ast.parse(source, str(path))):
            found.setdefault(name, []).append(f"{path.relative_to(tests)}::{test}")
    return found


def _marked(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.spec":
                for argument in mark.args:
                    yield node.name, str(ast.literal_eval(argument))


def faults(listed: list[Requirement], tested: dict[str, list[str]]) -> list[str]:
    """What is wrong: neither test nor reason, both, or a mark that names nothing."""
    names = {entry.name for entry in listed}
    found = [
        f"{test} names {name}, which is not in the list" for name in set(tested) - names for test in tested[name]
    ]
    for entry in listed:
        if entry.name not in tested and not entry.reason:
            found.append(f"{entry.name} has neither a test nor a reason: {entry.words}")
        if entry.name in tested and entry.reason:
            found.append(f"{entry.name} has a test, so its reason can go")
    return sorted(found)


def table(listed: list[Requirement], tested: dict[str, list[str]]) -> str:
    """The document."""
    reasoned = sum(1 for entry in listed if entry.reason)
    lines = [HEAD.format(count=len(listed), tested=len(listed) - reasoned, reasoned=reasoned)]
    section = ""
    for entry in listed:
        place, _, key = entry.name.rpartition(".")
        if place != section:
            section = place
            lines += [
                "",
                f"## {place.replace('#', '.md, ')}",
                "",
                "| | | what is asked | shown by |",
                "|---|---|---|---|",
            ]
        shown = "; ".join(_short(test) for test in tested.get(entry.name, [])) or f"*no test:* {entry.reason}"
        lines.append(f"| {key} | {entry.level} | {entry.words} | {shown} |")
    return "\n".join(lines) + "\n"


def _short(test: str) -> str:
    file, _, name = test.removeprefix("integration/").partition("::")
    return f"{file.removesuffix('.py')}: {name}"


def main(argv: list[str]) -> int:
    """Write or check; the faults go to standard error."""
    listed, tested = requirements(), marks()
    wrong = faults(listed, tested)
    text = table(listed, tested)
    if "--check" not in argv:
        DOCUMENT.write_text(text)
    elif not DOCUMENT.exists() or DOCUMENT.read_text() != text:
        wrong.append(f"{DOCUMENT.relative_to(ROOT)} is out of date: run tools/spec_table.py")
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
