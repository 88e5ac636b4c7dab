"""An aarch64 interpreter on this machine, by Debian's user-mode emulation.

Holds: `root`, Debian's Python for arm64 unpacked from its packages and cached; `command`, which runs it. The packages
come by apt with lists and a cache of its own: nothing of the host's apt changes. Does not hold: what is run there.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Sequence

from kit.images import cache

EMULATOR = "/usr/bin/qemu-aarch64-static"
# The interpreter with what it loads, and a hypothesis without machine code; the rest is pure and this session's own.
PACKAGES = (
    "python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libexpat1 zlib1g libffi8 libssl3 libbz2-1.0"
    " liblzma5 libgcc-s1 libcrypt1"
).split()
PURE = ("python3-hypothesis", "python3-attr", "python3-sortedcontainers")
CONFIG = """APT::Architectures {{ "amd64"; "arm64"; }};
Dir::Etc::sourcelist "{home}/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "{home}/lists";
Dir::Cache "{home}/cache";
APT::Sandbox::User "root";
"""


def root(run: Callable[..., object]) -> str:
    """The unpacked packages. `run` is subprocess.run or one with a network. Raises CalledProcessError."""
    made = os.path.join(cache(), "aarch64-1")
    with open(os.path.join(cache(), "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(made):
            _make(run, made)
    return made


def _make(run: Callable[..., object], made: str) -> None:
    home = f"{made}.{os.getpid()}"
    try:
        for name in ("lists/partial", "cache/archives/partial", "debs", "root"):
            os.makedirs(f"{home}/{name}")
        mirror = os.environ.get("ATOLL_TEST_MIRROR", "http://deb.debian.org/debian")
        with open(f"{home}/sources.list", "w") as stream:
            stream.write(f"deb [arch=arm64] {mirror} bookworm main\n")
        with open(f"{home}/apt.conf", "w") as stream:
            stream.write(CONFIG.format(home=home))
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "APT_CONFIG": f"{home}/apt.conf"}
        wanted = [f"{name}:arm64" for name in PACKAGES] + list(PURE)
        for words in (["update", "-q"], ["download", "-q", *wanted]):
            run(["apt-get", *words], check=True, env=env, cwd=f"{home}/debs", stdout=subprocess.DEVNULL)
        for deb in glob.glob(f"{home}/debs/*.deb"):
            subprocess.run(["dpkg", "-x", deb, f"{home}/root"], check=True)
        os.rename(f"{home}/root", made)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def command(place: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """argv and environment of the emulated interpreter with `words`; modules are this tree's and this session's."""
    tree = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [f"{tree}/src", f"{place}/usr/lib/python3/dist-packages", sysconfig.get_path("purelib")]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(paths), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp"}
    return [EMULATOR, "-L", place, f"{place}/usr/bin/python3.11", "-S", *words], env


def run(place: str, words: Sequence[str], timeout: float, cwd: str) -> subprocess.CompletedProcess[str]:
    """Run the emulated interpreter to its end."""
    argv, env = command(place, *words)
    return subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout)
