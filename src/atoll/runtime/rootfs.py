"""Executes a root plan and the spec's mounts inside the container's own new mount namespace.

Holds: `build_root` (a `RootPlan` becomes a mounted tree), `mount_all` (`mounts` of config.json), masked and read-only
paths. Does not hold: devices (`devices.py`), pivot_root (`init.py`).
Everything acts on descriptors: a source is opened once and cloned (`open_tree`), a target is found by the root
handle, and `move_mount` joins the two. No path is joined and looked up again, so nothing can be exchanged between
a check and its use (CVE-2021-30465, CVE-2025-31133, CVE-2025-52881).
"""

from __future__ import annotations

import errno
import os
import stat

from atoll.base import errors
from atoll.linux import mount as m
from atoll.linux.overlay import attach_overlay
from atoll.linux.root import Root
from atoll.runtime import mount_options
from atoll.runtime.pin import PINNED
from atoll.spec.rootfs import IN_ROOT, Bind, Detach, Directory, FuseOverlay, Mask, Overlay, Symlink, Tmpfs, Whiteout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.runtime.plan import CgroupMount
    from atoll.spec.rootfs import RootPlan, RootStep
    from atoll.spec.runtime import Mount

_SAFE = m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOEXEC


def build_root(plan: RootPlan, mountpoint: str, place: int, servers: tuple[int, ...] = ()) -> Root:
    """Mount a plan's steps, the first of them at `mountpoint`, whose O_PATH descriptor is `place` (the mapped root
    may not find the way there itself). `servers` are what `served.launch` gave for this plan, and are taken. Returns
    the handle of the new root.

    Raises AtollError naming the step. Nothing needs undoing: the mounts go with the namespace.
    """
    root: Root | None = None
    waiting = list(servers)
    for step in plan.steps:
        try:
            if isinstance(step, FuseOverlay):
                root = _served_step(root, step, place, waiting.pop(0))
                continue
            root = _first_step(step, mountpoint, place) if root is None else _next_step(root, step)
        except OSError as error:
            what = f"mount {type(step).__name__.lower()} on {step.target} of the container's root"
            raise errors.from_os_error(error, what) from error
    if root is None:
        raise errors.InvalidArgument("an empty root plan")
    return root


def _first_step(step: RootStep, mountpoint: str, place: int) -> Root:
    if isinstance(step, Overlay):
        tree = attach_overlay(
            step.lower, step.upper, step.work, place, userxattr=step.userxattr, volatile=step.volatile
        )
        return Root(tree) if tree is not None else Root.open(mountpoint)
    if isinstance(step, Tmpfs):
        root = Root(m.new_filesystem("tmpfs", _tmpfs_options(step)))
    elif isinstance(step, Bind):
        root = Root(_clone(step.source, recursive=step.recursive))
    else:
        raise errors.InvalidArgument(f"a root plan cannot begin with a {type(step).__name__}")
    m.move_mount(root.fd, place, step.target)
    if isinstance(step, Bind) and step.read_only:
        m.mount_setattr(root.fd, set=m.MOUNT_ATTR_RDONLY, recursive=step.recursive)
    return root


def _next_step(root: Root, step: RootStep) -> Root:
    if isinstance(step, Overlay):
        with Root(root.make_directories(step.target)) as place:
            _overlay(root, step, place.fd)
    elif isinstance(step, Tmpfs):
        with Root(root.make_directories(step.target)) as place:
            _attach(
                m.new_filesystem("tmpfs", _tmpfs_options(step), _SAFE & ~m.MOUNT_ATTR_NOEXEC), place.fd, step.target
            )
    elif isinstance(step, Bind):
        _bind(root, step)
    elif isinstance(step, Symlink):
        parent, _, name = step.target.rstrip("/").rpartition("/")
        with Root(root.make_directories(parent or "/")) as place:
            os.symlink(step.link, name, dir_fd=place.fd)
    elif isinstance(step, Mask):
        hide(root, (step.target,))
    elif isinstance(step, Directory):
        with Root(root.make_directories(step.target)) as place:
            # An O_PATH descriptor takes no fchmod; its magic link does, and is our own.
            os.chmod(f"/proc/self/fd/{place.fd}", step.mode)
    elif isinstance(step, Whiteout):
        parent, _, name = step.target.rpartition("/")
        with Root(root.make_directories(parent)) as place:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=place.fd)
    elif isinstance(step, Detach):
        with Root(root.open_at(step.target, os.O_PATH | os.O_DIRECTORY)) as place:
            m.umount2(f"/proc/self/fd/{place.fd}", m.MNT_DETACH)
    return root


