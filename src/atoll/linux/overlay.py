"""Overlay mounts, by whichever interface this kernel takes them.

Holds: `attach_overlay`. Source: Documentation/filesystems/overlayfs.rst. Since Linux 6.8 each layer is given on its
own (`lowerdir+`), so characters such as `:` do not matter; before, one option string of a page at most holds them
all, with `:`, `,` and `\\` escaped. More than fit are named by the numbers of their descriptors, seen from
`/proc/self/fd`: then a page holds all that the kernel stacks.
"""

from __future__ import annotations

import errno
import os

from atoll.linux import mount as m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PAGE = 4096
MOST_LAYERS = 500  # fs/overlayfs/params.h, OVL_MAX_STACK
_PLAIN = (("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))
"""What some kernels are built to switch on. A renamed directory, or a changed owner, would be a mark that stands for
files below: no layer can be made of such an upper directory, and one that a stranger has made could point anywhere
(overlayfs.rst, "Metadata only copy up"). With `userxattr` the kernel keeps them off itself."""


def attach_overlay(
    lower: Sequence[str],
    upper: str | None,
    work: str | None,
    place_fd: int,
    *,
    userxattr: bool = False,
    volatile: bool = False,
) -> int | None:
    """Mount an overlay on the directory that `place_fd` (O_PATH) stands for. `lower` is topmost first. Returns the
    mount's descriptor, owned by the caller; None where the kernel gives none (before Linux 6.8).

    A single lower layer without `upper` needs no overlay and is bound read-only. Raises OSError with the
    kernel's own words; E2BIG for more than `MOST_LAYERS` layers.
    """
    if len(lower) > MOST_LAYERS:
        raise OSError(errno.E2BIG, f"{len(lower)} layers, where the kernel's overlay takes {MOST_LAYERS}", "overlay")
    if upper is None and len(lower) == 1:
        tree = m.open_tree(lower[0], m.OPEN_TREE_CLONE | m.AT_RECURSIVE)
        try:
            m.mount_setattr(tree, set=m.MOUNT_ATTR_RDONLY, recursive=True)
            m.move_mount(tree, place_fd, lower[0])
        except BaseException:
            os.close(tree)
            raise
        return tree
    options: list[tuple[str, str | None]] = [
        (name, None) for name, on in (("userxattr", userxattr), ("volatile", volatile)) if on
    ]
    if upper is not None and not userxattr:
        options += _PLAIN
    try:
        detached = new_overlay(lower, upper, work, options)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS) or _knows_single_layers():
            raise
        _attach_by_string(lower, upper, work, options, place_fd)
        return None
    try:
        m.move_mount(detached, place_fd, "overlay")
    except BaseException:
        os.close(detached)
        raise
    return detached


def new_overlay(
    lower: Sequence[str], upper: str | None, work: str | None, further: Sequence[tuple[str, str | None]] = ()
) -> int:
    """A detached overlay (Linux 6.8): the descriptor of the mount. Raises OSError."""
    held: list[int] = []
    try:
        options: list[tuple[str, str | None]] = [("lowerdir+", _short(path, held)) for path in lower]
        if upper is not None and work is not None:
            options += [("upperdir", _short(upper, held)), ("workdir", _short(work, held))]
        options += further
        return m.new_filesystem("overlay", options, source="overlay")
    finally:
        for fd in held:
            os.close(fd)


def _short(path: str, held: list[int]) -> str:
    # fsconfig(2) takes 255 bytes of a value; a longer path goes through a descriptor's magic link.
    if len(os.fsencode(path)) < m.FSCONFIG_STRING_MAX:
        return path
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    held.append(fd)
    return f"/proc/self/fd/{fd}"


def _knows_single_layers() -> bool:
    """Whether this kernel takes `lowerdir+` (6.8). Before, overlay had the old interface underneath, which collects
    any option and refuses what it does not know when the mount is made: so an option that nobody knows is tried too.
    """
    context = m.fsopen("overlay")
    try:
        m.fsconfig_string(context, "lowerdir+", "/")
        m.fsconfig_string(context, "atoll-no-such-option", "1")
    except OSError as error:
        return error.filename is not None and error.filename.startswith("atoll-no-such-option")
    finally:
        os.close(context)
    return False


def _attach_by_string(
    lower: Sequence[str],
    upper: str | None,
    work: str | None,
    further: Sequence[tuple[str, str | None]],
    place_fd: int,
) -> None:
    rest = [key if value is None else f"{key}={value}" for key, value in further]
    data = ",".join([*_layers_of([_escaped(one) for one in lower], upper, work), *rest])
    place = f"/proc/self/fd/{place_fd}"
    if len(os.fsencode(data)) < _PAGE:
        m.mount("overlay", place, "overlay", 0, data)
        return
    held: list[int] = []
    home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        paths = [*lower, *([upper, work] if upper is not None and work is not None else [])]
        for path in paths:
            held.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        names = [str(fd) for fd in held]
        top = (names[-2], names[-1]) if upper is not None else (None, None)
        os.chdir("/proc/self/fd")
        m.mount("overlay", place, "overlay", 0, ",".join([*_layers_of(names[: len(lower)], *top), *rest]))
    finally:
        os.fchdir(home)
        for fd in [home, *held]:
            os.close(fd)


def _layers_of(lower: Sequence[str], upper: str | None, work: str | None) -> list[str]:
    parts = ["lowerdir=" + ":".join(lower)]
    if upper is not None and work is not None:
        parts += ["upperdir=" + _escaped(upper), "workdir=" + _escaped(work)]
    return parts


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
