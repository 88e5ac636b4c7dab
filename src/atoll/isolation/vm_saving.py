"""Saving a machine that runs, from the host: the word to its keeper, and what saved machines are compared by.

Holds: `held` (a machine that stands still while its block lasts), `connected`, `shape_of` and `running_shape`. Does
not hold: the keeper's side (`guest/saving.py`), where what is saved goes (`engine/checkpoints`).
The keeper's socket lies in its jail, where nobody has any right any more; it is looked up beneath that jail's root
without following links, and whoever listens there must be the keeper itself.
"""

from __future__ import annotations

import os
import struct
from _socket import (
    AF_UNIX,
    CMSG_LEN,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SO_PEERCRED,
    SO_RCVTIMEO,
    SO_SNDTIMEO,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)

from atoll.base import errors, files, jsontext
from atoll.guest.enter import DOOR, NOTE, PACKET_MAX
from atoll.linux import root as roots
from atoll.vm import checkpoint
from atoll.vm.checkpoint import Shape
from atoll.vm.closure import Closure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from atoll.monitor.requests import MachinePlan

SECONDS = 180
"""How long a machine may take to hold still and be saved; its keeper is less patient than we are."""


class Held:
    """A machine that stands still, its devices written: `memory` is a descriptor of the guest's memory, which nobody
    changes. It goes on at the end of the block, unless `end` was called."""

    def __init__(self, pid: int, state: int, *, sync: bool) -> None:
        self._peer = connected(pid)
        self.memory = -1
        try:
            word = jsontext.dumps({"is": "save", "sync": sync}).encode()
            self._peer.sendmsg([word], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", state))])
            told, fds = self._hear()
            if told.get("is") == "failed":
                raise errors.from_json(told.get("error"))
            if told.get("is") != "saved" or len(fds) != 1:
                raise errors.Unavailable("the machine's keeper talks of other things")
            self.memory = fds[0]
        except OSError as error:
            self._peer.close()
            raise errors.from_os_error(error, "save the machine") from error
        except BaseException:
            self._peer.close()
            raise

    def _hear(self) -> tuple[dict[str, Any], tuple[int, ...]]:
        data, ancillary, _, _ = self._peer.recvmsg(PACKET_MAX, CMSG_LEN(4), MSG_CMSG_CLOEXEC)
        fds = struct.unpack(f"{len(ancillary[0][2]) // 4}i", ancillary[0][2]) if ancillary else ()
        if not data:
            raise errors.FailedPrecondition("the machine has ended, or its keeper is an older Atoll's")
        told = jsontext.loads(data)
        if not isinstance(told, dict):
            raise errors.Unavailable("the machine's keeper talks nonsense")
        return told, fds

    def end(self) -> None:
        """All of it is kept: the machine ends here, and with it its container. Raises OSError."""
        self._peer.send(b"end")

    def go_on(self) -> None:
        """Let it go on; returns when its guest has said that it does. Raises AtollError for one that does not."""
        try:
            self._peer.send(b"on")
            self._hear()
        except OSError as error:
            raise errors.from_os_error(error, "let the machine go on") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.memory)
        self._peer.close()


def held(pid: int, state: int, *, sync: bool) -> Held:
    """Have the keeper `pid` save its machine's devices into the file `state`. With `sync` the guest first writes what
    it has not written to its disk. Raises FailedPrecondition and Unavailable naming why it cannot be saved."""
    return Held(pid, state, sync=sync)


def connected(pid: int) -> socket:
    """A connection to the keeper `pid`. Raises FailedPrecondition, Denied."""
    peer = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        for option in (SO_RCVTIMEO, SO_SNDTIMEO):
            peer.setsockopt(SOL_SOCKET, option, struct.pack("ll", SECONDS, 0))
        top = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            how = roots.RESOLVE_IN_ROOT | roots.RESOLVE_NO_SYMLINKS | roots.RESOLVE_NO_MAGICLINKS
            door = roots.openat2(top, DOOR, os.O_PATH, resolve=how)
        finally:
            os.close(top)
        try:
            peer.connect(f"/proc/self/fd/{door}")
        finally:
            os.close(door)
        (listener,) = struct.unpack("i8x", peer.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
        if listener != pid:
            raise errors.Denied("somebody else than its keeper answers for the machine")
    except OSError as error:
        peer.close()
        raise errors.FailedPrecondition(f"the machine does not answer: {error.strerror}") from None
    except BaseException:
        peer.close()
        raise
    return peer


def running_shape(data_root: str, run: str, machine: MachinePlan) -> Shape:
    """What the machine whose keeper's note is in `run` was made of. Raises Corrupt, OSError."""
    try:
        note = jsontext.loads(files.read_bytes(f"{run}/{NOTE}"))
        closure, kernel, vmm = str(note["closure"]), str(note["kernel"]), str(note["vmm"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.Corrupt(f"damaged record {run}/{NOTE}: {error}") from None
    place = f"{data_root}/vm/closure/{closure}"
    return _shape(place, vmm, kernel, machine)


def shape_of(made: Closure, kernel: str, machine: MachinePlan) -> Shape:
    """What `machine` would be made of now. Raises OSError."""
    return _shape(os.path.dirname(made.jail), made.vmm, kernel, machine)


def _shape(place: str, vmm: str, kernel: str, machine: MachinePlan) -> Shape:
    return Shape(
        kernel=kernel,
        agent=checkpoint.file_digest(f"{place}/agent.img", f"{place}/agent.sha256"),
        image=checkpoint.file_digest(machine.image, f"{machine.image}.sha256"),
        vmm=_version(f"{place}/jail{vmm}"),
        memory=machine.memory,
        cpus=machine.cpus,
        accel=machine.accel,
    )


def _version(program: str) -> str:
    """What a VMM says of itself, one line."""
    import subprocess

    done = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise errors.Unavailable(f"{os.path.basename(program)} --version failed: {done.stderr[-200:].strip()}")
    return done.stdout.partition("\n")[0]