def _served_step(root: Root | None, step: FuseOverlay, place: int, server: int) -> Root:
    from atoll.runtime import served

    if root is None:
        return Root(served.attach(server, place, step.target))
    with Root(root.make_directories(step.target)) as inner:
        os.close(served.attach(server, inner.fd, step.target))
    return root


def _overlay(root: Root, step: Overlay, place: int) -> None:
    """An overlay whose layers may lie in the new root itself, reached by descriptors like everything in it."""
    held: list[int] = []

    def found(path: str) -> str:
        if not path.startswith(IN_ROOT):
            return path
        held.append(root.open_at(path.removeprefix(IN_ROOT), os.O_PATH | os.O_DIRECTORY))
        return f"/proc/self/fd/{held[-1]}"

    try:
        lower = [found(path) for path in step.lower]
        upper, work = (found(path) if path is not None else None for path in (step.upper, step.work))
        tree = attach_overlay(lower, upper, work, place, userxattr=step.userxattr, volatile=step.volatile)
        if tree is not None:
            os.close(tree)
    finally:
        for fd in held:
            os.close(fd)


def _tmpfs_options(step: Tmpfs) -> list[tuple[str, str | None]]:
    options: list[tuple[str, str | None]] = [("mode", f"{step.mode:o}")]
    if step.size is not None:
        options.append(("size", str(step.size)))
    return options


def _bind(root: Root, step: Bind) -> None:
    try:
        tree = _clone(step.source, recursive=step.recursive)
    except FileNotFoundError:
        if step.optional:
            return
        raise
    if step.read_only:
        m.mount_setattr(tree, set=m.MOUNT_ATTR_RDONLY, recursive=step.recursive)
    place = _target_like(root, step.target, tree)
    try:
        _attach(tree, place, step.target)
    finally:
        os.close(place)


def _clone(source: str, *, recursive: bool, dir_fd: int = m.AT_FDCWD) -> int:
    if source.startswith(PINNED):
        return os.dup(int(source.removeprefix(PINNED)))
    flags = m.OPEN_TREE_CLONE | (m.AT_RECURSIVE if recursive else 0)
    try:
        return m.open_tree(source, flags, dir_fd=dir_fd)
    except OSError as error:
        # In a user namespace the mounts below are locked to the one above: only the whole may be cloned
        # (mount_namespaces(7), "Restrictions on mount namespaces").
        if error.errno != errno.EINVAL or recursive:
            raise
        return m.open_tree(source, flags | m.AT_RECURSIVE, dir_fd=dir_fd)


def _attach(mount_fd: int, place: int, subject: str) -> None:
    """Attach a detached mount and close its descriptor, whatever happens."""
    try:
        m.move_mount(mount_fd, place, subject)
    finally:
        os.close(mount_fd)


def _target_like(root: Root, target: str, source_fd: int) -> int:
    """The place for a bind mount, made if missing: a directory for a directory, a file for anything else."""
    if stat.S_ISDIR(os.fstat(source_fd).st_mode):
        return root.make_directories(target)
    return root.make_file(target)


# --- the spec's mounts ------------------------------------------------------------------------------------------


