"""What the documents name exists: functions in FLOW.md, files, links, commands and their flags, kinds of errors."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from atoll.base import errors
from gates.tree import ROOT, SOURCE, function, modules

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
FLOW = ROOT / "docs/FLOW.md"
ENTRY = re.compile(r"`(src/atoll/[\w/]+\.py):([\w.]+)`")
JOBS = ("run", "exec", "stop", "pull")


def _flow_entries() -> list[tuple[str, str]]:
    return ENTRY.findall(FLOW.read_text())


def test_flow_covers_the_main_jobs() -> None:
    sections = re.split(r"^## ", FLOW.read_text(), flags=re.MULTILINE)[1:]
    numbered = {
        section.split("\n")[0].strip("` ").removeprefix("atoll "): ENTRY.findall(section) for section in sections
    }
    for job in JOBS:
        assert len(numbered.get(job, [])) >= 3, f"docs/FLOW.md: `atoll {job}` has no steps"


@pytest.mark.parametrize(("file", "name"), _flow_entries())
def test_flow_resolves(file: str, name: str) -> None:
    assert (ROOT / file).is_file(), f"{file} does not exist"
    assert function(ROOT / file, name) is not None, f"{file} has no {name}"


def test_flow_numbers_in_order() -> None:
    for section in re.split(r"^## ", FLOW.read_text(), flags=re.MULTILINE)[1:]:
        numbers = [int(number) for number in re.findall(r"^(\d+)\. ", section, flags=re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1)), section.splitlines()[0]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    named = set(re.findall(r"`((?:\./)?[\w.-]+(?:/[\w.*-]+)*/?)(?::[\w.]+)?`", text))
    named |= set(re.findall(r"\]\(((?!\w+:)[^)#\s]+)", text))
    tops = {path.name for path in ROOT.iterdir()} - {".venv", "dist"}
    rooms = {path.name for path in SOURCE.iterdir()}
    made = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    missing = []
    for name in sorted(named):
        if name.strip("/") in made:  # written by a run, not committed
            continue
        first = name.removeprefix("./").split("/")[0]
        if (re.search(r"\*|[A-Z]{4}\.", name) and not name.endswith(".md")) or not (
            "/" in name or name.endswith((".md", ".py", ".sh", ".lock"))
        ):
            continue
        if first in tops | rooms or name.endswith((".md", ".py", ".sh")):
            places = (ROOT / name, SOURCE / name, document.parent / name)
            if not any(place.exists() for place in places):
                missing.append(name)
    assert not missing


def test_modules_that_docstrings_name_exist() -> None:
    """`x.py` or `room/x.py`, from any folder of the package, `../x.py`, or a path from the top of the tree."""
    known = {f"/{path.relative_to(SOURCE)}" for path in modules()}
    missing = []
    for module in modules():
        for found in re.findall(r"`([\w./-]+\.py)[`:]", module.read_text()):
            place = module.parent if found.startswith("../") else ROOT
            if not (place / found).exists() and not any(path.endswith(f"/{found}") for path in known):
                missing.append(f"{module.relative_to(ROOT)}: {found}")
    assert not missing


def _command_lines() -> list[tuple[str, str]]:
    lines = []
    for document in DOCUMENTS:
        text = document.read_text()
        lines += [(document.name, line) for line in re.findall(r"^\$ (atoll .*)$", text, flags=re.MULTILINE)]
        lines += [(document.name, line) for line in re.findall(r"`(atoll [a-z][^`…]*)`", text)]
    return lines


@pytest.mark.parametrize(("document", "line"), _command_lines())
def test_documented_commands_exist(document: str, line: str) -> None:
    """The command is in the table, and its own parser takes the flags."""
    from atoll.cli.commands import COMMANDS, find, module_of

    words = shlex.split(line.split(" | ")[0])[1:]
    name, rest = find(words)
    assert name in COMMANDS, f"{document}: {line}: there is no `atoll {name}`"
    flags = [word for word in rest if word.startswith("-")]
    if line.startswith("atoll") and flags and not any(word.isupper() for word in words):
        _parses(module_of(name), rest)


def _parses(module_name: str, words: list[str]) -> None:
    import importlib

    from atoll.cli.options import parse

    parse(importlib.import_module(f"atoll.cli.{module_name}").COMMAND, words)


def test_readme_gives_the_two_commands() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [block.strip() for block in blocks] == ["./install.sh", "./test.sh"]
    for block in blocks:
        assert (ROOT / block.strip()).stat().st_mode & 0o111


def test_architecture_lists_every_kind_of_error() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text()
    rows = dict(re.findall(r"^\| `([\w-]+)` \| [^|]* \| (\d+) \|", table, flags=re.MULTILINE))
    assert set(rows) == set(errors.KINDS)
    from atoll.cli import main

    for kind, code in rows.items():
        assert int(code) == main.EXIT_CODES.get(kind, main.ENGINE_OF_RUN), kind
