#!/usr/bin/python3
"""A stand-in for CRIU, whose own code for its messages it uses (Debian's criu brings pycriu): run as `criu`.

It answers `swrk 3` and `check`. It saves nothing: a DUMP ends the processes, a RESTORE makes one that sleeps in new
namespaces as a child of its caller's. Each request is noted as JSON. $FAKE_CRIU names its directory, $FAKE_CRIU_MODE
what goes wrong: `old`, `blocked`, `refuses`, and for a restored process `caps`, `privs`, `host-net`, `silent`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys

from google.protobuf import json_format
from pycriu import rpc_pb2 as rpc

FOLDER, MODE = os.environ.get("FAKE_CRIU", "/nonexistent"), os.environ.get("FAKE_CRIU_MODE", "")
CLONE_PARENT, NEWNET = 0x8000, 0x40000000
NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000
libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """As criu's."""
    if sys.argv[1] == "check":
        print("Error (criu/fake.c:1): nothing works here" if MODE == "blocked" else "Looks good.")
        return MODE == "blocked"
    end = socket.socket(fileno=int(sys.argv[2]))
    request = rpc.criu_req.FromString(end.recv(1 << 20))
    with open(f"{FOLDER}/requests", "a") as stream:
        told = json_format.MessageToDict(request, preserving_proto_field_name=True)
        stream.write(json.dumps(told) + "\n")
    answer = rpc.criu_resp(type=request.type, success=True)
    if request.type == rpc.VERSION:
        answer.version.major_number, answer.version.minor_number = (2, 9) if MODE == "old" else (3, 17)
    elif request.type == rpc.CHECK:
        answer.success = MODE != "blocked"
    elif MODE == "refuses":
        answer.success, answer.cr_errno, answer.cr_errmsg = False, 16, "cannot save that"
    elif request.type in (rpc.DUMP, rpc.PRE_DUMP):
        dump(end, request)
    elif request.type == rpc.RESTORE:
        answer.restore.pid = restore(end, request)
        answer.success = bool(answer.restore.pid)
    end.send(answer.SerializeToString())
    return 0


def notify(end: socket.socket, script: str, pid: int = 0) -> bool:
    """Tell, and wait for the answer."""
    message = rpc.criu_resp(type=rpc.NOTIFY, success=True)
    message.notify.script, message.notify.pid = script, pid
    end.send(message.SerializeToString())
    return bool(rpc.criu_req.FromString(end.recv(1 << 20)).notify_success)


def dump(end: socket.socket, request: rpc.criu_req) -> None:
    """One image that says nothing."""
    notify(end, "network-lock")
    images = f"/proc/{os.getppid()}/fd/{request.opts.images_dir_fd}"
    with open(f"{images}/inventory.img", "w") as stream:
        stream.write("fake")
    notify(end, "post-dump")
    if request.type == rpc.DUMP and not request.opts.leave_running:
        os.kill(request.opts.pid, signal.SIGKILL)


def restore(end: socket.socket, request: rpc.criu_req) -> int:
    """A process with the rights of the mode."""
    assert request.opts.rst_sibling
    read_end, write_end = os.pipe()
    flags = NAMESPACES | CLONE_PARENT | (0 if MODE == "host-net" else NEWNET)
    pid = libc.syscall(56, ctypes.c_ulong(flags), None, None, None, None)
    if pid == 0:
        be_restored(request.opts.root, read_end, write_end)
    assert pid > 0, os.strerror(ctypes.get_errno())
    os.close(write_end)
    os.read(read_end, 1)
    good = True
    if MODE != "silent":
        notify(end, "setup-namespaces", pid)
        good = notify(end, "post-restore", pid)
    if not good:
        os.kill(pid, signal.SIGKILL)
        return 0
    return int(pid)


def be_restored(root: str, read_end: int, write_end: int) -> None:
    """Never returns."""
    os.chroot(root)
    os.chdir("/")
    keep = () if MODE == "caps" else (0, 5)  # CAP_CHOWN, CAP_KILL
    if MODE != "caps":
        for number in range(64):
            if number not in keep:
                libc.prctl(24, number, 0, 0, 0)
        mask = sum(1 << number for number in keep)
        head = (ctypes.c_uint32 * 2)(0x20080522, 0)
        libc.capset(head, (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0))
    if MODE != "privs":
        libc.prctl(38, 1, 0, 0, 0)
    os.close(read_end)
    os.write(write_end, b"x")
    os.close(write_end)
    os.execv("/bin/busybox", ["sleep", "100"])


if __name__ == "__main__":
    sys.exit(main())