def mount_all(
    root: Root,
    mounts: tuple[Mount, ...],
    bundle: str,
    cgroups: tuple[CgroupMount, ...],
    *,
    trees: tuple[tuple[int, int], ...] = (),
    label: str | None = None,
    before_cgroups: Callable[[], None] | None = None,
) -> None:
    """Mount `mounts` of config.json in their order, but those of type cgroup last where nothing lies in them: the
    creator is still making the cgroup (`before_cgroups`), and so neither waits for the other. `trees` are detached
    mounts that were prepared, by their index in `mounts`; `label` is for SELinux; `before_cgroups` is called before a
    mount of type cgroup. Raises AtollError naming the mount."""
    prepared = dict(trees)
    for index, entry in sorted(enumerate(mounts), key=lambda one: _can_wait(one[1], mounts)):
        if entry.type == "cgroup" and before_cgroups is not None:
            before_cgroups()
        try:
            _mount_one(root, entry, bundle, cgroups, prepared.get(index, -1), label)
        except OSError as error:
            source = f"{entry.source} ({entry.type})" if entry.type and not is_bind(entry) else f"{entry.source}"
            raise errors.from_os_error(error, f"mount {source} on {entry.destination} in the container") from error


def _can_wait(entry: Mount, mounts: tuple[Mount, ...]) -> bool:
    place = entry.destination.rstrip("/") + "/"
    return entry.type == "cgroup" and not any(
        f"{other.destination}/".startswith(place) for other in mounts if other is not entry
    )


def is_bind(entry: Mount) -> bool:
    """Whether a mount shows what is mounted elsewhere."""
    return entry.type == "bind" or "bind" in entry.options or "rbind" in entry.options


def _mount_one(
    root: Root, entry: Mount, bundle: str, cgroups: tuple[CgroupMount, ...], prepared: int, label: str | None
) -> None:
    options = mount_options.parse(entry.options)
    if entry.destination.rstrip("/") == "/dev":  # its nodes are yet to be made: `seal_dev`
        options = options.replace(set=options.set & ~m.MOUNT_ATTR_RDONLY)
    if entry.type == "cgroup" and not options.bind:
        _mount_cgroups(root, entry, options, cgroups)
        return
    if options.bind or entry.type == "bind":
        source = entry.source or ""
        source = source if source.startswith(PINNED) else os.path.join(bundle, source)
        tree = prepared if prepared >= 0 else clone_source(source, options)
        place = _target_like(root, entry.destination, tree)
        if options.copyup:
            _fill(place, tree)
    else:
        place = root.make_directories(entry.destination)
        try:
            tree = _numbered_anew(prepared) if prepared >= 0 else new_mount(entry, options, place, label)
        except BaseException:
            os.close(place)
            raise
    try:
        _set_attributes(tree, options)
        m.move_mount(tree, place, entry.destination)
        # A new mount joins the peer group of the place it lands on: make it private unless asked otherwise.
        propagation = options.propagation or m.MS_PRIVATE
        m.mount_setattr(tree, propagation=propagation, recursive=options.propagation_recursive or options.recursive)
    finally:
        os.close(tree)
        os.close(place)


def clone_source(source: str, options: mount_options.MountOptions) -> int:
    """A bind mount's source, detached; with `subpath=` what lies there below it. The way is gone by descriptors that
    cannot leave the source, whatever links a container has put there (CVE-2023-3676's family: subpath escapes)."""
    if not options.subpath:
        return _clone(source, recursive=options.recursive)
    top = int(source.removeprefix(PINNED)) if source.startswith(PINNED) else -1
    opened = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if top < 0 else os.dup(top)
    with Root(opened) as inside:
        found = inside.open_at("/" + options.subpath, os.O_PATH)
    try:
        flags = m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH | (m.AT_RECURSIVE if options.recursive else 0)
        return m.open_tree("", flags, dir_fd=found)
    finally:
        os.close(found)


