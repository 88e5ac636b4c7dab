"""User-mode Linux: the guest's kernel is an ordinary process of the host's, which traces those of the guest.

Holds: `Uml`, `Console` (its management console). Does not hold: starting it (`guest/starting.py`). Sources:
Documentation/virt/uml/user_mode_linux_howto_v2.rst; arch/um/drivers of Linux 6.1 (line.c, ubd_kern.c, vector_kern.c,
mconsole_kern.c).
The light driver: no emulation, no KVM, nothing to be saved, one processor; every system call of the guest costs two
switches of a traced process. The wall is weaker than a machine's: who breaks this kernel is a process in the jail.
It brings its own kernel, with erofs and overlay as modules, which the agent loads; its root is the jail's (hostfs).

    ttyS0 (ssl0)   the agent's port, a socket        con0   where the kernel writes
    ubda, ubdb     the image, and what is written    vec0   a tap without headers
"""

from __future__ import annotations

import os
import struct
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket
from select import POLLIN, poll

from atoll.base import errors
from atoll.vm import machine
from atoll.vm.machine import INIT, OWN, PORT_WORD, Driver, Machine

PROGRAM = "linux.uml"
MODULES = "/usr/lib/uml/modules"
PARTS = ("kernel/fs/erofs/erofs.ko", "kernel/fs/overlayfs/overlay.ko")
"""Of Debian's modules, below the kernel's release: what a guest needs, in the order of loading."""
NAME = "vm"
"""Its directory in `Machine.meeting`."""
_SLOW = "raid6_select_algo,calibrate_xor_blocks,init_btrfs_fs"
"""Steps of the kernel's start that measure what nobody here uses: two thirds of its time."""
_MAGIC, _VERSION, _ROOM = 0xCAFEBABE, 2, 512
_REQUEST, _REPLY = struct.Struct(f"=III{_ROOM}s"), struct.Struct("=III")
ANSWER_SECONDS = 10.0


class Uml(Driver):
    """Runs as one process and one more for each address space of the guest's; all of them in one pid namespace."""

    name = "uml"
    title = "user-mode Linux"
    wall = "a kernel of its own, as a process in a jail: a weaker wall than a machine's"
    program = PROGRAM
    package = "apt install user-mode-linux"
    accelerators = (OWN,)
    cpus_max = 1
    files_max = 1 << 16  # one for each file of the root (hostfs) that the guest's kernel remembers
    kernel = False
    by_name = True
    memory_place = True
    header = False
    terminal = True

    def command(self, machine: Machine, program: str) -> list[str]:
        """One argument after another; none of them is of the user's making."""
        words = [
            program,
            f"mem={machine.memory}M",
            "root=/dev/root",
            "rootfstype=hostfs",
            f"rootflags={machine.root}",
        ]
        words += ["ro", "quiet", "loglevel=3", "panic=-1", "random.trust_cpu=on", "raid=noautodetect"]
        words += ["cryptomgr.notests", "pty.legacy_count=0", f"initcall_blacklist={_SLOW}", "selinux=0"]
        words += [f"uml_dir={machine.meeting}/", f"umid={NAME}", f"init={INIT}"]
        words += ["con=null", f"con0=null,fd:{machine.console}", "ssl=null", f"ssl0=fd:{machine.port}"]
        words.append(f"{PORT_WORD}=/dev/ttyS0")
        # c: no locks on the files, of which the image serves many.
        words += [f"ubd0rc={machine.place}/image.img"] if machine.image is not None else []
        words += [f"ubd1c={machine.place}/disk.img"] if machine.disk is not None else []
        if machine.link.tap is not None:
            words.append(f"vec0:transport=fd,fd={machine.link.tap},vec=0,mac={machine.link.mac}")
        return words

    def environment(self) -> dict[str, str]:
        """Where its memory lies: it takes the file's name away at once."""
        return {"PATH": "/usr/bin", "TMPDIR": "/dev/shm"}

    def control(self, machine: Machine, connection: socket) -> Console:
        """Its console for management; `connection` says nothing but that it has gone."""
        return Console(f"{machine.meeting}/{NAME}/mconsole", machine.memory)


class Console(machine.Control):
    """mconsole: a datagram asked, one or more answered. A guest that broke its kernel answers what it likes: nothing
    of it is believed but "OK"."""

    def __init__(self, path: str, memory: int) -> None:
        self._path, self._memory = path, memory

    def greet(self) -> None:
        """It begins by itself, and makes this console on its way: there is nothing to wait for."""

    def resize(self, memory: int) -> None:
        """The pages beyond `memory` are taken from the guest's free ones, and given back to the host."""
        change = memory - self._memory
        said = self.ask(f"config mem={change:+d}M") if change else ""
        if said:
            raise errors.Unavailable(f"user-mode Linux refused another size: {said}")
        self._memory = memory

    def ask(self, command: str) -> str:
        """The error that it answers, "" for none. Raises Unavailable, Timeout."""
        end = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        try:
            end.bind(b"\0atoll-mconsole-%d" % os.getpid())
            data = command.encode()
            end.sendto(_REQUEST.pack(_MAGIC, _VERSION, len(data), data), self._path)
            return _answer(end)
        except OSError as error:
            raise errors.Unavailable(f"user-mode Linux does not answer: {error.strerror}") from None
        finally:
            end.close()


def _answer(end: socket) -> str:
    deadline, poller = time.monotonic() + ANSWER_SECONDS, poll()
    poller.register(end, POLLIN)
    failed, text, more = 0, "", 1
    while more:
        if len(text) > 1 << 14 or not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise errors.Timeout("user-mode Linux does not answer")
        reply = end.recv(_REPLY.size + _ROOM)
        if len(reply) < _REPLY.size:
            raise errors.Unavailable("user-mode Linux talks nonsense")
        failed, more, length = _REPLY.unpack_from(reply)
        text += reply[_REPLY.size : _REPLY.size + min(length, _ROOM)].decode(errors="replace").rstrip("\0")
    return "".join([c if c.isprintable() else "?" for c in text[:300]]) or "it failed" if failed else ""
