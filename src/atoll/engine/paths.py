"""Where Atoll keeps things on this host, for this user.

Holds: the data root, the run root and the places inside them. Does not hold: what is in the files.
The run root is checked before anything in it is trusted: it holds the sockets through which containers are driven.
"""

from __future__ import annotations

import errno
import os
import stat

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Paths(Value):
    """The two roots: `data` survives a reboot, `run` does not."""

    data: str
    run: str

    @property
    def database(self) -> str:
        """The SQLite file."""
        return self.data + "/atoll.db"

    @property
    def content(self) -> str:
        """The content store (OCI layout)."""
        return self.data + "/content"

    @property
    def snapshots(self) -> str:
        """Unpacked layers and writable layers."""
        return self.data + "/snapshots"

    @property
    def volumes(self) -> str:
        """Named volumes."""
        return self.data + "/volumes"

    @property
    def seccomp_cache(self) -> str:
        """Compiled seccomp filters by content."""
        return self.data + "/cache/seccomp"

    @property
    def events(self) -> str:
        """The newest file of the journal of events."""
        return self.data + "/events/journal"

    @property
    def containers(self) -> str:
        """The durable directories of all containers."""
        return self.data + "/containers"

    @property
    def containers_run(self) -> str:
        """The run directories of all containers."""
        return self.run + "/containers"

    def container(self, container_id: str) -> str:
        """A container's durable directory (its bundle)."""
        return f"{self.data}/containers/{container_id}"

    def container_run(self, container_id: str) -> str:
        """A container's run directory."""
        return f"{self.run}/containers/{container_id}"


def locate(environ: Mapping[str, str], uid: int) -> Paths:
    """The roots for a user, by `ATOLL_DATA_ROOT` and `ATOLL_RUN_ROOT`, else the usual places. Touches nothing."""
    data, run = environ.get("ATOLL_DATA_ROOT"), environ.get("ATOLL_RUN_ROOT")
    if not data:
        data = "/var/lib/atoll" if uid == 0 else _data_home(environ) + "/atoll"
    if not run:
        runtime_dir = environ.get("XDG_RUNTIME_DIR", "")
        if uid == 0:
            run = "/run/atoll"
        else:
            run = runtime_dir + "/atoll" if runtime_dir.startswith("/") else f"/tmp/atoll-{uid}"
    return Paths(data=os.path.abspath(data), run=os.path.abspath(run))


def _data_home(environ: Mapping[str, str]) -> str:
    given = environ.get("XDG_DATA_HOME", "")
    if given.startswith("/"):  # the base directory specification: a relative path is to be ignored
        return given
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        raise errors.FailedPrecondition("no place for data: HOME is not set", hint="set HOME or ATOLL_DATA_ROOT")
    return home + "/.local/share"


def prepare(paths: Paths, uid: int) -> None:
    """Make both roots, private to the user, and refuse a run root that somebody else could have planted.

    Raises Denied when a root belongs to another user or others may write to it, and what making it raises.
    """
    for place in (paths.run, paths.data):
        _check(place, uid)
    for place in (paths.containers_run, paths.containers):
        if not os.path.isdir(place):
            _make(place, 0o700)


def _check(place: str, uid: int) -> None:
    try:
        found = os.lstat(place)
    except FileNotFoundError:
        _make(place, 0o700)
        found = os.lstat(place)
    except OSError as error:
        raise errors.from_os_error(error, "look at Atoll's directory") from error
    # A directory in /tmp can be made by anybody first; one that is not ours alone is never used.
    hint = "remove it, or set ATOLL_DATA_ROOT and ATOLL_RUN_ROOT to directories of your own"
    if not stat.S_ISDIR(found.st_mode):
        raise errors.Denied(f"cannot use {place}: it is not a directory", hint=hint)
    if found.st_uid != uid:
        raise errors.Denied(f"cannot use {place}: it belongs to user {found.st_uid}, not to {uid}", hint=hint)
    if found.st_mode & 0o022:
        raise errors.Denied(f"cannot use {place}: other users may write to it", hint=f"run: chmod 700 {place}")


def _make(place: str, mode: int) -> None:
    try:
        os.mkdir(place, mode)
    except FileExistsError:
        pass
    except FileNotFoundError:
        parent = os.path.dirname(place)
        if parent in ("", "/", place):
            raise
        _make(parent, 0o755)
        _make(place, mode)
    except OSError as error:
        hint = None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "set ATOLL_DATA_ROOT and ATOLL_RUN_ROOT to directories you may write to"
        raise errors.from_os_error(error, "make Atoll's directory", hint=hint) from error
