"""Unpacks a harmless layer with a bug put into the unpacker, and tells what the bug could do.

    confined_tool.py FOLDER CANARY     FOLDER/store is the snapshot store; JSON on stdout: attempt → "" or the error

The "bug" is the worst there is: code of the attacker's choice in the process that parses the archive.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

from atoll.snapshots import policy, worker
from atoll.snapshots.store import Snapshots
from atoll.spec import idmap

BUG = """
import ctypes, json, os, sys
from atoll.snapshots import apply
from atoll.linux import mount, process
CANARY = sys.argv.pop()
def attempts(root_fd):
    libc = ctypes.CDLL(None, use_errno=True)
    up = "../" * 20
    def call(name, *args):
        if getattr(libc, name)(*args) < 0:
            raise OSError(ctypes.get_errno(), name)
    def every_fd(act):
        done = 0
        for fd in range(3, 300):
            try:
                act(fd)
                done += 1
            except OSError:
                pass
        if not done:
            raise OSError("no descriptor leads out")
    def write(path, **how):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, **how), "w") as file:
            file.write("broken")
    return {
        "absolute": lambda: write(CANARY + "/file"),
        "upwards": lambda: write(up + CANARY[1:] + "/file"),
        "upwards from the root": lambda: write(up + CANARY[1:] + "/file", dir_fd=root_fd),
        "by a descriptor": lambda: every_fd(lambda fd: write(up + CANARY[1:] + "/file", dir_fd=fd)),
        "by a link": lambda: (os.symlink(CANARY, "way", dir_fd=root_fd), write("way/file", dir_fd=root_fd)),
        "by proc": lambda: write("/proc/1/root" + CANARY + "/file"),
        "chmod": lambda: os.chmod(CANARY, 0o777),
        "chown": lambda: os.chown(CANARY, 1, 1),
        "xattr": lambda: os.setxattr(CANARY, "user.x", b"1"),
        "fchmod of a descriptor": lambda: every_fd(lambda fd: os.chmod(up + CANARY[1:], 0o777, dir_fd=fd)),
        "execute": lambda: os.execv("/bin/sh", ["sh", "-c", "echo > " + CANARY + "/file"]),
        "mount": lambda: call("mount", b"none", b"/", b"tmpfs", 0, None),
        "unshare": lambda: call("unshare", 0x10000000),
        "open_tree": lambda: mount.open_tree("/"),
        "setns": lambda: every_fd(lambda fd: call("setns", fd, 0)),
        "chroot": lambda: os.chroot("/"),
        "kill": lambda: os.kill(os.getppid(), 0),
        "ptrace": lambda: call("ptrace", 16, os.getppid(), 0, 0),
        "socket": lambda: call("socket", 2, 1, 0),
        "handle": lambda: call("open_by_handle_at", root_fd, bytes(136), 0),
        "write the blob": lambda: every_fd(lambda fd: os.pwrite(fd, b"broken", 0)),
        "open a device": lambda: (os.mknod("dev", 0o60666, 0x801, dir_fd=root_fd),
                                  os.open("dev", os.O_RDONLY, dir_fd=root_fd)),
    }
def bug(next_chunk, root_fd, rules):
    while next_chunk():
        pass
    found = {}
    for name, act in attempts(root_fd).items():
        try:
            act()
            found[name] = ""
        except OSError as error:
            found[name] = str(error) or "refused"
    with open(os.open("said", os.O_WRONLY | os.O_CREAT, dir_fd=root_fd), "w") as file:
        json.dump(found, file)
    from atoll.snapshots.policy import ApplyResult
    return ApplyResult(entries=0, bytes=0)
apply.apply = bug
"""


def main(folder: str, canary: str) -> None:
    boot = worker._BOOT.replace("main(int(sys.argv[1]))", "exec(sys.argv.pop()); main(int(sys.argv[1]))")
    worker._BOOT = boot
    original = worker._arguments
    worker._arguments = lambda fd: [*original(fd), canary, BUG]
    maps = idmap.for_user(os.getuid())
    snapshots = Snapshots(folder + "/store", maps)
    staging = snapshots.prepare_layer("sha256:" + hashlib.sha256(b"x").hexdigest())
    blob = os.open(folder + "/blob", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(blob, bytes(10240))
    root_fd = os.open(staging.fs, os.O_RDONLY | os.O_DIRECTORY)
    rules = policy.for_map(rootless=maps is not None, single=bool(maps and maps.single), bottom=True)
    with worker.Worker(maps) as one:
        one.unpack(blob, 10240, root_fd, rules, path=staging.fs, held=staging.lock_fd, available=lambda: 10240)
    with open(staging.fs + "/said") as file:
        said = json.load(file)
    said["(blob)"] = "" if os.pread(blob, 10240, 0) == bytes(10240) else "changed"
    snapshots.discard_layer(staging)
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
