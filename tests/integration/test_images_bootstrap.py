"""`atoll image bootstrap` with a mirror of one package in a folder: the same image twice, and what is left out."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from kit.command import Atoll

EPOCH = "1700000000"
CONTROL = """Package: tiny
Version: 1
Architecture: all
Maintainer: nobody <nobody@example.com>
Description: a program and a few files
"""


def mirror(folder: Path) -> str:
    """A repository with one package that holds a busybox; the line of sources.list for it."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(CONTROL)
    for path in ("bin", "etc", "usr/share/tiny", "var/log", "var/cache/apt", "dev"):
        (tree / path).mkdir(parents=True)
    busybox = Path("/usr/bin/busybox") if os.path.exists("/usr/bin/busybox") else Path("/bin/busybox")
    (tree / "bin/busybox").write_bytes(busybox.read_bytes())
    (tree / "bin/busybox").chmod(0o755)
    (tree / "bin/sh").symlink_to("busybox")
    (tree / "etc/hostname").write_text("the machine that made it\n")
    (tree / "etc/machine-id").write_text("0" * 32)
    (tree / "var/log/made.log").write_text("noise")
    (tree / "usr/share/tiny/note").write_text("kept\n")
    package = folder / "tiny_1_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(package)], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    data = package.read_bytes()
    facts = f"Filename: ./{package.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    (folder / "Packages").write_text(CONTROL + facts)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    return f"deb [trusted=yes] copy:{folder} ./"


@pytest.mark.full  # each run of mmdebstrap takes seconds
@pytest.mark.parametrize("whose", ["atoll", "rootless"])
def test_the_same_image_twice(request: pytest.FixtureRequest, whose: str):
    anyone: Atoll = request.getfixturevalue(whose)
    folder = Path(anyone.folder, "mirror")
    folder.mkdir()
    words = ("image", "bootstrap", "-q", "--variant", "extract", "--include", "tiny", "--mirror", mirror(folder))
    env = {"SOURCE_DATE_EPOCH": EPOCH, "TMPDIR": "/tmp"}
    first = anyone.good(*words, "-t", "made:1", "debian:bookworm", env=env)
    again = anyone.good(*words, "-t", "made:2", "debian:bookworm", env=env)
    assert first == again
    shown = anyone.inspect("made:1")
    assert shown["Created"].startswith("2023-11-14T22:13:20")
    assert shown["Config"]["Cmd"] == ["bash"]
    seen = (
        "cat /usr/share/tiny/note; ls /var/log /etc/machine-id 2>&1 | head -3; stat -c '%u %Y' /usr/share/tiny/note"
    )
    lines = anyone.good("run", "--rm", "made:1", "busybox", "sh", "-c", seen).split("\n")
    assert lines[0] == "kept"
    assert not [line for line in lines if "made.log" in line]
    owner, written = lines[-1].split()
    assert owner == "0"
    assert int(written) <= int(EPOCH)
    other = anyone.good(*words, "-t", "made:3", "debian:bookworm", env={**env, "SOURCE_DATE_EPOCH": "1600000000"})
    assert other != first
    # What fails leaves nothing behind.
    (folder / "Packages").write_text("")
    (folder / "tiny_1_all.deb").unlink()
    anyone(*words, "-t", "made:4", "debian:bookworm", env=env).failed(1, "mmdebstrap failed")
    anyone("image", "inspect", "made:4").failed(1, "No such")
    assert anyone.good("system", "check") == "nothing to repair"
    assert [one for one in os.listdir(anyone.data) if one.startswith("bootstrap")] == []


def test_what_is_no_distribution(atoll: Atoll):
    atoll("image", "bootstrap", "plan9:4").failed(1, "cannot bootstrap", "debian, ubuntu")
    atoll("image", "bootstrap", "debian:../x").failed(1, "cannot bootstrap")
    atoll("image", "bootstrap", "debian:sid", env={"SOURCE_DATE_EPOCH": "now"}).failed(1, "not a number of seconds")
