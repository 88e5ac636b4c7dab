"""Actions and flags as the kernel numbers them (include/uapi/linux/seccomp.h).

Holds: `action_value`, `install_flags`. Does not hold: rules (`rules.py`). Lean: the path of a cached filter loads it.
"""

from __future__ import annotations

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import Seccomp

KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
USER_NOTIF = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

EPERM = 1
ENOSYS = 38
_MAX_ERRNO = 4095  # include/linux/err.h; the kernel would cut a larger one down to it

_ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": USER_NOTIF,
    "SCMP_ACT_ALLOW": ALLOW,
}

FLAG_TSYNC = 1
FLAG_NEW_LISTENER = 8
FLAG_TSYNC_ESRCH = 16
_FLAG_WAIT_KILLABLE_RECV = 32

_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": _FLAG_WAIT_KILLABLE_RECV,
}


def action_value(action: str, errno_ret: int | None, path: str) -> int:
    """What the filter returns for an OCI action; `path` is the JSON path for errors.

    Without `errno_ret`, ERRNO and TRACE carry EPERM. Raises InvalidArgument for an errno on any other action
    (config-linux.md: the runtime must fail then).
    """
    value = _ACTIONS.get(action)
    if value is None:
        raise errors.InvalidArgument(f"{path}: unknown action {action!r}", hint="one of " + ", ".join(_ACTIONS))
    if value not in (ERRNO, TRACE):
        if errno_ret is not None:
            raise errors.InvalidArgument(f"{path}: {action} cannot return errno {errno_ret}")
        return value
    number = EPERM if errno_ret is None else errno_ret
    if not 0 <= number <= (_MAX_ERRNO if value == ERRNO else 0xFFFF):
        raise errors.InvalidArgument(f"{path}: errno {number} is out of range")
    return value | number


def notifies(seccomp: Seccomp) -> bool:
    """Whether a rule hands calls to a supervisor."""
    return any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls)


def install_flags(seccomp: Seccomp) -> int:
    """See the package. TSYNC together with a listener needs TSYNC_ESRCH, or the kernel answers EINVAL."""
    bits = 0
    for index, name in enumerate(seccomp.flags):
        if name not in _FLAGS:
            raise errors.InvalidArgument(
                f"linux.seccomp.flags[{index}]: unknown flag {name!r}", hint="one of " + ", ".join(_FLAGS)
            )
        bits |= _FLAGS[name]
    if notifies(seccomp):
        bits |= FLAG_NEW_LISTENER
        if bits & FLAG_TSYNC:
            bits |= FLAG_TSYNC_ESRCH
    elif bits & _FLAG_WAIT_KILLABLE_RECV:
        raise errors.InvalidArgument(
            "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY"
        )
    return bits
