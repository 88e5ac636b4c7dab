"""The test host's kernel, first file system and disk, made of Debian's packages and cached.

Holds: `ensure` and what goes into the disk. Does not hold: starting it (`machine.py`). Nothing is installed on this
machine: the kernel is fetched and unpacked, the root is mmdebstrap's. The disk has no file of this tree, which is a
second one (`pack_tree`). The cache lies below $ATOLL_TEST_CACHE (kit/images.py); deleting it is always safe.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kit import images

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
KERNEL = "linux-image-cloud-amd64"
SUITE = "bookworm"
EPOCH = "1704067200"
UUID = "a7011a70-11a7-4011-a701-1a7011a7011a"
DISK_MIB = 4096
KEPT_SECONDS = 86400
FIRST_MODULES = ("virtio_pci", "virtio_blk", "erofs", "quota_v2")
"""What the kernel needs before its root is mounted."""
PACKAGES = (
    "systemd-sysv udev dbus dbus-user-session libpam-systemd kmod apparmor nftables iproute2 iptables iputils-ping"
    " python3 busybox-static docker-registry e2fsprogs xfsprogs erofs-utils procps util-linux mount uidmap passwd"
    " strace fuse-overlayfs slirp4netns passt runc openssl zstd python3-dbus python3-gi dbus-daemon"
).split()
FILES = {
    "etc/hostname": "testhost\n",
    "etc/hosts": "127.0.0.1 localhost testhost\n::1 localhost\n",
    "etc/fstab": "",
    # The time of the last boot is not the subject of any test; a machine that waits for the network waits in vain.
    "etc/systemd/system/atoll-test-host.service": """[Unit]
Description=Carries out what the tests ask for
After=basic.target apparmor.service dbus.service

[Service]
ExecStart=/usr/bin/python3 -B /srv/tree/tests/host/guest.py
Delegate=yes
KillMode=mixed
TasksMax=infinity
LimitNOFILE=524288