def _fill(place: int, tree: int) -> None:
    """`copyup` on a bind mount: an empty directory (a new volume) gets what the image has at that place."""
    from atoll.runtime.copyup import fill_if_empty

    if stat.S_ISDIR(os.fstat(tree).st_mode):
        fill_if_empty(place, tree)


def _numbered_anew(tree: int) -> int:
    """A mount of the same file system that comes after those made meanwhile: mountinfo lists by their numbers, and a
    program may count on the root's being the first. Before Linux 6.15 only what is attached can be cloned (EINVAL);
    there, but for 6.8 to 6.14, mountinfo goes by the order of attaching."""
    try:
        again = m.open_tree("", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH, dir_fd=tree)
    except OSError:
        return tree
    os.close(tree)
    return again


def new_mount(entry: Mount, options: mount_options.MountOptions, place: int = -1, label: str | None = None) -> int:
    """A file system, detached. `place` is where it is to be mounted, as far as that is known: a tmpfs without a mode
    takes the one that it covers. Raises OSError, AtollError."""
    fstype = entry.type or "none"
    data = list(options.data)
    if fstype == "tmpfs" and place >= 0 and not any(key == "mode" for key, _ in data):
        data.append(("mode", f"{stat.S_IMODE(os.fstat(place).st_mode):o}"))  # as the directory it covers
    if label and fstype not in ("proc", "sysfs", "cgroup2", "mqueue"):
        data.append(("context", label))
    try:
        tree = m.new_filesystem(fstype, data, options.set & ~m.MOUNT_ATTR_RDONLY, source=entry.source or fstype)
        if options.tmpcopyup:
            _copy_up(fstype, place, tree)
        return tree
    except OSError as error:
        if fstype == "sysfs" and error.errno == errno.EPERM:
            # sysfs shows the network namespace; one that this user namespace does not own refuses a new mount
            # (the host's network, or another's): the host's view, read-only, is what is left.
            return m.open_tree("/sys", m.OPEN_TREE_CLONE | m.AT_RECURSIVE)
        if fstype == "mqueue" and error.errno == errno.EPERM:
            return m.open_tree("/dev/mqueue", m.OPEN_TREE_CLONE | m.AT_RECURSIVE)
        raise


def _copy_up(fstype: str, place: int, tree: int) -> None:
    from atoll.runtime.copyup import copy_tree

    try:
        if fstype != "tmpfs":
            raise errors.InvalidArgument(f"mount option tmpcopyup: for tmpfs, not for {fstype}")
        copy_tree(place, tree)
    except BaseException:
        os.close(tree)
        raise


def seal_dev(root: Root, mounts: tuple[Mount, ...]) -> None:
    """A `/dev` that was asked to be read-only becomes so when its nodes are there. Raises OSError."""
    for entry in mounts:
        if entry.destination.rstrip("/") == "/dev" and "ro" in entry.options and "rw" not in entry.options:
            with Root(root.open_at("/dev", os.O_PATH | os.O_DIRECTORY)) as dev:
                m.mount_setattr(dev.fd, set=m.MOUNT_ATTR_RDONLY)


def _set_attributes(tree: int, options: mount_options.MountOptions) -> None:
    if options.set or options.clear:
        _setattr_unlocked(tree, options.set, options.clear, recursive=False)
    if options.set_recursive or options.clear_recursive:
        _setattr_unlocked(tree, options.set_recursive, options.clear_recursive, recursive=True)


def _setattr_unlocked(tree: int, on: int, off: int, *, recursive: bool) -> None:
    try:
        m.mount_setattr(tree, set=on, clear=off, recursive=recursive)
    except OSError as error:
        # In a user namespace flags such as nosuid and ro of the host's mount are locked: clearing them is refused,
        # which leaves the mount stricter than asked. Setting never is.
        if error.errno != errno.EPERM or not off:
            raise
        m.mount_setattr(tree, set=on, clear=off & m.MOUNT_ATTR__ATIME, recursive=recursive)


