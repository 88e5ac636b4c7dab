"""The guest's side of saving a machine that runs: hold still, be saved, go on, as the same machine or as a copy.

Holds: `hold`. Does not hold: the keeper's side (`saving.py`), what is renewed after a template's restore as well
(`setup.renew`). Steps are lettered as in `wire.py`.
A copy has the random numbers, clock, names, addresses and ids of the machine that it was saved from, and processes
that may look at them at any time: so the container is frozen before it is saved, and thawed when all of it is renewed
(threats.md 44). What processes hold in their own memory is theirs: docs/checkpoint.md says what that means.
"""

from __future__ import annotations

import os
import time

from atoll.base import errors
from atoll.guest import linking, setup, wire
from atoll.linux import mount, process, rtnetlink
from atoll.linux.netlink import NETLINK_ROUTE, Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.guest.agent import Agent
    from atoll.runtime.cgroups.cgroup import Cgroup

BOOT_ID = "/proc/sys/kernel/random/boot_id"
MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_HEX = frozenset(b"0123456789abcdef")


def hold(agent: Agent, message: dict[str, Any]) -> None:
    """b to g. Returns when the container goes on, or at once if it cannot be held. Raises OSError, AtollError: then
    the machine ends."""
    try:
        group = _cgroup()
        group.freeze()
    except (OSError, errors.AtollError) as error:
        why = error if isinstance(error, errors.AtollError) else errors.from_os_error(error, "freeze the container")
        agent.say(wire.word(wire.HELD, {"error": why.to_json()}))
        return
    if message.get("sync") is True:
        os.sync()  # its disk alone is kept: let all of it be there
    os.set_blocking(agent.port, True)
    try:
        _speak(agent, wire.word(wire.HELD, {}))
        told = _listen(agent)
        first = agent.sessions.get(wire.FIRST)
        if told["copy"] is True:
            _leave_others(agent)
            _quiet_links()
            setup.renew(told)
            _renew_container(told, first.pid if first is not None else 0)
            agent.kills_before = setup.oom_kills()
            if first is not None:
                first.room = {1: wire.WINDOW, 2: wire.WINDOW}  # who takes it now has taken nothing yet
        else:
            time.clock_settime_ns(time.CLOCK_REALTIME, int(told["time"]))
        count = len(first.input) if first is not None else 0
        _speak(agent, wire.word(wire.RESUMED, {"input": count}))
    finally:
        os.set_blocking(agent.port, False)
    group.thaw()


def _cgroup() -> Cgroup:
    from atoll.runtime import state
    from atoll.runtime.cgroups.cgroup import Cgroup

    known = state.read(setup.CONTAINER).cgroup
    if known is None:
        raise errors.Unsupported("the container has no cgroup to be frozen")
    return Cgroup.from_json(known)


def _speak(agent: Agent, data: bytes) -> None:
    """All that waits, and this; the port takes it however long it takes."""
    waiting = bytes(agent.queue) + data
    agent.queue.clear()
    while waiting:
        waiting = waiting[os.write(agent.port, waiting[: 1 << 15]) :]


def _listen(agent: Agent) -> dict[str, Any]:
    """RESUME, however long it takes: a copy hears it from another keeper, perhaps years later."""
    while True:
        data = os.read(agent.port, 1 << 16)
        if not data:
            setup.pause()  # nobody has the other end just now
        for kind, _, _, payload in agent.reader.feed(data):
            if kind != wire.RESUME:
                raise wire.Malformed(f"a frame of kind {kind} to a machine that holds still")
            return wire.parse(payload)


def _leave_others(agent: Agent) -> None:
    """What was executed besides, for commands of the other machine's host, ends: nobody here stands for it."""
    for number, session in list(agent.sessions.items()):
        if number == wire.FIRST:
            continue
        del agent.sessions[number]
        try:
            process.pidfd_send_signal(session.pidfd, 9)
        except OSError:  # it has ended
            pass
        for fd in (*session.outputs, session.stdin, session.console, session.pidfd, session.sync):
            if fd >= 0:
                agent.loop.forget(fd)
                os.close(fd)


def _quiet_links() -> None:
    """Take from the interfaces what they were given, before another is given to them. Raises OSError."""
    route = Netlink(NETLINK_ROUTE)
    try:
        real = [one.index for one in rtnetlink.links(route) if os.path.exists(f"/sys/class/net/{one.name}/device")]
        held = [one for one in rtnetlink.addresses(route) if one[0] in real]
        route.send([rtnetlink.delete_address(*one) for one in held] + [rtnetlink.set_down(one) for one in real])
    finally:
        route.close()


def _renew_container(told: dict[str, Any], pid: int) -> None:
    """What the container sees of names and ids: its host name, its files of names, boot id, machine id."""
    for name, content in told["files"].items():
        linking.rewrite(name, content)
    if not pid:
        return
    boot_id = f"{setup.RUN}/boot_id"
    with open(boot_id, "w") as stream:
        stream.write(_uuid() + "\n")
    os.chmod(boot_id, 0o444)
    tree = mount.open_tree(boot_id)
    spaces = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("uts", "mnt")]
    child = os.fork()
    if child == 0:
        try:
            _inside(spaces, tree, str(told["hostname"]))
            os._exit(0)
        finally:
            os._exit(1)
    for fd in (tree, *spaces):
        os.close(fd)
    _, status = os.waitpid(child, 0)
    if status:
        raise errors.Unavailable("the names of the copied container could not be renewed")


def _inside(spaces: list[int], tree: int, hostname: str) -> None:
    """In a fork, in the container's namespaces. Its own files are touched as what they are, never through links."""
    for fd in spaces:
        process.setns(fd)
    process.sethostname(hostname)
    try:
        target = os.open(BOOT_ID, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        mount.move_mount(tree, target)
    except FileNotFoundError:  # it has no /proc
        pass
    fresh = os.urandom(16).hex().encode()
    for path in MACHINE_IDS:
        _replace_id(path, fresh)


def _replace_id(path: str, fresh: bytes) -> None:
    """machine-id(5): 32 hex digits and a newline; what is not that is nobody's id."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:  # not there, a link to the other one, or on a root that nobody writes to: then an image's
        return
    try:
        if len(known := os.read(fd, 64).rstrip(b"\n")) == 32 and set(known) <= _HEX:
            os.pwrite(fd, fresh, 0)
    finally:
        os.close(fd)


def _uuid() -> str:
    """A random one (RFC 9562, version 4), as the kernel makes boot ids."""
    raw = bytearray(os.urandom(16))
    raw[6], raw[8] = raw[6] & 0x0F | 0x40, raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
