"""The first milliseconds of `atoll-runtime`, on `posix` alone: sealing, and a lock taken ahead of time.

Holds: `first`, `prime_aside`, `reap`. Does not hold: a word of error: whatever goes wrong here is left to the same
done at length (`seal.py`, from `main.py`), which can say why.
A verb that forks into a container is executed twice (`seal.py` says why): of the first interpreter's life everything
is overhead, so that it imports no `os`, no `ctypes` and none of the runtime. docs/runtime.md has the figures.
"""

from __future__ import annotations

import gc
import posix

FORKING = frozenset(("create", "run", "exec", "restore"))
_WITH_VALUE = frozenset(("root", "log", "log-format", "criu", "rootless"))
_ST_RDONLY = 1

_primed: list[int] = []


def verb_of(argv: list[str]) -> str:
    """The first word that is neither an option nor an option's value."""
    value = False
    for word in argv:
        if value:
            value = False
        elif word.startswith("-"):
            name, equals, _ = word.lstrip("-").partition("=")
            value = not equals and name in _WITH_VALUE
        else:
            return word
    return ""


def is_sealed() -> bool:
    """Whether this process's own program lies on a read-only mount."""
    return bool(posix.statvfs("/proc/self/exe").f_flag & _ST_RDONLY)


def first(argv: list[str], command: list[str]) -> None:
    """For a verb that forks: execute `command` from a sealed interpreter, as root. Returns where there is no need to,
    or where it does not work."""
    if verb_of(argv) not in FORKING:
        return
    if is_sealed():
        prime_aside()
        # A short life without rubbish: a tenth of the imports' time goes into looking for some, and what the
        # container's init inherits would be copied by it.
        gc.disable()
        return
    if posix.geteuid() != 0:
        return
    try:
        directory, _, name = posix.readlink("/proc/self/exe").rpartition("/")
        from atoll.linux.bare import read_only_overlay

        tree = read_only_overlay(directory)
        program = posix.open(name, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=tree)
        posix.execve(f"/proc/self/fd/{program}", command, posix.environ)
    except (OSError, ImportError, AttributeError, TypeError, ValueError):
        return


def prime_aside() -> None:
    """Have a child take the kernel's lock on cgroup migrations once (`cgroups/prime.py` says why): the wait for it
    then passes beside the imports. `reap` takes the child in."""
    pid = posix.fork()
    if pid:
        _primed.append(pid)
        return
    try:
        own = _unified_cgroup()
        if own is not None:
            fd = posix.open(f"{own}/cgroup.procs", posix.O_WRONLY | posix.O_CLOEXEC)
            posix.write(fd, b"0")
    except OSError:  # it was an attempt to save time
        pass
    finally:
        posix._exit(0)


def _unified_cgroup() -> str | None:
    """Our own directory in the cgroup v2 tree, where that is mounted as a whole."""
    own = next((line[3:] for line in _read("/proc/self/cgroup").split("\n") if line.startswith("0::")), None)
    for line in _read("/proc/self/mountinfo").split("\n"):
        if own is not None and " - cgroup2 " in line:
            fields = line.split(" ")
            if fields[3] == "/" and "\\" not in fields[4]:
                return f"{fields[4]}{own}"
    return None


def _read(path: str) -> str:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = b""
        while chunk := posix.read(fd, 65536):
            data += chunk
    finally:
        posix.close(fd)
    return data.decode("utf-8", "replace")


def reap() -> None:
    """Take in the child of `prime_aside`; it is long done."""
    while _primed:
        try:
            posix.waitpid(_primed.pop(), 0)
        except OSError:
            continue
