"""The `host` image: this very machine, throw-away.

Holds: `plan`, which looks at the machine and says what the root is made of. Does not hold: mounting (the runtime
executes the plan), masks of `/proc` and the like (the runtime-spec's). On the path of `atoll run`: no heavy imports.
Start reading at `plan`; `docs/host-image.md` explains it to users.

    /                  tmpfs
    /.atoll            tmpfs, detached at the end: the uppers of all overlays, gone with the container
    /usr, /etc, …      an overlay for each directory of the host and for each file system mounted below
    /mnt               a directory with mounts below cannot be a lower layer in a user namespace (they are locked to
                       it): it is taken apart, each entry gets its own overlay, link or read-only bind
    /root, /home, …    empty: the hide list
    the current        an overlay at its own path, though its parents may be hidden
    directory
    /tmp, /run, …      tmpfs

The rule on secrets is the kernel's to enforce: the container's root is an id that owns nothing on the host, so every
file is to it what it is to a stranger, and so it is to the overlay's mounter, which it is too. Only with a single-id
map is the container's root the caller; then what strangers may not read is found by looking, and whited out.
"""

from __future__ import annotations

import os
import stat

from atoll.base.value import Value
from atoll.images import host_view
from atoll.images.host_view import HostView
from atoll.spec import idmap as idmaps
from atoll.spec import platform
from atoll.spec.idmap import IdMap, RootlessMap
from atoll.spec.image import ImageConfig, RunConfig
from atoll.spec.rootfs import IN_ROOT, Bind, Detach, Directory, Overlay, RootPlan, Symlink, Tmpfs, Whiteout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.spec.rootfs import RootStep

SCRATCH = "/.atoll"
NAME = "host"

# Ids that belong to nobody: above every range that systemd assigns (systemd.io/UIDS-GIDS) and below 2^31.
NOBODYS_FIRST, NOBODYS_COUNT = 2_000_000_000, 65536

OWN_TMPFS = {"/tmp": 0o1777, "/run": 0o755, "/var/tmp": 0o1777}
"""Made by this plan. `/dev`, `/proc`, `/sys` are empty directories here: the runtime-spec's mounts fill them."""
OF_RUNTIME = ("/dev", "/proc", "/sys")

