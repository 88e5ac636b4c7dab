"""Starting a machine inside the jail, and giving up every right before its guest can speak.

Holds: `start`, the one dangerous order, flat and numbered. Does not hold: the command line (`vm/qemu.py`), the jail
itself (`isolation/vm.py`), what comes after (`keeper.py`).
"""

from __future__ import annotations

import os
import resource
import struct
from _socket import (
    AF_UNIX,
    CMSG_LEN,
    MSG_CMSG_CLOEXEC,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    socket,
    socketpair,
)

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.guest.enter import DOOR
from atoll.guest.wire import HELLO_SECONDS
from atoll.linux import capability, process
from atoll.vm.booting import called, meet
from atoll.vm.drivers import named
from atoll.vm.files import copy_data
from atoll.vm.machine import Link, Machine
from atoll.vm.qmp import Control
from atoll.vm.template import restore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from atoll.vm import machine as machines

PLACE = "/vm"
MEETING = "/dev/shm"
"""Where a VMM that opens files itself may also make some: memory, sockets."""
TAPS_MAX = 8
RESTORE_SECONDS = 30.0
VOLUMES_DOOR = "/run/atoll/volumes.sock"
FILE_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_SYS_CHROOT",
)
"""What virtiofsd asks for, and no more: it changes its user for each request, and its root once."""


class Started(Value):
    """A machine that runs: the VMM's pid, and the keeper's ends of its port, its protocol, its console and the door.
    `links` are what the guest is to configure; `restored`: it said HELLO when its template was made. `memory` is the
    guest's, for whoever saves it; `talk` the conversation with the VMM, over `control` or a socket of its own;
    `server` the pid of virtiofsd, 0 without."""

    pid: int
    port: socket
    control: socket
    console: int
    door: socket
    links: tuple[dict[str, Any], ...]
    restored: bool
    memory: int = -1
    talk: machines.Control | None = None
    server: int = 0


def told(end: socket) -> tuple[dict[str, Any], tuple[dict[str, Any], ...], list[int], int]:
    """The monitor's word: what is to be done, and the interfaces that were taken over for this machine, with their
    descriptors; the file of our last word. Raises Cancelled when the monitor has gone, OSError."""
    data, ancillary, _, _ = end.recvmsg(1 << 16, CMSG_LEN(4 * TAPS_MAX), MSG_CMSG_CLOEXEC)
    fds = [fd for _, _, content in ancillary for fd in struct.unpack(f"{len(content) // 4}i", content)]
    if not data or len(fds) < 2:
        raise errors.Cancelled("its monitor has ended")
    with open(fds[0], "rb") as note:
        config = jsontext.loads(note.read())
    return config, tuple(jsontext.loads(data)["links"]), fds[2:], fds[1]


