"""Trying something of the kernel in a child that is thrown away.

Holds: `attempt`, and `as_ordinary` for what is tried there. What the child changed (its namespaces, user, mounts)
goes with it; a kernel that hangs in it is left behind after a while.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 10.0


def attempt(act: Callable[[], object], seconds: float = SECONDS) -> str | None:
    """Run `act` in a fork; None if it returned, else in words why it did not. Never raises what `act` raises."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        said = "it ended without a word"
        try:
            os.setsid()
            act()
            said = ""
        except OSError as error:
            said = f"{error.filename}: {error.strerror}" if isinstance(error.filename, str) else str(error.strerror)
        except BaseException as fault:  # noqa: BLE001 - a fork's edge: nothing may return into the parent's code
            said = str(fault) or type(fault).__name__
        finally:
            os.write(writing, b"." + said.encode()[:2000])
            os._exit(0)
    os.close(writing)
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    answered = bool(poll.poll(int(seconds * 1000)))
    said = os.read(reading, 4096).decode(errors="replace") if answered else ""
    os.close(reading)
    if not answered:
        os.kill(child, 9)
        os.waitpid(child, os.WNOHANG)  # one that hangs in the kernel is not waited for
        return f"no answer in {seconds:g} seconds"
    os.waitpid(child, 0)
    return said[1:] or None if said else "the trial was killed"


def as_ordinary(flags: int = 0) -> None:
    """In such a child: as the root of a user namespace of this one id, with further namespaces by `flags`
    (CLONE_NEW*), as an ordinary user's containers are. Raises OSError."""
    from atoll.linux import userns
    from atoll.spec import idmap

    userns.enter(**idmap.single(os.geteuid(), os.getegid()).ways(), flags=flags)
