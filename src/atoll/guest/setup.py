"""What the agent does to its guest before there is a container: mounts, renewal after a restore, the end.

Holds: `first` (once a boot), `renew` and `mounts` (once a machine), `settle`, `halt`. Does not hold: processes
(`agent.py`).
A machine restored from a template has the template's random numbers, clock, names and addresses: `renew` replaces
every one of them before anything of the user's runs (threats.md 44). What it cannot replace is in docs/vm.md.
"""

from __future__ import annotations

import binascii
import os
import time

from atoll.base import errors, files
from atoll.guest import wire
from atoll.linux import block, entropy, mount, netdevice, process, rtnetlink
from atoll.linux.netlink import NETLINK_ROUTE, Netlink
from atoll.vm.machine import PORT_WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

RUN = "/run/atoll"
CONTAINER, BUNDLE, FILTERS, FILES = f"{RUN}/container", f"{RUN}/bundle", f"{RUN}/filters", f"{RUN}/files"
IMAGE, WRITABLE, VOLUMES = f"{RUN}/image", f"{RUN}/writable", f"{RUN}/volumes"
IMAGE_DEVICES, DISK_DEVICES = ("/dev/vdb", "/dev/ubda"), ("/dev/vdc", "/dev/ubdb")
"""Of machines, and of user-mode Linux (`vm/uml.py`)."""
VOLUMES_TAG = "volumes"
_SAFE = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC
_PORTS = "/sys/class/virtio-ports"
_AF_VSOCK, _HOST = 40, 2
CGROUP = "/sys/fs/cgroup"
SPARE = "spare"
"""And a number: an interface that is at no network."""
_interfaces: list[rtnetlink.Link] = []
_disks: list[str] = []
"""Where what the container writes is kept: none where that is in memory."""


def first() -> None:
    """Mount what the agent and the runtime need. Raises OSError."""
    os.environ["PATH"] = "/usr/sbin:/usr/bin"
    os.chdir("/")
    mount.mount("proc", "/proc", "proc", _SAFE)
    mount.mount("sysfs", "/sys", "sysfs", _SAFE)
    if not os.path.exists("/dev/null"):  # a kernel without CONFIG_DEVTMPFS_MOUNT
        mount.mount("dev", "/dev", "devtmpfs", mount.MS_NOSUID)
    mount.mount("run", "/run", "tmpfs", mount.MS_NOSUID | mount.MS_NODEV, "mode=755")
    mount.mount("tmp", "/tmp", "tmpfs", mount.MS_NOSUID | mount.MS_NODEV, "mode=1777")
    mount.mount("cgroup2", CGROUP, "cgroup2", _SAFE)
    for path in (RUN, CONTAINER, BUNDLE, FILTERS, FILES, IMAGE, WRITABLE, VOLUMES):
        os.mkdir(path, 0o700)
    netdevice.set_up("lo")
    load_modules()


def load_modules() -> None:
    """What this kernel keeps apart, where its modules are on the root. Raises OSError."""
    from atoll.vm.uml import MODULES, PARTS

    folder = f"{MODULES}/{os.uname().release}"
    if os.path.isdir(folder):
        from atoll.linux import kmodule

        for name in PARTS:
            kmodule.load(f"{folder}/{name}")