[Install]
WantedBy=multi-user.target
""",
}
LINKS = {
    "etc/systemd/system/multi-user.target.wants/atoll-test-host.service": "../atoll-test-host.service",
    "etc/systemd/system/apt-daily.timer": "/dev/null",
    "etc/systemd/system/apt-daily-upgrade.timer": "/dev/null",
    "etc/systemd/system/dpkg-db-backup.timer": "/dev/null",
    "etc/systemd/system/e2scrub_all.timer": "/dev/null",
    "etc/systemd/system/e2scrub_reap.service": "/dev/null",
    "etc/systemd/system/fstrim.timer": "/dev/null",
    "etc/systemd/system/getty@tty1.service": "/dev/null",
    "etc/systemd/system/serial-getty@ttyS0.service": "/dev/null",
    "etc/systemd/system/systemd-timesyncd.service": "/dev/null",
}
INIT = """#!/bin/busybox sh
# Before the root: the modules that it needs, the disk, this tree at the path that it has on the machine outside.
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t proc none /proc
while read -r module; do /bin/busybox insmod "/$module"; done < /modules
tree=$(/bin/busybox sed -n 's/.*atoll.tree=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
/bin/busybox mount -t ext4 /dev/vda /root || /bin/busybox poweroff -f
/bin/busybox mkdir -p "/root$tree"
/bin/busybox mount -t erofs -o ro /dev/vdb "/root$tree" || /bin/busybox poweroff -f
/bin/busybox ln -sfn "$tree" /root/srv/tree
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Image:
    """What QEMU is given: paths. `disk` is a base that nobody writes to."""

    kernel: str
    initrd: str
    disk: str
    version: str


def ensure(run: Run = subprocess.run) -> Image:
    """The cached one, or a new one (half a minute); `run` runs a command where the network is. Raises
    CalledProcessError where a package cannot be had."""
    folder = f"{images.cache()}/host"
    os.makedirs(folder, exist_ok=True)
    place = f"{folder}/{_recipe()}"
    with open(f"{folder}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(place):
            _make(run, f"{place}.tmp")
            os.rename(f"{place}.tmp", place)
        os.utime(place)
        # Of other recipes; a machine of another session's may still run from one of today.
        for old in os.listdir(folder):
            if old != "lock" and os.stat(f"{folder}/{old}").st_mtime < time.time() - KEPT_SECONDS:
                shutil.rmtree(f"{folder}/{old}")
    version = Path(place, "version").read_text()
    return Image(kernel=f"{place}/vmlinuz", initrd=f"{place}/initrd", disk=f"{place}/disk", version=version)


def pack_tree(target: str) -> None:
    """This tree and its .venv as a file system, without what no test reads. The times stay: compiled files are
    held against them."""
    left_out = (".git", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache")
    library = f".venv/lib/python{'.'.join(map(str, __import__('sys').version_info[:2]))}/site-packages"
    tools = (f"{library}/mypy", f"{library}/mypyc", ".venv/bin/ruff")
    words = [f"--exclude-path={one}" for one in (*left_out, *tools)]
    subprocess.run(["mkfs.erofs", *words, target, str(TREE)], check=True, capture_output=True)


def _recipe() -> str:
    said = json.dumps([KERNEL, SUITE, PACKAGES, FILES, LINKS, INIT, FIRST_MODULES, DISK_MIB])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _make(run: Run, place: str) -> None:
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(f"{place}/unpacked")
    try:
        version = _fetch_kernel(run, f"{place}/unpacked")
        root = f"{place}/root"
        mirror = os.environ.get("ATOLL_TEST_MIRROR", "http://deb.debian.org/debian")
        words = ["--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        environ = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
        run(["mmdebstrap", *words, SUITE, root, mirror], check=True, env=environ, stdout=subprocess.DEVNULL)
        shutil.copytree(f"{place}/unpacked/lib/modules/{version}", f"{root}/lib/modules/{version}", symlinks=True)
        subprocess.run(["chroot", root, "depmod", version], check=True)
        _settle(root)
        Path(place, "initrd").write_bytes(_initrd(root, version))
        os.rename(f"{place}/unpacked/boot/vmlinuz-{version}", f"{place}/vmlinuz")
        _make_disk(root, f"{place}/disk")
        Path(place, "version").write_text(version)
    finally:
        shutil.rmtree(f"{place}/unpacked", ignore_errors=True)
        shutil.rmtree(f"{place}/root", ignore_errors=True)


def _fetch_kernel(run: Run, place: str) -> str:
    """Unpack the package that the metapackage stands for; the kernel's version."""
    depends = subprocess.run(["apt-cache", "depends", KERNEL], check=True, capture_output=True, text=True).stdout
    (package,) = [
        line.split()[1] for line in depends.splitlines() if line.strip().startswith("Depends: linux-image-")
    ]
    run(["apt-get", "-q", "download", package], check=True, cwd=place, capture_output=True)
    (file,) = [one for one in os.listdir(place) if one.endswith(".deb")]
    subprocess.run(["dpkg-deb", "-x", file, "."], check=True, cwd=place)
    return package.removeprefix("linux-image-")


def _settle(root: str) -> None:
    """Our few files, and away with what differs from one making to the next."""
    for name, text in FILES.items():
        os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
        Path(root, name).write_text(text)
    for name, target in LINKS.items():
        os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
        if os.path.lexists(f"{root}/{name}"):
            os.unlink(f"{root}/{name}")
        os.symlink(target, f"{root}/{name}")
    # A fixed machine id: no first boot, which would set presets and ask questions.
    Path(root, "etc/machine-id").write_text("a7011a7011a74011a7011a7011a7011a\n")
    for folder in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
        for path in Path(root, folder).glob("**/*"):
            if path.is_file():
                path.unlink()


def _make_disk(root: str, target: str) -> None:
    """An ext4 with project quotas of the root: reproducible but for the order in which mke2fs walks it."""
    with open(target, "wb") as file:
        file.truncate(DISK_MIB << 20)
    extended = f"hash_seed={UUID},lazy_itable_init=1,quotatype=prjquota"
    features = ["-O", "quota,project", "-E", extended, "-U", UUID]
    environ = {**os.environ, "E2FSPROGS_FAKE_TIME": EPOCH}
    subprocess.run(["mkfs.ext4", "-q", "-F", *features, "-d", root, target], check=True, env=environ)


def _initrd(root: str, version: str) -> bytes:
    """A cpio archive (newc) of busybox, the modules in their order, and INIT."""
    base = Path(root, "lib/modules", version)
    wanted = _modules(base)
    parts = [_node(name, stat.S_IFDIR | 0o755) for name in ("bin", "dev", "proc", "root", "modules.d")]
    parts.append(_node("bin/busybox", stat.S_IFREG | 0o755, Path(root, "bin/busybox").read_bytes()))
    names = []
    for path in wanted:
        names.append(f"modules.d/{os.path.basename(path)}")
        parts.append(_node(names[-1], stat.S_IFREG | 0o644, (base / path).read_bytes()))
    parts.append(_node("modules", stat.S_IFREG | 0o644, "".join(f"{one}\n" for one in names).encode()))
    parts.append(_node("init", stat.S_IFREG | 0o755, INIT.encode()))
    parts.append(_node("TRAILER!!!", 0))
    return b"".join(parts)


def _modules(base: Path) -> list[str]:
    """Those of FIRST_MODULES and what they need, each after its needs; modules.dep(5) lists needs nearest first."""
    needs = {}
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[os.path.basename(path).removesuffix(".ko")] = (path, rest.split())

    def order() -> Iterator[str]:
        for name in FIRST_MODULES:
            path, rest = needs[name]
            yield from reversed(rest)
            yield path

    return list(dict.fromkeys(order()))


def _node(name: str, mode: int, data: bytes = b"") -> bytes:
    """One entry, cpio(5): thirteen numbers of eight hexadecimal digits, name and data padded to four bytes."""
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + "".join(f"{one:08x}" for one in numbers).encode() + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
