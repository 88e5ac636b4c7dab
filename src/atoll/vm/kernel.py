"""Guest kernels: found in what is given, checked by digest, kept below the data root.

Holds: `install`, `installed`, `extract` and the kinds of file a kernel is found in. Does not hold: booting it.
A kernel comes from a file of the user's (an ELF `vmlinux`, or a `bzImage`), from a Debian package (`.deb` with
`/boot/vmlinuz-*`), or from libkrunfw, whose shared object carries a kernel with everything built in:
alone, or inside the wheel of the Python package `microsandbox`. Linux is GPL-2.0-only; the sources of libkrunfw's are
at https://github.com/containers/libkrunfw (patches and configuration) and https://www.kernel.org. Atoll ships none.

libkrunfw's kernel is a flat image of the guest's memory; QEMU wants an ELF file with a PVH note (xen/include/public/
arch-x86/hvm/start_info.h): the image has that note inside, and `_wrapped` puts the two headers before it.

    <data>/vm/kernels/<sha256>       the kernel as QEMU takes it
    <data>/vm/kernels/default        a link to the one that is used
"""

from __future__ import annotations

import os
import struct

from atoll.base import errors, files
from atoll.base.value import Value

PINNED = {
    "microsandbox-0.7.11-cp310-abi3-manylinux_2_28_x86_64.whl": (
        "7dbc163f30db86ad10e181a16c8957d6f475186fd6106535941f78239a211a38"
    ),
}
"""Files known to hold a kernel that works: their names and the SHA-256 of the kernel in them."""
SOURCES = "GPL-2.0-only; sources: https://github.com/containers/libkrunfw and https://www.kernel.org"
LARGEST = 256 << 20
BOOT = "/boot"
BUILT_IN = (
    "VIRTIO_MMIO", "VIRTIO_MMIO_CMDLINE_DEVICES", "VIRTIO_BLK", "VIRTIO_CONSOLE", "VIRTIO_NET", "EROFS_FS",
    "OVERLAY_FS", "EXT4_FS", "DEVTMPFS",
)  # fmt: skip
"""What a guest's kernel needs before it has a root to load a module from."""
_NOTE = b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0"
_ELF = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")


class Kernel(Value):
    """An installed kernel: its file and that file's SHA-256."""

    path: str
    digest: str


def installed(root: str, name: str = "default") -> Kernel:
    """The kernel that machines boot: `default`, `host` (this host's own), or a path of the user's. Raises NotFound,
    Unsupported for a host's that cannot be a guest's."""
    if name == "host":
        name = _of_host(BOOT, os.uname().release)
    path = name if name.startswith("/") else os.path.realpath(f"{root}/kernels/{name}")
    if not os.path.isfile(path):
        raise errors.NotFound(
            "no kernel for virtual machines is installed",
            hint="atoll vm kernel install --from FILE (a vmlinux, a linux-image .deb, or the microsandbox wheel: "
            "'pip download --no-deps microsandbox')",
        )
    if not name.startswith("/"):
        return Kernel(path=path, digest=os.path.basename(path))
    return Kernel(path=path, digest=_digest(files.read_bytes(path)))


def _of_host(boot: str, release: str) -> str:
    """The path of this host's own kernel, if it can be a guest's: a machine has no initial RAM disk, so that what it
    boots from must be built in. Distributions' are mostly not."""
    path = f"{boot}/vmlinuz-{release}"
    if not os.path.isfile(path):
        raise errors.NotFound(f"this host's kernel is not at {path}", hint="atoll vm kernel install --from FILE")
    try:
        lines = files.read_text(f"{boot}/config-{release}").splitlines()
    except OSError as error:
        raise errors.Unsupported(f"nothing says what is built into {path}: {error.strerror}") from None
    missing = [name for name in BUILT_IN if f"CONFIG_{name}=y" not in lines]
    if missing:
        raise errors.Unsupported(
            f"this host's kernel has not built in what a machine boots from: {', '.join(missing)}",
            hint="atoll vm kernel install --from FILE",
        )
    return path


def install(root: str, source: str, *, digest: str | None = None) -> Kernel:
    """Take the kernel out of `source` and make it the one that is used. `digest`: what its SHA-256 must be; that of a
    known file is checked anyway. Raises NotFound, Corrupt, InvalidArgument, Unsupported."""
    try:
        if os.path.getsize(source) > LARGEST:
            raise errors.InvalidArgument(f"{source} is too large to be, or to hold, a kernel")
        kernel = extract(files.read_bytes(source), os.path.basename(source))
    except OSError as error:
        raise errors.from_os_error(error, "read the kernel") from error
    found = _digest(kernel)
    wanted = digest or PINNED.get(os.path.basename(source))
    if wanted is not None and found != wanted.removeprefix("sha256:"):
        raise errors.Corrupt(f"the kernel in {source} is {found}, and should be {wanted}")
    folder = f"{root}/kernels"
    os.makedirs(folder, mode=0o711, exist_ok=True)
    files.write_atomic(f"{folder}/{found}", kernel, mode=0o644)
    temporary = f"{folder}/.default.{os.getpid()}"
    os.symlink(found, temporary)
    os.rename(temporary, f"{folder}/default")
    return Kernel(path=f"{folder}/{found}", digest=found)


def extract(data: bytes, name: str) -> bytes:
    """The kernel in a file's content. Raises InvalidArgument, Unsupported."""
    if data[:4] == b"PK\x03\x04":
        return extract(*_in_wheel(data, name))
    if data[:8] == b"!<arch>\n":
        return extract(_in_package(data, name), f"{name}: vmlinuz")
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


def _in_package(data: bytes, name: str) -> bytes:
    """`/boot/vmlinuz-*` of a Debian package: deb(5), an ar(5) archive with a tar archive in it."""
    import io
    import tarfile

    position = 8
    while position + 60 <= len(data):
        header = data[position : position + 60]
        try:
            size = int(header[48:58])
        except ValueError:
            raise errors.Corrupt(f"{name}: a damaged ar archive") from None
        if header.startswith(b"data.tar"):
            try:
                with tarfile.open(fileobj=io.BytesIO(data[position + 60 : position + 60 + size])) as archive:
                    for one in archive:
                        if one.isfile() and one.name.lstrip("./").startswith("boot/vmlinuz") and one.size <= LARGEST:
                            stream = archive.extractfile(one)
                            assert stream is not None
                            return stream.read()
            except (tarfile.TarError, OSError, EOFError) as error:
                raise errors.Corrupt(f"{name}: {error}") from None
        position += 60 + size + size % 2
    raise errors.InvalidArgument(f"{name} holds no /boot/vmlinuz")


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
