"""The seccomp notify descriptor on its way to the agent at `linux.seccomp.listenerPath`.

Holds: `hand_over`, `check`. Source: config-linux.md "The Container Process State".
"""

from __future__ import annotations

import struct
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket

from atoll.base import errors, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import Seccomp


def check(seccomp: Seccomp) -> None:
    """Refuse a filter whose notifications nobody would get, that stops its own handing over, or an empty rule."""
    for index, rule in enumerate(seccomp.syscalls):
        if not rule.names:
            raise errors.InvalidArgument(f"linux.seccomp.syscalls[{index}].names: empty")
    if seccomp.listener_metadata and not seccomp.listener_path:
        raise errors.InvalidArgument("linux.seccomp.listenerMetadata: without a listenerPath nobody gets it")
    notifying = [rule for rule in seccomp.syscalls if rule.action == "SCMP_ACT_NOTIFY"]
    if seccomp.default_action == "SCMP_ACT_NOTIFY":
        raise errors.InvalidArgument("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY would stop the set-up itself")
    if notifying and not seccomp.listener_path:
        raise errors.InvalidArgument("linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs an agent to ask")
    if seccomp.listener_metadata and not seccomp.listener_path:
        raise errors.InvalidArgument("linux.seccomp.listenerMetadata: needs listenerPath")
    if any("sendmsg" in rule.names for rule in notifying):
        raise errors.InvalidArgument("linux.seccomp: sendmsg cannot notify, for it hands the descriptor over")


def hand_over(path: str, metadata: str, state: bytes, pid: int, listener: int) -> None:
    """Send the container process state with the descriptor. `state` is the container's (runtime.md). Raises
    AtollError."""
    whole = jsontext.loads(state)
    document = {"ociVersion": whole["ociVersion"], "fds": ["seccompFd"], "pid": pid, "metadata": metadata}
    document["state"] = whole
    data = jsontext.dumps(document).encode()
    end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        end.connect(path)
        sent = end.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", listener))])
        end.sendall(data[sent:])
    except OSError as error:
        raise errors.from_os_error(error, f"hand the seccomp notify descriptor to {path}") from error
    finally:
        end.close()
