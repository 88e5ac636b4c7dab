"""Fixtures inside the test host: an Atoll of root's and of an ordinary user's, each with a small image, `bb`.

The host is thrown away afterwards, so nothing is put back but what the next test would stumble over.
"""

from __future__ import annotations

import ctypes
import glob
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit import images
from kit.command import Atoll
from kit.sandbox import User

FINIT_MODULE = 313
_serial = itertools.count()


def pytest_configure() -> None:
    """User-mode Linux has overlay as a module that nothing loads by itself."""
    if "overlay" not in Path("/proc/filesystems").read_text():
        for module in glob.glob("/usr/lib/uml/modules/*/kernel/fs/overlayfs/overlay.ko"):
            with open(module, "rb") as file:
                ctypes.CDLL(None).syscall(FINIT_MODULE, file.fileno(), b"", 0)


@pytest.fixture(scope="session")
def layout() -> Iterator[str]:
    """The image `bb`, for `atoll load`."""
    folder = tempfile.mkdtemp(prefix="layout-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    images.write_layout(images.busybox(), f"{folder}/layout", "bb:latest")
    yield f"{folder}/layout"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def _atoll(layout: str) -> Iterator[Atoll]:
    one = Atoll(f"/var/tmp/atoll-{next(_serial)}")
    one.good("load", "-q", "-i", layout)
    yield one
    one.clear()
    subprocess.run(["rm", "-rf", "--one-file-system", one.folder], check=True)


@pytest.fixture
def atoll(_atoll: Atoll) -> Iterator[Atoll]:
    """Root's, with `bb`, and without a container."""
    yield _atoll
    left = _atoll.all()
    if left:
        _atoll.good("rm", "-f", *left)


@pytest.fixture(scope="session")
def user() -> User:
    """An ordinary user of the host's, with subordinate ids."""
    if os.environ["ATOLL_TEST_HOST"] == "uml":
        pytest.skip("/etc is read-only here")
    words = ["useradd", "--create-home", "--add-subids-for-system", "--shell", "/bin/sh", "somebody"]
    subprocess.run(words, check=True)
    uid = int(subprocess.run(["id", "-u", "somebody"], check=True, capture_output=True, text=True).stdout)
    subprocess.run(["loginctl", "enable-linger", "somebody"], check=True)
    return User("somebody", uid, uid, "/home/somebody", f"/run/user/{uid}")
