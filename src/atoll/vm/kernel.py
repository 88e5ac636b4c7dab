"""Guest kernels: found in what is given, checked by digest, kept below the data root.

Holds: `install`, `installed`, `extract` and the kinds of file a kernel is found in. Does not hold: booting it.
A kernel comes from a file of the user's (an ELF `vmlinux`, or a `bzImage`), from a Debian package (`.deb` with
`/boot/vmlinuz-*`), or from libkrunfw, whose shared object carries a kernel with everything built in:
alone, or inside the wheel of the Python package `microsandbox`. Linux is GPL-2.0-only; the sources of libkrunfw's are
at https://github.com/containers/libkrunfw (patches and configuration) and https://www.kernel.org. Atoll ships none.

libkrunfw's kernel is a flat image of the guest's memory; QEMU wants an ELF file with a PVH note (xen/include/public/
arch-x86/hvm/start_info.h): the image has that note inside, and `_wrapped` puts the two headers before it.

    <data>/vm/kernels/<sha256>       the kernel as QEMU takes it
    <data>/vm/kernels/<sha256>.initrd   for one that has not everything built in: its modules (`initrd.py`)
    <data>/vm/kernels/default        a link to the one that is used
"""

from __future__ import annotations

import os
import struct

from atoll.base import errors, files
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PINNED = {
    "microsandbox-0.7.11-cp310-abi3-manylinux_2_28_x86_64.whl": (
        "7dbc163f30db86ad10e181a16c8957d6f475186fd6106535941f78239a211a38"
    ),
}
"""Files known to hold a kernel that works: their names and the SHA-256 of the kernel in them."""
SOURCES = "GPL-2.0-only; sources: https://github.com/containers/libkrunfw and https://www.kernel.org"
LARGEST = 256 << 20
INITRD = ".initrd"
AR = b"!<arch>\n"
BUILT_IN = (
    "VIRTIO_MMIO", "VIRTIO_MMIO_CMDLINE_DEVICES", "VIRTIO_BLK", "VIRTIO_CONSOLE", "VIRTIO_NET", "EROFS_FS",
    "OVERLAY_FS", "EXT4_FS", "DEVTMPFS",
)  # fmt: skip
"""What a kernel without an initial RAM disk needs built in."""
_NOTE = b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0"
_ELF = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")


class Kernel(Value):
    """An installed kernel: its file, that file's SHA-256, and its initial RAM disk ("" where it needs none). One that
    has such a disk finds its devices by ACPI, else by its command line."""

    path: str
    digest: str
    initrd: str = ""


def installed(root: str, name: str = "default") -> Kernel:
    """The kernel that machines boot: `default`, `host` (this host's own), or a path of the user's. Raises NotFound,
    Unsupported for a host's that cannot be a guest's."""
    if name == "host":
        return _of_host(root, os.uname().release)
    path = name if name.startswith("/") else os.path.realpath(f"{root}/kernels/{name}")
    if not os.path.isfile(path):
        raise errors.NotFound(
            "no kernel for virtual machines is installed",
            hint="atoll vm kernel install --from FILE (a vmlinux, a linux-image .deb, or the microsandbox wheel: "
            "'pip download --no-deps microsandbox')",
        )
    if not name.startswith("/"):
        initrd = path + INITRD
        return Kernel(path=path, digest=os.path.basename(path), initrd=initrd if os.path.isfile(initrd) else "")
    return Kernel(path=path, digest=_digest(files.read_bytes(path)))


def _of_host(root: str, release: str) -> Kernel:
    """This host's own kernel; what it has not built in goes into an initial RAM disk, made of its modules once.
    Raises NotFound, Denied, Unsupported naming what it has in no form."""
    from atoll.vm.package import Installed

    found = Installed(release)
    try:
        digest = _digest(files.read_bytes(found.path))
    except OSError as error:  # some distributions keep it from all but root
        raise errors.from_os_error(error, "read this host's kernel") from error
    if _boots_alone(found.config):
        return Kernel(path=found.path, digest=digest)
    place = f"{root}/kernels/{digest}{INITRD}"
    if not os.path.exists(place):
        content = _initrd(found.config, found.modules)
        os.makedirs(os.path.dirname(place), mode=0o711, exist_ok=True)
        files.write_atomic(place, content, mode=0o644)
    return Kernel(path=found.path, digest=digest, initrd=place)


def _boots_alone(config: str) -> bool:
    lines = frozenset(config.splitlines())
    return all(f"CONFIG_{name}=y" in lines for name in BUILT_IN)


def _initrd(config: str, modules: Callable[[tuple[str, ...]], dict[str, bytes]]) -> bytes:
    from atoll.vm import initrd

    wanted = initrd.needed(config)
    known = modules(wanted)
    return initrd.build(os.uname().machine, wanted, known.__getitem__)


