import io
import os
import struct
import zipfile

import pytest

from atoll.base import errors
from atoll.vm import kernel

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


def test_the_hosts_own_kernel_is_taken_only_if_a_machine_can_boot_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "BOOT", str(tmp_path))
    release = os.uname().release
    with pytest.raises(errors.NotFound, match="is not at"):
        kernel.installed(str(tmp_path), "host")
    (tmp_path / f"vmlinuz-{release}").write_bytes(b"the host's")
    with pytest.raises(errors.Unsupported, match="nothing says"):
        kernel.installed(str(tmp_path), "host")
    config = tmp_path / f"config-{release}"
    config.write_text("".join(f"CONFIG_{name}=y\n" for name in kernel.BUILT_IN).replace("EROFS_FS=y", "EROFS_FS=m"))
    with pytest.raises(errors.Unsupported, match="built in what a machine boots from: EROFS_FS"):
        kernel.installed(str(tmp_path), "host")
    config.write_text("".join(f"CONFIG_{name}=y\n" for name in kernel.BUILT_IN))
    assert kernel.installed(str(tmp_path), "host").path == str(tmp_path / f"vmlinuz-{release}")
