"""A container in about a hundred lines, on `atoll.linux` alone. The first thing to read.

    python3 examples/tiny.py DIRECTORY COMMAND [ARGUMENT...]

DIRECTORY is an unpacked root file system; what COMMAND writes there is kept apart and vanishes at its end. Works for
root and for an ordinary user, and leaves nothing behind: every mount lives in a namespace that goes with its last
process. It has no cgroup, no seccomp filter, no terminal, and does not seal the interpreter: `src/atoll/runtime` does
all that, and keeps this order. Parent (P) and child (C) meet once:

    P1 clone into new namespaces      C1 wait
    P2 write the id maps, say so  ──► C2 root of the namespace: mounts, pivot, rights
    P3 wait for the exit status       C3 become COMMAND
"""

from __future__ import annotations

import os
import sys

from atoll.linux import capability, netdevice, process
from atoll.linux import mount as m
from atoll.linux.overlay import attach_overlay
from atoll.linux.root import Root
from atoll.linux.userns import write_maps

NAMESPACES = (
    process.CLONE_NEWUSER
    | process.CLONE_NEWNS
    | process.CLONE_NEWPID
    | process.CLONE_NEWNET
    | process.CLONE_NEWIPC
    | process.CLONE_NEWUTS
    | process.CLONE_NEWCGROUP
)
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID")
SEARCH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def run(directory: str, command: list[str]) -> int:
    """Run a command in a container over `directory`; returns its exit status as a shell would. Raises OSError."""
    mapped, told = os.pipe()
    pid, pidfd = process.clone3(NAMESPACES)  # P1
    if pid == 0:
        os.close(told)
        status = 125
        try:
            if os.read(mapped, 1):  # C1: end of file means that P failed
                _become(directory, command)  # C2, C3: returns only by an exception
        except Exception as error:  # noqa: BLE001 - the finally below would swallow it without a word
            print(f"tiny: {error!r}", file=sys.stderr, flush=True)
            status = 127 if isinstance(error, FileNotFoundError) else 125
        finally:
            os._exit(status)  # never back into the parent's code
    try:
        root = os.geteuid() == 0
        size = 65536 if root else 1
        ids = [(0, os.geteuid(), size)], [(0, os.getegid(), size)]
        write_maps(pid, *ids, deny_setgroups=not root)  # P2
        os.write(told, b"1")
    finally:
        os.close(mapped)
        os.close(told)
    _, status = os.waitpid(pid, 0)  # P3
    os.close(pidfd)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _become(directory: str, command: list[str]) -> None:
    """Become the command. One order; each step says why it is here and not earlier or later."""
    # 1. Root of the namespace first: until now our ids were unmapped and could own nothing.
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # 2. Before any mount: what we mount must not propagate to the host.
    m.set_propagation("/", m.MS_REC | m.MS_PRIVATE)
    # 3. The image is opened before the scratch space covers it; the overlay reaches it by descriptor.
    image = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    scratch = m.new_filesystem("tmpfs", [("mode", "0755")], m.MOUNT_ATTR_NODEV)
    m.move_mount(scratch, image, directory)
    for name in ("upper", "work", "merged"):
        os.mkdir(name, dir_fd=scratch)
    merged = os.open("merged", os.O_PATH | os.O_CLOEXEC, dir_fd=scratch)
    layers = f"/proc/self/fd/{image}", f"/proc/self/fd/{scratch}/upper", f"/proc/self/fd/{scratch}/work"
    attach_overlay(layers[:1], layers[1], layers[2], merged, userxattr=True)
    # 4. From here on paths of the image are resolved only through its root: it may be full of hostile links.
    with Root(os.open("merged", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=scratch)) as root:
        hidden = m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOEXEC
        # 5. procfs while the host's is still visible: the kernel refuses a new one otherwise.
        m.move_mount(m.new_filesystem("proc", (), hidden), root.make_directories("/proc"))
        dev = m.new_filesystem("tmpfs", [("mode", "0755")], m.MOUNT_ATTR_NOSUID)
        m.move_mount(dev, root.make_directories("/dev"))
        with Root(dev) as nodes:
            for name in DEVICES:  # bound, as a user namespace may not make nodes
                m.move_mount(m.open_tree(f"/dev/{name}"), nodes.make_file(name, 0o666))
        # 6. The root changes when all that needed the host's paths is done; "." twice leaves the old one on top.
        os.fchdir(root.fd)
        m.pivot_root(".", ".")
        m.umount2(".", m.MNT_DETACH)
        os.chdir("/")
    # 7. What needs capabilities comes before they are given up.
    process.sethostname("tiny")
    netdevice.set_up("lo")
    process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    rights = capability.mask_of(CAPABILITIES)
    capability.drop_bounding(rights)
    capability.capset(rights, rights, 0)
    # 8. Last: nothing of the host stays open, whatever was opened above.
    process.close_range(3, flags=process.CLOSE_RANGE_CLOEXEC)
    for place in [""] if "/" in command[0] else [f"{entry}/" for entry in SEARCH]:
        try:  # not os.execvpe: it imports a module, and the host's library is out of sight by now
            os.execve(place + command[0], command, {"PATH": ":".join(SEARCH), "HOME": "/root"})
        except FileNotFoundError:
            continue
    raise FileNotFoundError(f"no program {command[0]} in {directory}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit((__doc__ or "").split("\n\n")[1].strip())
    sys.exit(run(sys.argv[1], sys.argv[2:]))
