"""What is made of the table of commands: commands load, lists give JSON, manual pages and completion are sound."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.cli import commands, completing, completion, manual
from atoll.cli.options import Command, all_flags
from gates.tree import ROOT

LISTS = ("ps", "images", "stats", "diff", "events", "search")


def command(name: str) -> Command:
    module = f"atoll.cli.{commands.module_of(name)}"
    __import__(module)
    found: Command = sys.modules[module].COMMAND
    return found


@pytest.mark.parametrize("name", sorted(commands.COMMANDS))
def test_a_command_says_what_the_table_says(name: str) -> None:
    found = command(name)
    assert found.name == name
    assert found.usage.startswith(name)
    flags = all_flags(found)
    names, shorts = [flag.name for flag in flags], [flag.short for flag in flags if flag.short]
    assert len(set(names)) == len(names), "a flag twice"
    assert len(set(shorts)) == len(shorts), "a letter twice"
    assert all(flag.help for flag in flags)


@pytest.mark.parametrize("name", [one for one in commands.COMMANDS if one in LISTS or one.endswith((" ls", " df"))])
def test_every_list_has_a_format(name: str) -> None:
    """Tools read JSON: users-want, "--format json on every list"."""
    assert "format" in [flag.name for flag in all_flags(command(name))]


def test_every_spelling_leads_to_a_command() -> None:
    assert [spelled for spelled, name in commands.SPELLINGS.items() if name not in commands.COMMANDS] == []


def test_manual_pages(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "tools/man_pages.py"), str(tmp_path)], check=True, timeout=60)
    pages = sorted(tmp_path.iterdir())
    assert len(pages) == len(commands.COMMANDS)
    assert {page.name for page in pages} >= {"atoll.1", "atoll-run.1", "atoll-system-check.1"}
    assert {page.name: page.read_text() for page in pages} == manual.pages()
    if shutil.which("groff"):
        told = subprocess.run(
            ["groff", "-man", "-ww", "-z", "-Tutf8", *map(str, pages)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert told.stderr == ""


@pytest.mark.parametrize("shell", sorted(completion.SCRIPTS))
def test_the_shell_takes_the_script(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(completion.SCRIPTS[shell])
    subprocess.run([program, "-n", str(script)], check=True, timeout=60)


def words(line: str) -> list[str]:
    return [word for word, _ in completing.candidates(line.split(" "))]


def test_candidates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATOLL_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("ATOLL_RUN_ROOT", str(tmp_path / "run"))
    assert words("re") == ["rename", "restart", "restore"]
    assert "internal" not in words("")
    assert words("--v") == ["--version"]
    assert words("container pr") == ["prune"]
    assert "--detach-keys" in words("attach --")
    assert "--ulimit" in words("run --u"), "the rare flags, too"
    assert words("run --restart a") == ["always"]
    assert words("-D run --restart a") == ["always"]
    assert words("run -e ") == [completing.FILES]
    assert words("run --rm image ") == [completing.FILES]
    assert words("nosuch x") == []
    assert words("cp ") == [completing.FILES], "a container or a file"


def test_bash_completes_what_is_typed() -> None:
    """The real shell with the real command; a word with a colon is completed after it."""
    bash = shutil.which("bash")
    assert bash is not None
    script = (
        completion.SCRIPTS["bash"]
        + 'try() { COMP_LINE="$1" COMP_POINT=${#1} _atoll 2>/dev/null; echo "${COMPREPLY[*]}"; }\n'
        + 'try "atoll unp"; try "atoll ps --no-t"; try "atoll system "; try "atoll run --pull=mis"\n'
    )
    path = f"{os.path.dirname(sys.executable)}:{ROOT}/bin:{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PATH": path},
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == ["unpause", "--no-trunc"]
    assert "check" in lines[2].split()