def _mount_cgroups(
    root: Root, entry: Mount, options: mount_options.MountOptions, cgroups: tuple[CgroupMount, ...]
) -> None:
    """`type: cgroup`: one cgroup2, or a tmpfs with every v1 hierarchy (and the unified one of a hybrid host)."""
    attributes = options.set | _SAFE
    if len(cgroups) == 1 and cgroups[0].name == "":
        with Root(root.make_directories(entry.destination)) as place:
            _attach(_cgroup_mount(cgroups[0], attributes), place.fd, entry.destination)
        return
    with Root(root.make_directories(entry.destination)) as place:
        _attach(m.new_filesystem("tmpfs", [("mode", "755")], _SAFE), place.fd, entry.destination)
    with Root(root.open_at(entry.destination, os.O_PATH | os.O_DIRECTORY)) as top:
        for item in cgroups:
            os.mkdir(item.name, 0o755, dir_fd=top.fd)
            place_fd = os.open(item.name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top.fd)
            try:
                _attach(_cgroup_mount(item, attributes), place_fd, f"{entry.destination}/{item.name}")
            finally:
                os.close(place_fd)
            for alias in item.aliases:
                os.symlink(item.name, alias, dir_fd=top.fd)
        if options.set & m.MOUNT_ATTR_RDONLY:
            m.mount_setattr(top.fd, set=m.MOUNT_ATTR_RDONLY)


def _cgroup_mount(item: CgroupMount, attributes: int) -> int:
    if item.bind is not None:  # no cgroup namespace: show the container's own directory only
        tree = m.open_tree(item.bind, m.OPEN_TREE_CLONE)
        m.mount_setattr(tree, set=attributes)
        return tree
    return m.new_filesystem(item.fstype, item.options, attributes, source="cgroup")


# --- what is hidden or read-only --------------------------------------------------------------------------------


def hide(root: Root, paths: tuple[str, ...]) -> None:
    """`linux.maskedPaths`: a directory gets an empty read-only tmpfs, the same for all, a file the null device.
    Absent ones are passed over. Raises OSError."""
    null = empty = -1
    try:
        for path in paths:
            try:
                place = root.open_at(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                if stat.S_ISDIR(os.fstat(place).st_mode):
                    if empty < 0:
                        options: list[tuple[str, str | None]] = [("nr_blocks", "1"), ("nr_inodes", "1")]
                        options.append(("mode", "755"))
                        empty = m.new_filesystem("tmpfs", options, _SAFE | m.MOUNT_ATTR_RDONLY)
                        m.move_mount(empty, place, path)
                        continue
                    # One that is attached can be cloned: a mount of its own on the same file system.
                    _attach(m.open_tree("", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH, dir_fd=empty), place, path)
                else:
                    if null < 0:
                        null = open_null()
                    _attach(m.open_tree("", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH, dir_fd=null), place, path)
            finally:
                os.close(place)
    finally:
        for fd in (null, empty):
            if fd >= 0:
                os.close(fd)


def open_null() -> int:
    """An O_PATH descriptor of the host's /dev/null, proved to be character device 1:3 (CVE-2025-31133)."""
    fd = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    info = os.fstat(fd)
    if not stat.S_ISCHR(info.st_mode) or info.st_rdev != os.makedev(1, 3):
        os.close(fd)
        raise OSError(errno.ENODEV, "not the null device", "/dev/null")
    return fd


def make_read_only(root: Root, paths: tuple[str, ...]) -> None:
    """`linux.readonlyPaths`: bind each on itself, read-only with all below. Absent ones are passed over."""
    for path in paths:
        try:
            place = root.open_at(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            tree = m.open_tree("", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH | m.AT_RECURSIVE, dir_fd=place)
            try:
                m.mount_setattr(tree, set=m.MOUNT_ATTR_RDONLY, recursive=True)
                m.move_mount(tree, place, path)
            finally:
                os.close(tree)
        finally:
            os.close(place)
