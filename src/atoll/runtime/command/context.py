"""What every verb shares: the global options, where containers are recorded, and how a bundle is read.

Holds: `Context`, `check_id`, `load_spec`. Does not hold: any verb.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.command.report import Log
    from atoll.spec.runtime import Process, Spec

NAME = "atoll-runtime"
_ID_LONGEST = 1024
_ID_MARKS = frozenset("_+-.")
_CONFIG_MOST = 64 << 20  # bytes of config.json; the largest real ones have some hundred thousand


class Context(Value):
    """The global options. `rootless` None is for this runtime to find out."""

    root: str
    log: Log
    systemd_cgroup: bool = False
    rootless: bool | None = None
    criu: str | None = None

    def run_of(self, container_id: str) -> str:
        """The run directory of a container. Raises InvalidArgument for an id that names no directory of ours."""
        check_id(container_id)
        return f"{self.root}/{container_id}"

    def existing(self, container_id: str) -> str:
        """The same for one that must be there. Raises NotFound in runc's words, which engines look for."""
        run = self.run_of(container_id)
        if not os.path.isdir(run):
            raise errors.NotFound("container does not exist")
        return run

    def make_run(self, container_id: str) -> str:
        """Make the run directory of a new container. Raises Conflict if the id is taken."""
        run = self.run_of(container_id)
        try:
            os.mkdir(run, 0o700)
        except FileNotFoundError:
            _make_root(self.root)
            return self.make_run(container_id)
        except FileExistsError:
            raise errors.Conflict(f"container with given ID already exists: {container_id}") from None
        except OSError as error:
            raise errors.from_os_error(error, "record the container") from error
        return run


def _make_root(root: str) -> None:
    try:
        os.makedirs(root, 0o711)
    except FileExistsError:
        pass
    except OSError as error:
        raise errors.from_os_error(error, "make the directory of containers", hint="--root names another") from error


def default_root() -> str:
    """`/run/atoll-runtime`; for an ordinary user, also as root of a user namespace (rootless podman), below
    $XDG_RUNTIME_DIR."""
    from atoll.linux.userns import in_initial

    if os.geteuid() != 0 or not in_initial():
        folder = os.environ.get("XDG_RUNTIME_DIR")
        if folder:
            return f"{folder}/{NAME}"
        return f"/tmp/{NAME}-{os.geteuid()}"
    return f"/run/{NAME}"


def filter_cache() -> str | None:
    """Where compiled seccomp filters are kept: beside the default root, whatever `--root` says, for the profiles of
    all callers are few. None where that lies in a directory of others, who could have made ours before us."""
    folder = default_root()
    try:
        owner = os.stat(os.path.dirname(folder)).st_uid
    except OSError:
        return None
    return f"{folder}-filters" if owner == os.geteuid() else None


def check_id(container_id: str) -> None:
    """Refuse what could name another place than a directory of its own. Raises InvalidArgument."""
    good = container_id not in ("", ".", "..") and len(container_id) <= _ID_LONGEST
    if not (good and all((c.isascii() and c.isalnum()) or c in _ID_MARKS for c in container_id)):
        raise errors.InvalidArgument(
            f"invalid container ID format: {container_id!r}", hint="letters, digits and the marks _ + - ."
        )


def load_spec(bundle: str) -> Spec:
    """`config.json` of a bundle. Raises NotFound, InvalidArgument with the JSON path of what is wrong."""
    from atoll.spec.runtime import Spec

    spec = Spec.from_json(_document(f"{bundle}/config.json", "JSON specification file config.json not found"))
    if all(entry.destination.startswith("/") for entry in spec.mounts):
        return spec
    # Old tools write destinations that count from the top all the same (config.md, "Mounts").
    mounts = (
        entry.replace(destination=f"/{entry.destination}") if entry.destination[:1] not in ("", "/") else entry
        for entry in spec.mounts
    )
    return spec.replace(mounts=tuple(mounts))


def load_process(path: str) -> Process:
    """A process document, for `exec --process`. Raises NotFound, InvalidArgument."""
    from atoll.spec.codec import parse
    from atoll.spec.runtime import Process

    return parse(Process, _document(path, f"process file {path} not found"), "process")


def _document(path: str, absent: str) -> object:
    try:
        if os.path.getsize(path) > _CONFIG_MOST:
            raise errors.InvalidArgument(f"{path}: larger than {_CONFIG_MOST >> 20} MiB")
        return jsontext.loads(files.read_bytes(path))
    except FileNotFoundError:
        raise errors.NotFound(absent) from None
    except OSError as error:
        raise errors.from_os_error(error, f"read {path}") from error
    except ValueError as error:
        raise errors.InvalidArgument(f"{path}: {error}") from None
