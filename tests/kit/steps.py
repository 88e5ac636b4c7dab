"""Atoll's processes, one of which ends by SIGKILL at a chosen step: run as a program.

    steps.py ROLE NUMBER FOLDER spawner RUN_ROOT DATA_ROOT      be the spawner, with its monitors and clerks
    steps.py ROLE NUMBER FOLDER command WORD…                    be `atoll WORD…`

A step is a call that changes something outside of the process, in `STEPS`: each is counted by the role that the
process has by its title (spawner, monitor, clerk; a command is `command`), once FOLDER/armed is there. Just before
step NUMBER of ROLE the process kills itself, once for all (FOLDER/killed). Every step is a line of FOLDER/trace.
Does not hold: what is to be found afterwards (tests/integration/test_steps.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kit.command import Atoll

STEPS = (
    "os:rename os:unlink os:rmdir os:mkdir os:mkfifo os:symlink os:fork os:posix_spawn os:pidfd_open",
    "fcntl:flock",
    "atoll.linux.libc:syscall",
    "atoll.monitor.sockets:listen atoll.monitor.sockets:connect atoll.monitor.sockets:send_with_fds",
    "atoll.base.files:write_atomic atoll.base.files:remove_tree atoll.base.files:write_file",
    "atoll.engine.store:Store.write",
)
_arm = {"role": "", "number": 0, "folder": "", "mine": "", "count": 0}
_open, _write, _close, _access = os.open, os.write, os.close, os.access


def step(name: str) -> None:
    """One step of this process."""
    if not _access(f"{_arm['folder']}/armed", os.F_OK):
        return
    _arm["count"] = int(_arm["count"]) + 1
    trace = _open(f"{_arm['folder']}/trace", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
    _write(trace, f"{_arm['mine']} {_arm['count']} {name}\n".encode())
    _close(trace)
    if _arm["mine"] != _arm["role"] or _arm["count"] != _arm["number"]:
        return
    try:
        _close(_open(f"{_arm['folder']}/killed", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
    except FileExistsError:
        return
    os.kill(os.getpid(), 9)


def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, with a step before it."""

    def stepping(*args: Any, **named: Any) -> Any:
        step(name)
        return call(*args, **named)

    return stepping


def patch() -> None:
    """Before anything takes these calls by their names."""
    for place in " ".join(STEPS).split():
        module, _, path = place.partition(":")
        __import__(module)
        holder: Any = sys.modules[module]
        *outer, name = path.split(".")
        for part in outer:
            holder = getattr(holder, part)
        setattr(holder, name, watched(place, getattr(holder, name)))
    from atoll.linux import title

    set_title = title.set_title

    def titled(words: bytes) -> None:
        _arm.update(mine=words.decode().partition("[")[2].partition("]")[0], count=0)
        set_title(words)

    title.set_title = titled


def run_killed(box: Atoll, number: int, words: tuple[str, ...], seconds: float) -> int:
    """Run a command that ends by SIGKILL before that step (0: before none); how many it had."""
    import subprocess

    folder = f"{box.folder}/steps"
    os.makedirs(folder, exist_ok=True)
    for name in ("armed", "killed", "trace"):
        if os.path.exists(f"{folder}/{name}"):
            os.unlink(f"{folder}/{name}")
    with open(f"{folder}/armed", "w"):
        pass
    src = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "src")
    argv = [sys.executable, __file__, "command", str(number), folder, "command", *words]
    env = {**box.env, "PYTHONPATH": src}
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, cwd="/")
    if not number:
        assert done.returncode == 0, done.stderr
    with open(f"{folder}/trace") as stream:
        return sum(line.startswith("command ") for line in stream)


def main(argv: list[str]) -> int:
    """As the module says."""
    _arm.update(role=argv[0], number=int(argv[1]), folder=argv[2])
    # The rooms from below, so that what a module takes from another is patched already.
    for module in ("atoll.base.files", "atoll.linux.libc", "atoll.linux.title"):
        __import__(module)
    patch()
    if argv[3] == "command":
        from atoll.cli.main import main as command

        _arm["mine"] = "command"
        sys.argv = ["atoll", *argv[4:]]
        return command(argv[4:])
    from atoll.monitor import client, sockets, spawner

    run_root, data_root = argv[4:]
    sockets.check_directory(run_root)
    path = f"{run_root}/spawner-{client.key(data_root)}.sock"
    os.dup2(os.open(f"{run_root}/{client.FAULTS_FILE}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    listener = sockets.listen(path)
    spawner.run_spawner(listener.detach(), path, f"{run_root}/{client.LOCK_FILE}", 60.0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