# Closed whatever their permissions: homes, credentials of clouds and clusters, other engines' stores.
HIDDEN = (
    "/root",
    "/home",
    "/lost+found",
    "/etc/kubernetes",
    "/etc/rancher",
    "/etc/ssh",
    "/etc/cloud",
    "/var/lib/cloud",
    "/var/lib/kubelet",
    "/var/lib/rancher",
    "/var/lib/waagent",
    "/var/lib/amazon",
    "/var/lib/docker",
    "/var/lib/containers",
    "/var/lib/containerd",
    "/var/lib/atoll",
    "/var/backups",
    "/var/mail",
    "/var/spool/cron",
)
# In a current directory that is somebody's place of work, these are whited out wherever they lie at its top.
HIDDEN_HERE = (
    ".ssh",
    ".aws",
    ".azure",
    ".gnupg",
    ".kube",
    ".docker",
    ".config/gcloud",
    ".config/gh",
    ".netrc",
    ".git-credentials",
    ".pypirc",
    ".npmrc",
    ".vault-token",
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# How deep directories take new entries; elsewhere one level below an overlay's top.
_DEEPER = {"/usr": (("local", 4),), "/var": (("lib", 1), ("cache", 1))}
_SKELETON = 200
# What packages fill: nobody keeps files of his own deep in there, and looking takes a tenth of a second.
_SYSTEM = ("/usr", "/boot", "/lib", "/lib64", "/bin", "/sbin")
_MAX_APART = 600  # entries of one directory that is taken apart


class HostPlan(Value):
    """What a container of the `host` image needs. `idmap` is the map its user namespace must have, `working_dir`
    the current directory if it is shown, otherwise `/`; `notes` tell the user what is not as expected."""

    root: RootPlan
    config: ImageConfig
    working_dir: str
    idmap: RootlessMap
    notes: tuple[str, ...] = ()


def plan(
    *,
    cwd: str,
    uid: int,
    gid: int | None = None,
    hide: Sequence[str] = (),
    scratch_size: int | None = None,
    real: bool = False,
    idmap: RootlessMap | None = None,
    view: HostView | None = None,
) -> HostPlan:
    """What the throw-away machine is made of, for a user on the host. Looks at directories, changes nothing.

    `cwd` is absolute; `hide` adds paths, the store's own ones above all. `scratch_size` bounds, in bytes, what may be
    written (it is memory). `real` says that some path is to be the real one, writable (-v): an ordinary user's
    container must then be him, so he gets the single-id map even if he has subordinate ids. `view` is the machine to
    look at, for tests. Raises OSError only if `/` is unreadable.
    """
    maps = idmap or id_map(uid, gid, real=real)
    builder = _Builder(view or HostView(), maps, (*HIDDEN, *host_view.homes(), *hide))
    builder.top()
    working_dir = builder.current_directory(os.path.normpath(cwd))
    architecture = platform.host()
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    return HostPlan(
        root=RootPlan(steps=builder.steps(scratch_size)),
        config=ImageConfig(
            architecture=architecture.architecture,
            os="linux",
            diff_ids=(),
            variant=architecture.variant,
            config=RunConfig(env=(f"PATH={_PATH}",), cmd=(shell,), working_dir=working_dir),
        ),
        working_dir=working_dir,
        idmap=maps,
        notes=tuple(builder.notes),
    )


def id_map(uid: int, gid: int | None = None, *, real: bool = False) -> RootlessMap:
    """Ids that own nothing: a range of nobody's for root, the subordinate ids (not the user's own) for a user who
    has some; with neither, the user alone, and the rule on secrets is kept by searching."""
    if uid == 0:
        nobodys = (IdMap(inside=0, outside=NOBODYS_FIRST, count=NOBODYS_COUNT),)
        return RootlessMap(uid_map=nobodys, gid_map=nobodys)
    if real:
        return idmaps.single(uid, os.getgid() if gid is None else gid)
    own = idmaps.for_user(uid, gid)
    assert own is not None
    if own.single:
        return own
    return own.replace(uid_map=_without_own(own.uid_map), gid_map=_without_own(own.gid_map))


def _without_own(maps: tuple[IdMap, ...]) -> tuple[IdMap, ...]:
    """The granted ranges from 0 on; the first line, the user's own id, is left out."""
    stacked = []
    following = 0
    for one in maps[1:]:
        stacked.append(one.replace(inside=following))
        following += one.count
    return tuple(stacked)


class _Builder:
    """Collects the steps. Paths are the host's, which are the container's too."""

    def __init__(self, view: HostView, maps: RootlessMap, hidden: Sequence[str]) -> None:
        self.view = view
        self.maps = maps
        self.places = {"/root", "/home", *host_view.homes()}  # hidden, but a current directory below them is shown
        self.hidden = {os.path.normpath(path) for path in hidden if path not in ("", "/")}
        self.mounts = view.mounts()
        self.notes: list[str] = []
        self._bases: list[RootStep] = []
        self._scratch: list[RootStep] = []
        self._mounts: list[RootStep] = []
        self._overlays: dict[str, int] = {}
        self._white: dict[str, None] = {}

    def steps(self, scratch_size: int | None) -> tuple[RootStep, ...]:
        """The whole plan: root, scratch, uppers with their whiteouts, mounts from the top down, scratch detached."""
        return (
            Tmpfs(target="/", mode=0o755, size=16 << 20),
            Tmpfs(target=SCRATCH, mode=0o700, size=scratch_size),
            *self._scratch,
            *self._whiteouts(),
            *self._bases,
            *self._mounts,
            Detach(target=SCRATCH),
        )

    def top(self) -> None:
        """All directories of the root directory."""
        for path in OF_RUNTIME:
            self._bases.append(Directory(target=path))
        for name in sorted(self.view.listdir("/")):
            path = "/" + name
            if path not in OWN_TMPFS and path not in OF_RUNTIME and path != SCRATCH:
                self._cover(path)
        for path, mode in OWN_TMPFS.items():
            if path.count("/") == 1 or self.view.is_directory(path):
                self._mounts.append(Tmpfs(target=path, mode=mode))
        self._mounts.append(Directory(target="/run/lock", mode=0o1777))
        self._white_out()

    def current_directory(self, cwd: str) -> str:
        """Show the current directory at its own path; returns the container's working directory."""
        if cwd == "/" or any(cwd == home for home in host_view.homes()):
            return "/"
        if any(_below(cwd, path) or cwd == path for path in self.hidden - self.places):
            self.notes.append(f"the current directory {cwd} is on the hide list and not shown")
            return "/"
        if any(_below(cwd, path) or cwd == path for path in OF_RUNTIME):
            self.notes.append(
                f"the current directory {cwd} lies in what a container has of its own, and is not shown"
            )
            return "/"
        info = self.view.lstat(cwd)
        if info is None or not stat.S_ISDIR(info.st_mode) or info.st_mode & 0o005 != 0o005:
            self.notes.append(
                f"the current directory {cwd} is closed to others and not shown"
                " (open it with 'chmod o+rx', or give it with -v)"
            )
            return "/"
        self._open_way(cwd)
        index = len(self._overlays)
        self._overlays[cwd] = index
        self._upper(index, info.st_mode)
        self._skeleton(cwd, index, "", 4)
        # The directory may be out of the mapped root's reach, below a closed home: it is bound first (the runtime
        # opens bind sources as the caller), and what the bind shows is the lower layer.
        self._mounts.append(Bind(source=cwd, target=cwd, read_only=True, recursive=False))
        self._mounts.append(self._overlay(cwd, index, (IN_ROOT + cwd,)))
        for name in HIDDEN_HERE:
            self._white_out_one(cwd, index, name)
        for path in sorted(self.hidden - self.places):
            if _below(path, cwd):
                self._white_out_one(cwd, index, path[len(cwd) + 1 :])
        self._search(cwd, index, depth=6)
        return cwd

    def _open_way(self, cwd: str) -> None:
        """A closed directory above the current one gives way to an empty one of the container's own: nothing in it
        was readable anyway, and the way through it is what the caller asked for."""
        covering = [target for target in self._overlays if _below(cwd, target)]
        if not covering:
            return
        target = max(covering, key=len)
        parts = cwd[len(target) + 1 :].split("/")
        for count in range(1, len(parts)):
            name = "/".join(parts[:count])
            info = self.view.lstat(f"{target}/{name}")
            if info is not None and not info.st_mode & 0o001:
                self._white_out_one(target, self._overlays[target], name)
                return

    # --- what there is ------------------------------------------------------------------------------------------

    def _cover(self, path: str) -> None:
        """One directory, link or file of the host."""
        info = self.view.lstat(path)
        if info is None:
            return
        if stat.S_ISLNK(info.st_mode):
            self._mounts.append(Symlink(target=path, link=self.view.readlink(path)))
            return
        if stat.S_ISREG(info.st_mode):
            if info.st_mode & 0o004 and path not in self.hidden:
                self._mounts.append(Bind(source=path, target=path, read_only=True, recursive=False, optional=True))
            return
        if not stat.S_ISDIR(info.st_mode):
            return
        if path in self.hidden or info.st_mode & 0o005 != 0o005:
            self._mounts.append(Directory(target=path, mode=0o700 if path == "/root" else 0o755))
            return
        fstype = self.mounts.get(path)
        if fstype in host_view.PSEUDO:
            self._mounts.append(Directory(target=path))
        elif any(_below(mounted, path) for mounted in self.mounts):
            self._take_apart(path)
        elif fstype in host_view.NO_LOWER:
            self._mounts.append(Bind(source=path, target=path, read_only=True, recursive=False, optional=True))
        else:
            index = len(self._overlays)
            self._overlays[path] = index
            self._upper(index, info.st_mode)
            for folder, depth in (("", 1), *_DEEPER.get(path, ())):
                self._skeleton(path, index, folder, depth)
            self._mounts.append(self._overlay(path, index, (path,)))
            self._search(path, index, depth=1 if path in _SYSTEM else 3)

    def _take_apart(self, path: str) -> None:
        """A directory with mounts below: its entries one by one."""
        self._mounts.append(Directory(target=path))
        names = sorted(self.view.listdir(path))
        for name in names[:_MAX_APART]:
            inner = f"{path}/{name}"
            if inner not in OWN_TMPFS:
                self._cover(inner)
        if len(names) > _MAX_APART:
            self.notes.append(f"{path} has {len(names)} entries beside a mount; the first {_MAX_APART} are shown")

    # --- overlays -----------------------------------------------------------------------------------------------

    def _upper(self, index: int, mode: int) -> None:
        """The upper directory: made by the container's root, so its top is writable, whoever owns the lower one."""
        place = f"{SCRATCH}/{index}"
        self._scratch.append(Directory(target=f"{place}/upper", mode=stat.S_IMODE(mode) & 0o777 | 0o700))
        self._scratch.append(Directory(target=f"{place}/work", mode=0o700))

    def _skeleton(self, path: str, index: int, start: str, depth: int) -> None:
        """Directories that the upper has too, with the permissions of those below it: being the container's own,
        they take new entries, which in one of an unmapped owner the kernel refuses. Only what is open to others:
        the owner of a closed one must stay a stranger. With a single-id map all uppers are the caller's, and so are
        the directories that matter to him."""
        left = _SKELETON
        pending = [(start, depth)]
        while pending and not self.maps.single:
            folder, levels = pending.pop(0)
            for name, mode in self.view.directories(f"{path}/{folder}" if folder else path):
                inner = f"{folder}/{name}" if folder else name
                left -= 1
                if left < 0:
                    return
                if mode & 0o005 == 0o005 and f"{path}/{inner}" not in self.hidden:
                    place = f"{SCRATCH}/{index}/upper/{inner}"
                    self._scratch.append(Directory(target=place, mode=mode & 0o777 | 0o700))
                    if levels > 1 and not name.startswith("."):
                        pending.append((inner, levels - 1))

    def _overlay(self, target: str, index: int, lower: tuple[str, ...]) -> Overlay:
        place = f"{IN_ROOT}{SCRATCH}/{index}"
        return Overlay(
            target=target,
            lower=lower,
            upper=f"{place}/upper",
            work=f"{place}/work",
            userxattr=True,
            volatile=True,
        )

    def _white_out(self) -> None:
        """Hidden paths that lie inside an overlay."""
        for path in sorted(self.hidden):
            inside = [target for target in self._overlays if _below(path, target)]
            if inside:
                target = max(inside, key=len)
                self._white_out_one(target, self._overlays[target], path[len(target) + 1 :])

    def _white_out_one(self, target: str, index: int, name: str) -> None:
        if self.view.lstat(f"{target}/{name}") is not None and not self._through_link(target, name):
            self._white[f"{SCRATCH}/{index}/upper/{name}"] = None

    def _whiteouts(self) -> list[Whiteout]:
        """One whiteout for each hidden place, none below another."""
        found: list[Whiteout] = []
        for path in self._white:
            parts = path.split("/")
            if not any("/".join(parts[:count]) in self._white for count in range(5, len(parts))):
                found.append(Whiteout(target=path))
        return found

    def _through_link(self, target: str, name: str) -> bool:
        """A whiteout below a link would hide the link's place, not what it leads to."""
        parts = name.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            info = self.view.lstat("/".join([target, *parts[:count]]))
            if info is None or not stat.S_ISDIR(info.st_mode):
                return True
        return False

    def _search(self, target: str, index: int, *, depth: int) -> None:
        """With a single-id map: white out what the caller can read and a stranger cannot."""
        if not self.maps.single:
            return
        owner = self.maps.uid_map[0].outside
        found, complete = self.view.private(target, owner, depth)
        for name in found:
            self._white[f"{SCRATCH}/{index}/upper/{name}"] = None
        if not complete:
            self.notes.append(f"{target} is too large to be searched whole for files of yours that are private")


def _below(path: str, ancestor: str) -> bool:
    return path.startswith(ancestor.rstrip("/") + "/")
