"""`--init-system`: an image that boots its own init, such as systemd, as a system container does (LXC, Incus).

Holds: `settle`, which makes an ordinary request of it. Does not hold: what systemd wants mounted (`defaults.py`), the
machine (`machine.py`). For the level `vm` alone: the init has every right over the guest's kernel, which is nobody
else's. Only reboot(2) is left out, so that an init that halts, or starts anew, ends as a process ends, with its code;
a restart policy starts it again. Source: systemd.io/CONTAINER_INTERFACE.
"""

from __future__ import annotations

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest

WANTED = "boot"
"""`RunRequest.systemd` of one who asks for it."""
INIT = "/sbin/init"
LEVEL = "vm"
STOP_SECONDS = 60
"""An init stops a whole system's services, one after another."""
_FREE = ("seccomp=unconfined", "systempaths=unconfined")


def settle(engine: Engine, request: RunRequest) -> RunRequest:
    """The request that this comes to: the image's /sbin/init, or the command given, on a console of its own, which is
    the container's terminal and so in its log. Raises Unsupported at other levels, InvalidArgument for what
    contradicts it."""
    level = request.isolation or engine.config.isolation
    if level != LEVEL:
        raise errors.Unsupported(
            f"--init-system needs a machine, whose kernel is the container's own; this is isolation level {level!r}",
            hint="--isolation vm; or --systemd always, which gives systemd what a container can have",
        )
    rights = _rights(request)
    given: dict[str, Any] = {"entrypoint": request.entrypoint or ("" if request.command else INIT)}
    if request.stop_timeout is None:
        given["stop_timeout"] = STOP_SECONDS
    return request.replace(
        systemd="always",
        terminal=True,
        rights=rights,
        security_opt=(*_FREE, *request.security_opt),
        isolation=level,
        **given,
    )


def _rights(request: RunRequest) -> Any:
    from atoll.engine.containers.rights import Rights

    rights = request.rights or Rights()
    if request.init:
        raise errors.InvalidArgument("conflicting options: --init and --init-system")
    if rights.privileged:
        raise errors.InvalidArgument(
            "conflicting options: --privileged and --init-system, which has every right over its own kernel"
        )
    if request.pod:
        raise errors.Unsupported("--init-system in a pod, whose machine is not its own", hint="leave out --pod")
    return rights.replace(cap_add=("ALL", *rights.cap_add), cap_drop=("SYS_BOOT", *rights.cap_drop))
