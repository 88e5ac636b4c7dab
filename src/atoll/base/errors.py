"""The errors that cross rooms: a dozen kinds, each with a message and a next step.

Holds: the exception tree and its wire form. Does not hold: exit codes or HTTP statuses (each door has its table).

    AtollError
    ├─ InvalidArgument       the request itself is wrong
    ├─ NotFound              the thing named is not there
    ├─ Conflict              the name or resource is taken
    ├─ Denied                the kernel, a registry or a policy refuses
    ├─ FailedPrecondition    not in this state
    ├─ Unsupported           this host or level cannot do it
    ├─ Unavailable           something outside does not answer; trying again may help
    ├─ Exhausted             disk, memory, descriptors, addresses, quota
    ├─ Corrupt               content is not what its digest or shape promised
    ├─ Timeout               it took longer than allowed
    ├─ Cancelled             the user stopped it
    ├─ CommandNotFound       the container's program does not exist (exit code 127)
    ├─ CommandNotExecutable  it exists and cannot be run (exit code 126)
    └─ Internal              a fault of Atoll's own

`linux/` raises plain OSError; the room that knows what was being tried translates it, once, with `from_os_error`.
"""

from __future__ import annotations

import errno as _errno


class AtollError(Exception):
    """An error meant for a person: what was tried on what and why it failed (`message`), what to do (`hint`)."""

    kind = "internal"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def to_json(self) -> dict[str, str | None]:
        """The wire form, for crossing a process boundary."""
        return {"kind": self.kind, "message": self.message, "hint": self.hint}


class InvalidArgument(AtollError):
    """The request itself is wrong, whatever the state of the world."""

    kind = "invalid-argument"


class NotFound(AtollError):
    """The thing named is not there."""

    kind = "not-found"


class Conflict(AtollError):
    """The name or the resource is taken."""

    kind = "conflict"


class Denied(AtollError):
    """The kernel, a registry or a policy refuses."""

    kind = "denied"


class FailedPrecondition(AtollError):
    """Right request, wrong state."""

    kind = "failed-precondition"


class Unsupported(AtollError):
    """This host, kernel or isolation level cannot do it."""

    kind = "unsupported"


class Unavailable(AtollError):
    """Something outside does not answer; trying again may help."""

    kind = "unavailable"


class Exhausted(AtollError):
    """Disk, memory, descriptors, addresses or a quota ran out."""

    kind = "exhausted"


class Corrupt(AtollError):
    """Content is not what its digest or its shape promised."""

    kind = "corrupt"


class Timeout(AtollError):
    """It took longer than was allowed."""

    kind = "timeout"


class Cancelled(AtollError):
    """The user stopped it."""

    kind = "cancelled"


class CommandNotFound(AtollError):
    """The container's program does not exist inside it."""

    kind = "command-not-found"


class CommandNotExecutable(AtollError):
    """The container's program exists and cannot be run."""

    kind = "command-not-executable"


class Internal(AtollError):
    """A fault of Atoll's own."""

    kind = "internal"


KINDS: dict[str, type[AtollError]] = {
    cls.kind: cls
    for cls in (
        InvalidArgument,
        NotFound,
        Conflict,
        Denied,
        FailedPrecondition,
        Unsupported,
        Unavailable,
        Exhausted,
        Corrupt,
        Timeout,
        Cancelled,
        CommandNotFound,
        CommandNotExecutable,
        Internal,
    )
}

_BY_ERRNO: dict[int, type[AtollError]] = {
    _errno.ENOENT: NotFound,
    _errno.EEXIST: Conflict,
    _errno.EPERM: Denied,
    _errno.EACCES: Denied,
    _errno.EROFS: Denied,
    _errno.ENOSPC: Exhausted,
    _errno.EDQUOT: Exhausted,
    _errno.EMFILE: Exhausted,
    _errno.ENFILE: Exhausted,
    _errno.ENOMEM: Exhausted,
    _errno.EAGAIN: Exhausted,
    _errno.ENOSYS: Unsupported,
    _errno.EOPNOTSUPP: Unsupported,
    _errno.EINVAL: InvalidArgument,
    _errno.ETIMEDOUT: Timeout,
}


def from_json(wire: object) -> AtollError:
    """The error whose `to_json` crossed a process boundary; anything malformed reads as Internal."""
    if not isinstance(wire, dict):
        return Internal(f"malformed error {wire!r}")
    cls = KINDS.get(str(wire.get("kind")), Internal)
    hint = wire.get("hint")
    return cls(str(wire.get("message")), hint=str(hint) if hint else None)


def from_os_error(error: OSError, what: str, *, hint: str | None = None) -> AtollError:
    """Translate a system call's failure: `what` says what was tried, e.g. "mount the root of web"."""
    cls = _BY_ERRNO.get(error.errno or 0, Internal)
    where = f" {error.filename}" if error.filename else ""
    if hint is None and error.errno == _errno.ENOSPC:
        hint = "free space on that file system, for example with 'atoll rmi' or 'atoll rm'"
    return cls(f"cannot {what}:{where} {error.strerror or error}", hint=hint)
