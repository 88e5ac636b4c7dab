"""Writing the id maps of a user namespace: user_namespaces(7), newuidmap(1).

Holds: `write_id_maps`. Does not hold: which ids (`spec/idmap.py`).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Lines = Sequence[tuple[int, int, int]]


def write_id_maps(pid: int, uids: Lines, gids: Lines, *, helpers: tuple[str, str] | None = None) -> None:
    """Write the maps of the user namespace that process `pid` is in; lines are (inside, outside, count).

    Directly where the kernel allows it: as root, or for the one line that maps the caller's own id, which costs
    the namespace its setgroups(2). Otherwise by the set-id `helpers` (newuidmap, newgidmap). The process must be
    dumpable, or its files in procfs belong to the host's root. Raises OSError naming the file or the helper.
    """
    if helpers is not None:
        _run([helpers[0], str(pid), *[str(n) for line in uids for n in line]])
        _run([helpers[1], str(pid), *[str(n) for line in gids for n in line]])
        return
    if os.geteuid() != 0:
        _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/gid_map", "".join([f"{a} {b} {c}\n" for a, b, c in gids]))
    _write(f"/proc/{pid}/uid_map", "".join([f"{a} {b} {c}\n" for a, b, c in uids]))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def _run(argv: list[str]) -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writer, 2)]
        pid = os.posix_spawn(argv[0], argv, {"PATH": "/usr/bin:/bin"}, file_actions=actions)
        os.close(writer)
        writer = -1
        said = os.read(reader, 4096).decode(errors="replace").strip()
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if status != 0:
        raise OSError(1, said or f"exit status {os.waitstatus_to_exitcode(status)}", argv[0])
