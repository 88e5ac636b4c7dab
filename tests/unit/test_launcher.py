"""`bin/atoll` finds its interpreter and package in every way it can be installed, and starts without `site`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.base import launch
from kit import installed

pytestmark = pytest.mark.unit
NO_PATH = {"PATH": "/nowhere"}
BASE_PYTHON = os.path.realpath(sys.executable)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed.stub_tree(tmp_path_factory.mktemp("tree") / "atoll")


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed.build(tree, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed.virtual_environment(tmp_path_factory.mktemp("venv") / "with a space", wheel)


def _is_lean(seen: dict[str, object]) -> None:
    assert seen["no_site"] == 1
    assert seen["isolated"] == 1
    assert not seen["site"]


def test_both_scripts_are_one_text_but_for_the_module() -> None:
    texts = [(installed.ROOT / "bin" / name).read_text() for name in ("atoll", "atoll-runtime")]
    differing = [pair for pair in zip(*(text.splitlines() for text in texts), strict=True) if pair[0] != pair[1]]
    assert differing == [(f"module={launch.CLI}", f"module={launch.RUNTIME}")]
    for text in texts:
        assert text.split("boot='", 1)[1].split("'", 1)[0] == launch.BOOT


def test_pip_installs_the_scripts_as_they_are(venv: Path) -> None:
    for name in ("atoll", "atoll-runtime"):
        assert (venv / name).read_bytes() == (installed.ROOT / "bin" / name).read_bytes()
        assert (venv / name).stat().st_mode & 0o111 == 0o111


def test_wheel_is_pure_and_typed(wheel: Path) -> None:
    import zipfile

    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "atoll/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.endswith((".so", ".c"))]


def test_virtual_environment(venv: Path) -> None:
    seen = installed.started(venv / "atoll", "a b", '"$x"', "", "*", env=NO_PATH)
    _is_lean(seen)
    assert seen["argv"] == ["a b", '"$x"', "", "*"]
    assert (seen["argv0"], seen["name"]) == ("atoll", "atoll.cli.main")
    assert seen["executable"] == str(venv / "python3")
    assert installed.started(venv / "atoll-runtime", "--version", env={})["name"] == "atoll.runtime.main"


def test_exit_status_is_passed_on(venv: Path) -> None:
    assert installed.run(venv / "atoll", "exit", "42", check=False).returncode == 42


def test_python_of_the_environment_may_be_a_link(venv: Path) -> None:
    assert (venv / "python3").is_symlink()


@pytest.mark.parametrize("relative", [False, True])
def test_through_links(venv: Path, tmp_path: Path, relative: bool) -> None:
    first, second = tmp_path / "bin one" / "atoll", tmp_path / "web"
    first.parent.mkdir()
    first.symlink_to(os.path.relpath(venv / "atoll", first.parent) if relative else venv / "atoll")
    second.symlink_to(os.path.relpath(first, tmp_path) if relative else first)
    for link in (first, second):
        _is_lean(installed.started(link, env=NO_PATH))


def test_from_path_and_relative(venv: Path) -> None:
    for command, options in (
        (("atoll",), {"env": {"PATH": f"{venv}:/usr/bin:/bin"}}),
        (("./atoll",), {"cwd": venv, "env": NO_PATH}),
        (("bin/atoll",), {"cwd": venv.parent, "env": {"CDPATH": "/:/usr"}}),
        (("/bin/sh", "atoll"), {"cwd": venv, "env": {"PATH": "/usr/bin:/bin"}}),
    ):
        seen = installed.started(*command, **options)
        _is_lean(seen)
        assert seen["executable"] == str(venv / "python3")


def test_environment_does_not_reach_in(venv: Path, tmp_path: Path) -> None:
    (tmp_path / "atoll").mkdir()
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/nowhere"}
    _is_lean(installed.started(venv / "atoll", cwd=tmp_path, env=environment))


def test_editable(tree: Path, tmp_path: Path) -> None:
    wheel = installed.build(tree, tmp_path / "wheel", "editable")
    bin_ = installed.virtual_environment(tmp_path / "venv", wheel)
    assert (bin_ / "atoll").read_bytes() == (installed.ROOT / "bin/atoll").read_bytes()
    seen = installed.started(bin_ / "atoll", env=NO_PATH)
    _is_lean(seen)
    assert seen["file"] == str(tree / "src/atoll/cli/main.py")


def test_source_tree(tree: Path) -> None:
    seen = installed.started(tree / "bin/atoll", env=NO_PATH)
    _is_lean(seen)
    assert seen["file"] == str(tree / "src/atoll/cli/main.py")


def test_system_wide(wheel: Path, tmp_path: Path) -> None:
    """PREFIX/bin without an interpreter beside it, as in /usr/local or ~/.local, and one of another version."""
    installed.pip_install(wheel, "--python", BASE_PYTHON, after=("--prefix", str(tmp_path / "usr")))
    script = next((tmp_path / "usr").rglob("bin/atoll"))
    wrong = script.parent / "python3"
    wrong.write_text("#!/bin/sh\necho wrong >&2; exit 1\n")
    wrong.chmod(0o755)
    seen = installed.started(script, env=NO_PATH)
    _is_lean(seen)
    assert str(seen["file"]).startswith(str(tmp_path))


def test_no_python_at_all(tree: Path, tmp_path: Path) -> None:
    """Only checked for what the script says: the places it looks in are made unreachable by editing a copy."""
    script = tmp_path / "atoll"
    text = (tree / "bin/atoll").read_text()
    script.write_text(text.replace("/usr/bin/python3", "/nowhere/python3").replace("/usr/local/", "/nowhere/"))
    result = subprocess.run(["/bin/sh", script], env=NO_PATH, capture_output=True, text=True, check=False)
    assert result.returncode == 125
    assert "no Python 3 was found" in result.stderr


def test_missing_module_brings_in_site(venv: Path) -> None:
    extra = next((venv.parent / "lib").glob("python3*/site-packages")) / "elsewhere.pth"
    place = venv.parent / "more"
    place.mkdir()
    (place / "dependency_elsewhere.py").write_text("")
    extra.write_text(f"{place}\n")
    result = installed.run(venv / "atoll", "import", "dependency_elsewhere", env=NO_PATH)
    assert result.stdout.splitlines()[1] == str(place / "dependency_elsewhere.py")
    missing = installed.run(venv / "atoll", "import", "nowhere_at_all", env=NO_PATH, check=False)
    assert "ModuleNotFoundError: No module named 'nowhere_at_all'" in missing.stderr


def test_atoll_starts_itself_again_without_site(venv: Path) -> None:
    first = installed.run(venv / "atoll", "launch", env=NO_PATH).stdout.splitlines()[1]
    command = json.loads(first)
    assert command[:3] == [str(venv / "python3"), "-SI", "-c"]
    seen = installed.started(*command, env=NO_PATH, cwd="/")
    _is_lean(seen)
    assert seen["argv"] == ["again"]


def test_module_way(venv: Path) -> None:
    assert installed.started(venv / "python3", "-m", "atoll", "x")["argv"] == ["x"]


def test_argv_names_the_running_package() -> None:
    assert launch.directory() == str(Path(launch.__file__).parents[2])
    assert launch.argv("internal", "x", python="/p")[0] == "/p"


def test_output_that_nobody_reads_is_no_error(venv: Path) -> None:
    command = f"'{venv}/atoll' | true; echo done"
    result = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True, timeout=30)
    assert result.stderr == ""