def install(root: str, source: str, *, digest: str | None = None) -> Kernel:
    """Take the kernel out of `source` and make it the one that is used. `digest`: what its SHA-256 must be; that of a
    known file is checked anyway. Raises NotFound, Corrupt, InvalidArgument, Unsupported."""
    try:
        if os.path.getsize(source) > LARGEST:
            raise errors.InvalidArgument(f"{source} is too large to be, or to hold, a kernel")
        data, name = files.read_bytes(source), os.path.basename(source)
        kernel, initrd = _of_package(data, name) if data[:8] == AR else (extract(data, name), b"")
    except OSError as error:
        raise errors.from_os_error(error, "read the kernel") from error
    found = _digest(kernel)
    wanted = digest or PINNED.get(os.path.basename(source))
    if wanted is not None and found != wanted.removeprefix("sha256:"):
        raise errors.Corrupt(f"the kernel in {source} is {found}, and should be {wanted}")
    folder = f"{root}/kernels"
    os.makedirs(folder, mode=0o711, exist_ok=True)
    files.write_atomic(f"{folder}/{found}", kernel, mode=0o644)
    if initrd:
        files.write_atomic(f"{folder}/{found}{INITRD}", initrd, mode=0o644)
    else:
        files.unlink_if_present(f"{folder}/{found}{INITRD}")
    temporary = f"{folder}/.default.{os.getpid()}"
    os.symlink(found, temporary)
    os.rename(temporary, f"{folder}/default")
    return installed(root)


def _of_package(data: bytes, name: str) -> tuple[bytes, bytes]:
    """The kernel of a Debian package, and the initial RAM disk that it needs, if it needs one."""
    from atoll.vm.package import Package

    found = Package(data, name)
    kernel = extract(found.kernel, f"{name}: vmlinuz")
    if found.config is None:
        raise errors.Unsupported(f"{name}: nothing says what is built into its kernel")
    return kernel, b"" if _boots_alone(found.config) else _initrd(found.config, found.modules)


def extract(data: bytes, name: str) -> bytes:
    """The kernel in a file's content. Raises InvalidArgument, Unsupported."""
    if data[:4] == b"PK\x03\x04":
        return extract(*_in_wheel(data, name))
    if data[:4] == b"\x7fELF":
        if struct.unpack_from("<H", data, 16)[0] == 3:  # ET_DYN
            return _wrapped(_bundle(data, name), name)
        if _NOTE not in data:
            raise errors.Unsupported(f"{name}: this vmlinux has no PVH note", hint="build it with CONFIG_PVH=y")
        return data
    if data[0x202:0x206] == b"HdrS":
        return data
    raise errors.InvalidArgument(f"{name} is no kernel, and no file that is known to hold one")


def _digest(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def _in_wheel(data: bytes, name: str) -> tuple[bytes, str]:
    import io
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for one in archive.infolist():
                base = one.filename.rpartition("/")[2]
                if base.startswith("libkrunfw.so") and one.file_size <= LARGEST:
                    return archive.read(one), f"{name}: {base}"
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise errors.Corrupt(f"{name}: {error}") from None
    raise errors.InvalidArgument(f"{name} holds no libkrunfw")


def _bundle(data: bytes, name: str) -> bytes:
    """What libkrunfw exports as KERNEL_BUNDLE: found by the dynamic symbol, elf(5)."""
    try:
        head = _ELF.unpack_from(data)
        sections = [_SECTION.unpack_from(data, head[6] + i * head[11]) for i in range(head[12])]
        for one in sections:
            if one[1] != 11:  # SHT_DYNSYM
                continue
            names = sections[one[6]]
            for position in range(one[4], one[4] + one[5], _SYMBOL.size):
                symbol = _SYMBOL.unpack_from(data, position)
                start = names[4] + symbol[0]
                if data[start : start + 14] == b"KERNEL_BUNDLE\0":
                    place = sections[symbol[3]]
                    offset = place[4] + symbol[4] - place[3]
                    return data[offset : offset + symbol[5]]
    except (struct.error, IndexError, OverflowError, MemoryError):
        raise errors.Corrupt(f"{name}: a damaged ELF file") from None
    raise errors.InvalidArgument(f"{name} exports no KERNEL_BUNDLE")


def _wrapped(image: bytes, name: str) -> bytes:
    """A flat image as an ELF file that is loaded where its PVH entry says: that entry is its first byte."""
    image = image[: len(image) & ~0xFFF]
    at = image.find(_NOTE)
    if at < 0:
        raise errors.Unsupported(f"{name}: the kernel has no PVH note")
    (entry,) = struct.unpack_from("<Q", image, at + len(_NOTE))
    if entry & 0xFFFFF or not image.startswith(b"\xfc"):
        raise errors.Unsupported(f"{name}: its PVH entry is not at the beginning of the image")
    offset, length = 0x1000, len(_NOTE) + 8
    head = _ELF.pack(b"\x7fELF\x02\x01\x01", 2, 62, 1, entry, _ELF.size, 0, 0, _ELF.size, _SEGMENT.size, 2, 0, 0, 0)
    head += _SEGMENT.pack(1, 7, offset, entry, entry, len(image), len(image), 0x1000)
    head += _SEGMENT.pack(4, 4, offset + at, entry + at, entry + at, length, length, 4)
    return head.ljust(offset, b"\0") + image
