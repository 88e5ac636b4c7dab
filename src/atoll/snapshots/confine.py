"""The cage in which a layer is unpacked: nothing is there but the layer's own directory.

Holds: `confine`. Does not hold: what is done inside (`unpacker.py`). A bug in the parsing of hostile archives, even
one that executes what it pleases, meets in turn:

    - a mount namespace whose root *is* the layer's directory: no path leads anywhere else, for no system call
    - the capabilities to make files of any owner and mode, and no others
    - Landlock: no executing, no TCP, no signals
    - a seccomp filter: no mounting, tracing, sockets, handles, executing

and holds no descriptor but those that it is given: the socket to its parent and the blob, for reading only.
"""

from __future__ import annotations

import errno
import os

from atoll.base import errors
from atoll.linux import capability, denying, landlock
from atoll.linux import mount as m
from atoll.linux import process as p

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_KEPT = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD", "CAP_SETFCAP")


def confine(path: str, root_fd: int, keep: Sequence[int]) -> int:
    """Shut this process, which must have one thread, into the directory at `path`, which must be `root_fd`'s. Every
    descriptor but those of `keep` and the standard ones is closed. Returns a descriptor of the directory.

    The order is the argument:
    """
    # 1. Die with the one who started us: nobody would wait for us any more.
    p.prctl(p.PR_SET_PDEATHSIG, 9)
    # 2. Mounts of our own, of which nothing reaches others.
    p.unshare(p.CLONE_NEWNS)
    m.set_propagation("/", m.MS_REC | m.MS_PRIVATE)
    # 3. The directory as a mount of its own. Device nodes in it cannot be opened, programs not be run.
    tree = m.open_tree(path, m.OPEN_TREE_CLONE)
    try:
        one, two = os.fstat(tree), os.fstat(root_fd)
        if (one.st_dev, one.st_ino) != (two.st_dev, two.st_ino):
            raise errors.Internal(f"{path} is another directory than the one to unpack into")
        m.mount_setattr(tree, set=m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOEXEC)
        place = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            m.move_mount(tree, place, path)
        finally:
            os.close(place)
    finally:
        os.close(tree)
    # 4. It becomes the root; all else is unmounted, and with the descriptors the last ways out are closed.
    os.chdir(path)
    try:
        m.pivot_root(".", ".")
        m.umount2(".", m.MNT_DETACH)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the machine runs from its initramfs: pivot_root(2), "NOTES"
            raise
        os.chroot(".")
    os.chdir("/")
    _close_all_but((0, 1, 2, *keep))
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # 5. Rights last: the steps above need them.
    mask = capability.mask_of(_KEPT) & capability.capget()[1]
    capability.capset(mask, mask, 0)
    p.prctl(p.PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict_to(root)
    denying.deny()
    return root


def _close_all_but(keep: Sequence[int]) -> None:
    first = 0
    for fd in sorted(set(keep)):
        if fd > first:
            p.close_range(first, fd - 1)
        first = fd + 1
    p.close_range(first)
