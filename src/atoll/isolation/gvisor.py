"""Which platform gVisor's runsc is to run on: the fastest that works, found by trying, remembered for this boot.

Holds: `with_platform`, `best`. Does not hold: how runsc is driven (`monitor/foreign.py`, `monitor/runsc.py`).
A platform is how the sentry gets hold of system calls: `systrap` (newer releases), `kvm`, `ptrace` (every kernel).
Which of them a release knows, this kernel allows and this machine is fast with is not to be told from outside: a
program that makes system calls is run by each. `kvm` is tried only where a machine of ours has come up by it
(`vm/probe.py`): where it is emulated, it opens and then hangs.

    <data>/gvisor.json    {"boot", "program", "platform", "tried": {platform: nanoseconds a call, or why not}}
"""

from __future__ import annotations

import os
import sys

from atoll.base import errors, files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOTE = "gvisor.json"
SECONDS = 10.0
"""How long one trial may take; it takes half a second where the platform works."""
FLAG = "--platform"
CALLS = 2000
_CODE = (
    "import os, time; began = time.perf_counter_ns(); "
    f"[os.getppid() for _ in range({CALLS})]; print((time.perf_counter_ns() - began) // {CALLS})"
)


def with_platform(words: tuple[str, ...], data_root: str) -> tuple[str, ...]:
    """A command line of runsc with the best platform in place of the one it names; another runtime's as it is."""
    if FLAG not in words:
        return words
    at = words.index(FLAG) + 1
    return (*words[:at], best(words[0], data_root) or words[at], *words[at + 1 :])


def best(program: str, data_root: str) -> str | None:
    """Try, or remember; None where none works: then runsc says itself what it lacks."""
    found = os.stat(program)
    about = {
        "boot": files.read_text("/proc/sys/kernel/random/boot_id").strip(),
        "program": f"{program}:{found.st_mtime_ns}:{found.st_size}",
    }
    try:
        known = jsontext.loads(files.read_bytes(f"{data_root}/{NOTE}"))
        if {name: known.get(name) for name in about} == about:
            return str(known["platform"]) if known["platform"] else None
    except (OSError, ValueError, KeyError, AttributeError):
        pass
    tried = {platform: _try(program, platform) for platform in _candidates(data_root)}
    works = {platform: cost for platform, cost in tried.items() if isinstance(cost, int)}
    platform = min(works, key=lambda one: works[one]) if works else None
    try:
        files.write_atomic(f"{data_root}/{NOTE}", jsontext.dumps({**about, "platform": platform, "tried": tried}))
    except OSError as error:
        raise errors.from_os_error(error, "note which platform of gVisor works") from error
    return platform


def _candidates(data_root: str) -> tuple[str, ...]:
    return ("systrap", "ptrace", "kvm") if _kvm_came_up(f"{data_root}/vm") else ("systrap", "ptrace")


def _kvm_came_up(root: str) -> bool:
    """Whether a driver of machines noted so, for this boot."""
    boot = files.read_text("/proc/sys/kernel/random/boot_id").strip()
    try:
        names = [name for name in os.listdir(root) if name.startswith("kvm-") and name.endswith(".json")]
    except OSError:
        return False
    for name in names:
        try:
            known: Any = jsontext.loads(files.read_bytes(f"{root}/{name}"))
            if known["ok"] is True and known["boot"] == boot:
                return True
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return False


def _try(program: str, platform: str) -> int | str:
    """Nanoseconds of a system call by this platform, or why it does not work."""
    import shutil
    import signal
    import subprocess
    import tempfile

    place = tempfile.mkdtemp(prefix="atoll-gvisor-")
    words = [program, "--root", place, FLAG, platform, "--network", "none", "--ignore-cgroups"]
    words += ["do", os.path.realpath(sys.executable), "-SI", "-c", _CODE]
    here = {**os.environ, "TMPDIR": place}  # its bundle is left behind by one that is killed
    pipe = subprocess.PIPE
    try:
        # No stream of it may be the host's null device: runsc gives its streams to `nobody`.
        with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, env=here, start_new_session=True) as child:
            try:
                out, said = child.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)  # the sandbox and its gofer die with it (`do` is attached)
                return f"no answer within {SECONDS:.0f} s"
        if child.returncode == 0 and out.strip().isdigit():
            return int(out)
        return said.decode(errors="replace").strip()[-200:] or f"exit code {child.returncode}"
    except OSError as error:
        return str(error)
    finally:
        shutil.rmtree(place, ignore_errors=True)
