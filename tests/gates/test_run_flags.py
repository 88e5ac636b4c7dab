"""The table of `run`'s flags says what is true, and leaves no row empty."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess

import pytest

from gates.tree import ROOT

_spec = importlib.util.spec_from_file_location("run_flags", ROOT / "tools/run_flags.py")
assert _spec is not None
assert _spec.loader is not None
run_flags = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run_flags)


def test_no_row_is_empty_and_the_table_is_up_to_date() -> None:
    assert run_flags.problems() == []
    assert run_flags.DOCUMENT.read_text() == run_flags.table(), "run tools/run_flags.py"


def test_whatever_docker_and_podman_share_is_ours() -> None:
    missing = set(run_flags.DOCKER) & set(run_flags.PODMAN) - set(run_flags.ours())
    assert missing == set()


@pytest.mark.parametrize(
    ("program", "version", "listed"), [("docker", "28.2", "DOCKER"), ("podman", "4.3", "PODMAN")]
)
def test_the_lists_are_what_the_programs_say(program: str, version: str, listed: str) -> None:
    path = shutil.which(program)
    if (
        path is None
        or f" {version}." not in subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    ):
        return  # another version has other flags: the lists are of these
    page = subprocess.run([path, "run", "--help"], capture_output=True, text=True, timeout=30).stdout
    assert set(re.findall(r"^ +(?:-\w, )?--([a-z0-9-]+)", page, re.M)) == set(getattr(run_flags, listed))
