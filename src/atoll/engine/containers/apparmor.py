"""Our own AppArmor profile, and which profile a container gets. Loaded only on a host where AppArmor runs.

Holds: `settle`, `ensure`, `TEXT`. Does not hold: how a process enters a profile (`linux/lsm.py`). Source:
apparmor.d(5). Tried on a host where AppArmor is in force: tests/host/inside/test_apparmor.py.

The profile forbids again what masked paths, capabilities and the filter forbid already, so that one mistake in those
opens nothing: writes to the kernel's switches in /proc and /sys, mounting, tracing out of the container. Root loads
it once a boot; an ordinary user gets it where root has.
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.linux import lsm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.security_options import Options

NAME = "atoll-default"
PARSER = ("/usr/sbin/apparmor_parser", "/sbin/apparmor_parser")
_LOADED = "/sys/kernel/security/apparmor/profiles"

TEXT = """# Written by Atoll, which loads it when the first container of a boot is made.
profile atoll-default flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,

  # Whoever started the container may end it; containers may not signal what is outside.
  signal (receive) peer=unconfined,
  signal (send,receive) peer=atoll-default,
  ptrace (trace,read,tracedby,readby) peer=atoll-default,

  deny mount,
  deny pivot_root,

  # Of /proc only what belongs to a process, and the parameters of the container's own namespaces.
  deny /proc/* w,
  deny /proc/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9]*}/** w,
  deny /proc/sys/[^knf]** w,
  deny /proc/sys/fs/[^m]** w,
  deny /proc/sys/kernel/{?,??,[^smdh][^hes]**} w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,
  deny /proc/kmem rwklx,
  deny /proc/mem rwklx,

  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
"""


def settle(options: Options | None, *, privileged: bool, uid: int) -> tuple[str, str | None]:
    """The profile of a new container ("" for none) and a note where the default cannot be had. One that is named is
    taken as it is: the runtime refuses one that is not loaded. Raises Unsupported or Denied where ours is asked for
    by name and cannot be loaded."""
    if options is not None and options.apparmor is not None:
        ensure(options.apparmor, uid)
        return ("" if options.apparmor == "unconfined" else options.apparmor), None
    if privileged or not lsm.apparmor_enabled():
        return "", None
    if loaded():
        return NAME, None
    if uid != 0:
        return "", "no AppArmor profile: root has not loaded ours; any container of root's does"
    try:
        load()
    except errors.AtollError as error:
        return "", f"no AppArmor profile: {error}"
    return NAME, None


def ensure(name: str, uid: int) -> None:
    """Before a container of `name` gets its processes: ours is loaded again where a reboot, or the administrator, has
    taken it away. Others are not ours to load. Raises as `load`."""
    if name == NAME and uid == 0 and lsm.apparmor_enabled() and not loaded():
        load()


def loaded(place: str = _LOADED) -> bool:
    """Whether the kernel has our profile; False where that cannot be read."""
    try:
        return any(line.startswith(f"{NAME} (") for line in files.read_text(place).splitlines())
    except (OSError, ValueError):
        return False


def load() -> None:
    """Hand the profile to the kernel. Raises Unsupported without the parser, Denied with the parser's words."""
    import subprocess

    parser = next((one for one in PARSER if os.access(one, os.X_OK)), None)
    if parser is None:
        raise errors.Unsupported("apparmor_parser is not installed", hint="install the package apparmor")
    done = subprocess.run(
        [parser, "--replace", "--skip-cache"],
        input=TEXT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise errors.Denied(f"apparmor_parser refuses our profile: {done.stderr.strip()[-500:]}")