def start(config: dict[str, Any], links: tuple[dict[str, Any], ...], taps: list[int]) -> Started:
    """Start the machine of `config`. The order is the design. Raises AtollError, OSError; then the jail ends, and
    with it whatever was started."""
    # 1. Nobody of our user looks into us, and none of us stays in a core file.
    process.prctl(process.PR_SET_DUMPABLE, 0)
    # 2. While we may: every file is opened here, so that the VMM's user needs no right to any.
    read, both = os.O_RDONLY | os.O_CLOEXEC, os.O_RDWR | os.O_CLOEXEC
    agent = os.open(f"{PLACE}/agent.img", read)
    image = os.open(f"{PLACE}/image.img", read) if config["image"] else None
    disk = os.open(f"{PLACE}/disk.img", both) if config["disk"] else None
    template = config["template"]
    state = os.open(f"{PLACE}/state", read) if template else None
    saved = os.open(f"{PLACE}/memory", read) if template else None
    # The guest's memory: nobody's but this machine's, in its cgroup, gone with it.
    memory = os.memfd_create("guest", os.MFD_CLOEXEC)
    os.ftruncate(memory, config["memory"] << 20)
    os.makedirs(os.path.dirname(DOOR), 0o755, exist_ok=True)
    door = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    door.bind(DOOR)
    os.chmod(DOOR, 0o600)
    door.listen(64)
    # 3. The server of volumes, with the rights over files that a container's root has, in a tree of nothing else.
    console, sink = (one.detach() for one in socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC))
    volumes, server = _serve_volumes(config["virtiofsd"], sink) if config["volumes"] else (None, 0)
    port, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    control, qmp = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    driver = named(config["driver"])
    machine = Machine(
        kernel=f"{PLACE}/kernel",
        initrd=f"{PLACE}/initrd" if config["initrd"] else "",
        tsc_khz=config["tsc_khz"],
        memory=config["memory"],
        cpus=config["cpus"],
        accel=config["accel"],
        agent=agent,
        image=image,
        disk=disk,
        port=theirs.fileno(),
        control=qmp.fileno(),
        console=sink,
        memory_fd=memory,
        link=Link(tap=taps[0] if taps else None, user=bool(links and not taps), forwards=_forwards(links)),
        second=taps[1] if len(taps) > 1 else None,
        restored=state is not None,
        volumes=volumes,
        place=PLACE,
        meeting=MEETING,
    )
    calls = meet(machine, driver) if driver.calls else None
    # 4. The VMM, as a user of its own who owns nothing, with nothing but these descriptors.
    command, kept = driver.command(machine, config["vmm"]), driver.descriptors(machine)
    pid = os.fork()
    if pid == 0:
        _become_vmm(command, kept, sink, config["user"], config["group"], driver.files_max, driver.environment())
    theirs.close()
    qmp.close()
    for fd in {agent, image, disk, *kept} - {machine.port, machine.control, memory}:
        if fd is not None:
            os.close(fd)
    # 5. Then we give up what we are, before the guest executes its first instruction that we could hear of.
    _drop(config["user"] and config["user"] + 1)
    # 6. A saved machine goes on where its template stopped. What that had written is copied while the VMM starts, and
    # looks at none of it before it is told to; the rest are holes, as there.
    protocol = driver.control(machine, control)
    try:
        if saved is not None:
            copy_data(saved, memory)
            os.close(saved)
        protocol.greet()
        if state is not None:
            assert isinstance(protocol, Control)
            restore(protocol, state, RESTORE_SECONDS)
        port = called(calls, port, HELLO_SECONDS) if calls is not None else port  # the guest has called
    except errors.Unavailable as error:
        raise errors.Unavailable(error.message, hint=_words(console)) from None
    return Started(
        pid=pid,
        port=port,
        control=control,
        console=console,
        door=door,
        links=links,
        restored=bool(template),
        memory=memory,
        talk=protocol,
        server=server,
    )


def _serve_volumes(program: str, console: int) -> tuple[str, int]:
    """virtiofsd(1) over what the jail has mounted below /volumes: its socket and its pid."""
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    listener.bind(VOLUMES_DOOR)
    os.chmod(VOLUMES_DOOR, 0o666)  # nobody else is in this mount namespace
    listener.listen(1)
    words = [program, f"--fd={listener.fileno()}", "-o", "source=/volumes,sandbox=chroot,cache=auto"]
    words += ["-o", "xattr,announce_submounts,modcaps=-mknod"]
    pid = os.fork()
    if pid == 0:
        try:
            os.set_inheritable(listener.fileno(), True)
            null = os.open("/dev/null", os.O_RDWR)
            for number, fd in enumerate((null, console, console)):
                os.dup2(fd, number)
            os.execve(words[0], words, {})
        finally:
            os._exit(125)
    listener.close()
    return VOLUMES_DOOR, pid


def _become_vmm(
    command: list[str],
    kept: tuple[int, ...],
    console: int,
    user: int,
    group: int,
    files: int,
    environment: dict[str, str],
) -> NoReturn:
    """In the fork: limits, user, descriptors, execve."""
    try:
        null = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1):
            os.dup2(null, number)
        os.dup2(console, 2)  # why it does not start
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        most = min(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        os.umask(0)  # of sockets that it makes for us: nobody else is in this mount namespace
        _drop(user, group)
        process.close_range(3, flags=process.CLOSE_RANGE_CLOEXEC)
        for fd in kept:
            os.set_inheritable(fd, True)
        os.execve(command[0], command, environment)
    finally:
        os._exit(125)


def _drop(user: int, group: int = 0) -> None:
    """Become `user` (0: stay who we are, where no other id is mapped), without capabilities and groups but `group`,
    whose files a VMM opens by name (0: none)."""
    if user:
        os.setgroups([group] if group else [])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    capability.capset(0, 0, 0)
    capability.set_ambient(0)
    process.prctl(process.PR_SET_DUMPABLE, 0)


def _forwards(links: tuple[dict[str, Any], ...]) -> tuple[tuple[str, int], ...]:
    """Ports of the guest that the VMM's own network is to listen at for it."""
    return tuple([(str(protocol), int(port)) for link in links for protocol, port in link.get("forwards", ())])


def _words(console: int) -> str | None:
    """What the VMM said before it ended, fit to be shown."""
    os.set_blocking(console, False)
    try:
        text = os.read(console, 2048).decode(errors="replace")
    except BlockingIOError:
        return None
    return "".join([c if c.isprintable() else " " for c in text]).strip() or None
