"""The rooms: one list, in ARCHITECTURE.md, in pyproject.toml and on disk; each says what it holds."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest

from gates.tree import ROOT, SOURCE, modules, name, parsed, rooms

LINES = 800


def _configured() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return list(settings["contracts"][0]["layers"])


def _drawn() -> list[str]:
    block = re.search(r"```layers\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(), re.DOTALL)
    assert block, "ARCHITECTURE.md has no ```layers block"
    return [re.split(r"\s{2,}", line)[0].strip() for line in block[1].splitlines() if line.strip()]


def test_architecture_draws_the_layers_that_are_enforced() -> None:
    assert _drawn() == _configured()


def test_every_folder_is_a_layer_and_every_layer_a_folder() -> None:
    assert {room.strip() for layer in _configured() for room in layer.split("|")} == rooms()


@pytest.mark.parametrize("room", sorted(rooms()))
def test_room_says_what_it_holds(room: str) -> None:
    text = ast.get_docstring(parsed(SOURCE / room / "__init__.py")) or ""
    for heading in ("Holds:", "Does not hold:", "May import:", "Start reading at:"):
        assert heading in text, f"src/atoll/{room}/__init__.py does not say '{heading}'"


@pytest.mark.parametrize("room", sorted(rooms()))
def test_where_to_start_reading_exists(room: str) -> None:
    text = ast.get_docstring(parsed(SOURCE / room / "__init__.py")) or ""
    start = text[text.index("Start reading at:") :]
    for file in re.findall(r"`([\w/]+\.py)`", start):
        assert (SOURCE / room / file).exists(), f"{room}: {file}"


def test_modules_have_a_docstring() -> None:
    missing = [name(path) for path in modules() if not ast.get_docstring(parsed(path))]
    assert not missing


def test_files_stay_small() -> None:
    long = [name(path) for path in modules() if len(path.read_text().splitlines()) > LINES]
    assert not long, f"split before {LINES} lines: {long}"


def test_annotations_are_lazy_everywhere() -> None:
    """`from __future__ import annotations`: typing-only imports then cost nothing at run time."""
    lacking = [
        name(path)
        for path in modules()
        if any(not isinstance(node, ast.Expr) for node in parsed(path).body)
        and "from __future__ import annotations" not in path.read_text()
        and path != SOURCE / "__init__.py"
    ]
    assert not lacking