def open_port() -> int:
    """The way that leads to the keeper: the serial port of its name, or what the kernel's command line says. Raises
    NotFound, OSError."""
    named = os.environ.get(PORT_WORD, "")
    if named.startswith("vsock:"):
        return _call(int(named.partition(":")[2]))
    if named:
        return _raw_terminal(named)
    for name in os.listdir(_PORTS):
        if files.read_text(f"{_PORTS}/{name}/name").strip() == wire.PORT:
            return os.open(f"/dev/{name}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    raise errors.NotFound(f"this machine has no port {wire.PORT}")


def _call(number: int) -> int:
    """vsock(7), to the host."""
    from _socket import SOCK_CLOEXEC, SOCK_STREAM, socket

    end = socket(_AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC)
    end.connect((_HOST, number))
    end.setblocking(False)
    return end.detach()


def _raw_terminal(path: str) -> int:
    """A terminal that carries bytes (cfmakeraw, termios(3))."""
    import termios

    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    mode = termios.tcgetattr(fd)
    mode[:4] = [0, 0, termios.CS8 | termios.CREAD | termios.CLOCAL, 0]
    termios.tcsetattr(fd, termios.TCSANOW, mode)
    return fd


def device(names: tuple[str, ...]) -> str:
    """The first that is there, or the first."""
    return next((name for name in names if os.path.exists(name)), names[0])


def pause() -> None:
    """Let a moment pass: the port has no other end (while a template is written)."""
    time.sleep(0.01)


def renew(message: dict[str, Any]) -> None:
    """4: nothing of the template's is kept that two machines must not share. Raises OSError."""
    entropy.add_entropy(binascii.a2b_base64(message["entropy"]))
    time.clock_settime_ns(time.CLOCK_REALTIME, int(message["time"]))
    process.sethostname(str(message["hostname"]))
    _links(message["links"])
    for name, value in message["sysctl"].items() if message["links"] else ():
        if name.startswith("net."):  # the container has the guest's own network
            files.write_file(f"/proc/sys/{name.replace('.', '/')}", value)


def _links(links: list[dict[str, Any]]) -> None:
    """The interfaces as the container's network namespace on the host had them: they come in the order of their
    devices."""
    found, _interfaces[:] = list(_interfaces), []
    if links and not found:
        found = real_interfaces()
    route = Netlink(NETLINK_ROUTE)
    try:
        _spare(route, found, [one["name"] for one in links])
        for have, wanted in zip(found, links, strict=False):
            configure(route, have, wanted)
    finally:
        route.close()


def _spare(route: Netlink, found: list[rtnetlink.Link], names: list[str]) -> None:
    """Further interfaces that are not to have the name that they have get one that is in nobody's way."""
    for number, have in enumerate(found[1:], 1):
        spare = f"{SPARE}{number}"
        if have.name not in (spare, *names[number : number + 1]):
            route.send([rtnetlink.rename(have.index, spare)])
            have.name = spare


def configure(route: Netlink, have: rtnetlink.Link, wanted: dict[str, Any]) -> None:
    """Make an interface what it is to be. Raises OSError."""
    _set_mac(have.name, bytes.fromhex(wanted["mac"]))
    wishes = [rtnetlink.set_mtu(have.index, int(wanted["mtu"]))]
    if have.name != wanted["name"]:
        wishes.append(rtnetlink.rename(have.index, wanted["name"]))
    wishes.append(rtnetlink.set_up(have.index))
    for address, prefix in wanted["addresses"]:
        wishes.append(rtnetlink.new_address(have.index, bytes.fromhex(address), int(prefix)))
    for to, prefix, gateway in wanted["routes"]:
        way = bytes.fromhex(gateway) if gateway else None
        wishes.append(rtnetlink.new_route(have.index, way, to=bytes.fromhex(to), prefix=int(prefix)))
    route.send(wishes)


def find_interfaces() -> None:
    """Remember the interfaces as they are, until they are first set up: to ask for them takes an emulated machine as
    long as to set them up. Raises OSError."""
    _interfaces[:] = real_interfaces()
    route = Netlink(NETLINK_ROUTE)
    try:
        _spare(route, _interfaces, [])
    finally:
        route.close()


def real_interfaces() -> list[rtnetlink.Link]:
    """Those of devices, in their order: kernels bring software interfaces of their own. Raises OSError."""
    route = Netlink(NETLINK_ROUTE)
    try:
        real = [one for one in rtnetlink.links(route) if os.path.exists(f"/sys/class/net/{one.name}/device")]
    finally:
        route.close()
    return sorted(real, key=lambda one: one.index)


def _set_mac(name: str, mac: bytes) -> None:
    netdevice.set_address(name, mac)


def mounts(message: dict[str, Any]) -> None:
    """4: the image, what is written above it, volumes, files. Raises OSError."""
    if message["image"]:
        path = device(IMAGE_DEVICES)
        block.drop_buffers(path)  # what was read when a template was made was no image yet
        mount.mount(path, IMAGE, "erofs", mount.MS_RDONLY)
    if message["disk"]:
        path = device(DISK_DEVICES)
        block.drop_buffers(path)
        mount.mount(path, WRITABLE, "ext4", 0, "discard")
        _disks.append(path)
    else:
        size = f",size={int(message['scratch'])}" if message["scratch"] else ""
        mount.mount("writable", WRITABLE, "tmpfs", 0, f"mode=700{size}")
    for name in ("upper", "work"):
        os.makedirs(f"{WRITABLE}/{name}", 0o755 if name == "upper" else 0o700, exist_ok=True)
    if message["volumes"]:
        mount.mount(VOLUMES_TAG, VOLUMES, "virtiofs", 0)
    keep_files(message["files"], FILES)
    keep_filters(message["filters"])


def keep_files(given: dict[str, Any], place: str) -> None:
    """Small files that came as data, by their names. Raises OSError."""
    for name, content in given.items():
        data = binascii.a2b_base64(content["content"])
        files.write_atomic(f"{place}/{name}", data, mode=int(content["mode"]))


def keep_filters(given: dict[str, str]) -> None:
    """Compiled seccomp filters, where the runtime looks for them. Raises OSError."""
    for name, content in given.items():
        files.write_atomic(f"{FILTERS}/{name}", binascii.a2b_base64(content), mode=0o600)


def oom_kills(run: str = CONTAINER) -> int:
    """How many processes of a container the kernel has killed for want of memory: its cgroup's, or all of the
    guest's, which its cgroup counts as well (memory.events, cgroup-v2.rst)."""
    from atoll.runtime import state
    from atoll.runtime.cgroups.cgroup import Cgroup

    try:
        known = state.read(run).cgroup
        return 0 if known is None else Cgroup.from_json(known).oom_kills()
    except (OSError, errors.AtollError):
        return 0


def settle() -> None:
    """9: the container's end is on the disk before anyone hears of it. What is in memory goes with the machine."""
    if not _disks:
        return
    try:
        mount.umount2(WRITABLE)
    except OSError:  # a process of an exec session still holds the root
        os.sync()


def halt() -> NoReturn:
    """12: end the machine. A restart, which the VMM is told to take for the end: it needs no power to be switched. To
    user-mode Linux it would be a restart."""
    os.sync()
    if os.path.exists(IMAGE_DEVICES[1]):
        process.power_off()
    process.restart_machine()
