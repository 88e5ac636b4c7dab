"""One container of a pod in a machine, on the host: a process that stands for it, as `enter.py`'s do for exec.

Holds: `main` (the process), `ask` (a question about such a container). Does not hold: the machine's keeper, which is
asked by its door (`keeper.py`), what the guest makes (`pod.py`).
To its monitor it is the container's first process: streams, signals, exit code, and what it says on descriptor 3 are
the container's. It runs in a jail of its own that shows nothing but the door and the image, which it hands on.
"""

from __future__ import annotations

import os
import struct
from _socket import AF_UNIX, CMSG_LEN, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket

from atoll.base import errors, jsontext
from atoll.guest import enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

IMAGE = "/vm/image.img"
DOORS = "doors"
"""In the run root: a directory for each pod's machine, with the keeper's door in it. Not in the run directory of the
container that has it: there its jail's root is mounted."""
ANSWER_MAX = 1 << 16
ANSWER_SECONDS = 20.0


def main() -> NoReturn:
    """Stand for a container of the pod until it ends. Never returns."""
    code = 125
    try:
        code = _stand()
    finally:
        os._exit(code)


def _stand() -> int:
    end = socket(AF_UNIX, SOCK_SEQPACKET, 0, enter.SAID)
    os.set_inheritable(enter.SAID, False)
    data, ancillary, _, _ = end.recvmsg(1 << 16, CMSG_LEN(32), MSG_CMSG_CLOEXEC)
    fds = [fd for _, _, content in ancillary for fd in struct.unpack(f"{len(content) // 4}i", content)]
    if not data or len(fds) < 2:
        return 125  # its monitor has ended
    door = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        image = os.open(IMAGE, os.O_RDONLY | os.O_CLOEXEC)
        door.connect(enter.DOOR)
        rights = [(SOL_SOCKET, SCM_RIGHTS, struct.pack("5i", 0, 1, 2, fds[0], image))]
        door.sendmsg([b'{"pod":{}}'], rights)
    except OSError as error:
        return enter.refused(end, errors.FailedPrecondition(f"the pod's machine does not answer: {error.strerror}"))
    os.close(image)
    os.close(fds[0])
    return enter.serve(end, door, fds[1])


def door_of(run: str) -> str:
    """The directory of the door, by the run directory of the container that has the machine."""
    return f"{os.path.dirname(os.path.dirname(run))}/{DOORS}/{os.path.basename(run)}"


def ask(run: str, container: str, question: str, **more: object) -> dict[str, Any]:
    """What the guest says to a question about a container in the machine of `run`: an object, of which nothing may be
    believed beyond its shape. Raises FailedPrecondition, Timeout, Unavailable, and the error that it tells of."""
    door = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    place = -1
    try:
        # By descriptor: unix(7) has no room for long paths.
        place = os.open(door_of(run), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        door.connect(f"/proc/self/fd/{place}/{os.path.basename(enter.DOOR)}")
    except OSError as error:
        door.close()
        raise errors.FailedPrecondition(f"the pod's machine does not answer: {error.strerror}") from None
    finally:
        if place >= 0:
            os.close(place)
    return asked(door, {"pod": {**more, "ask": question, "in": container}}, "pod's machine")


def asked(door: socket, request: dict[str, Any], whose: str, *fds: int) -> dict[str, Any]:
    """The answer to a request at a keeper's door, which is closed; `whose` it is, in words; with it go descriptors.
    Raises as `ask`."""
    from select import POLLIN, poll

    out, into = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        rights = [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{3 + len(fds)}i", null, into, null, *fds))]
        door.sendmsg([jsontext.dumps(request).encode()], rights)
        poller = poll()
        poller.register(door, POLLIN)
        while True:
            if not poller.poll(ANSWER_SECONDS * 1000):
                raise errors.Timeout(f"the {whose} does not answer")
            data = door.recv(enter.PACKET_MAX)
            said = jsontext.loads(data) if data else {"is": "gone"}
            if said["is"] == "failed":
                raise errors.from_json(said["error"])
            if said["is"] == "ended":
                break
            if said["is"] == "gone":
                raise errors.FailedPrecondition(f"the {whose} has ended")
        os.close(into)
        into = -1
        return _object(os.read(out, ANSWER_MAX))
    except OSError as error:
        raise errors.FailedPrecondition(f"the {whose} does not answer: {error.strerror}") from None
    finally:
        door.close()
        for fd in (out, into, null):
            if fd >= 0:
                os.close(fd)


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = jsontext.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise errors.Unavailable("the pod's machine answers nonsense")
    return found
