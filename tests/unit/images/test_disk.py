"""Disks as sources of images: what is read is what mke2fs(8) wrote; what is hostile is refused in words, in time."""

import io
import os
import random
import struct
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.images.disk import archive
from atoll.images.disk.medium import opened
from atoll.images.disk.partitions import ROOTS, partitions

MIB = 1 << 20
LONG = "/a/link/that/is/longer/than/the/sixty/bytes/which/an/inode/has/room/for/itself"
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small root: all kinds of files that need no right to be made."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("etc", "usr", "many"):
        (root / name).mkdir()
    (root / "etc/tiny").write_text("tiny\n")
    (root / "etc/empty").touch(0o600)
    (root / "usr/large").write_bytes(random.Random(1).randbytes(3 * MIB + 17))
    with open(root / "usr/holes", "wb") as stream:
        for place in (MIB + 5, 2 * MIB):
            stream.seek(place)
            stream.write(b"here")
    for number in range(700):
        (root / f"many/a-rather-long-name-of-file-{number}").touch()
    os.symlink("etc/tiny", root / "short")
    os.symlink(LONG, root / "long")
    os.link(root / "etc/tiny", root / "usr/hard")
    os.mkfifo(root / "fifo")
    os.setxattr(root / "etc/tiny", "user.word", b"kept \xff")
    return root


def made(tree: Path, path: Path, *words: str, size: int = 32 * MIB) -> Path:
    """A file with a file system of the tree."""
    with open(path, "wb") as stream:
        stream.truncate(size)
    subprocess.run(["mke2fs", "-q", "-F", *words, "-d", str(tree), str(path)], check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def plain(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of an ext4."""
    return made(tree, tmp_path_factory.mktemp("plain") / "fs", "-t", "ext4").read_bytes()


def packed(path: Path) -> dict[str, tuple[object, ...]]:
    """What a disk comes to."""
    out = io.BytesIO()
    archive.write(str(path), out.write)
    out.seek(0)
    found = {}
    with tarfile.open(fileobj=out) as tar:
        for one in tar:
            name = one.name.removeprefix("./").rstrip("/")
            stream = tar.extractfile(one) if one.isreg() or one.islnk() else None
            content = stream.read() if stream is not None else b""
            found[name] = (one.type if not one.islnk() else tarfile.REGTYPE, one.mode & 0o777, one.linkname, content)
    found.pop("lost+found", None)
    return found


def check(found: dict[str, tuple[object, ...]], tree: Path) -> None:
    names = {str(one.relative_to(tree)) for one in tree.rglob("*")}
    assert set(found) - {".", ""} == names
    for name in ("etc/tiny", "etc/empty", "usr/large", "usr/holes", "usr/hard"):
        assert found[name][3] == (tree / name).read_bytes(), name
    assert found["etc/empty"][1] == 0o600
    assert (found["short"][2], found["long"][2]) == ("etc/tiny", LONG)
    assert found["fifo"][0] == tarfile.FIFOTYPE


@pytest.mark.parametrize(
    "words",
    [
        ("-t", "ext4"),
        ("-t", "ext4", "-O", "inline_data,metadata_csum,64bit", "-I", "256"),
        ("-t", "ext4", "-O", "^64bit,^flex_bg", "-b", "1024"),
        ("-t", "ext3"),
        ("-t", "ext2", "-b", "1024"),
        ("-t", "ext2", "-I", "128"),
    ],
)
def test_file_systems(tree: Path, tmp_path: Path, words: tuple[str, ...]):
    check(packed(made(tree, tmp_path / "fs", *words)), tree)


@pytest.mark.parametrize("how", [(), ("-c",), ("-o", "cluster_size=4096"), ("-o", "compat=0.10")])
def test_qcow2(tree: Path, plain: bytes, tmp_path: Path, how: tuple[str, ...]):
    (tmp_path / "fs").write_bytes(plain)
    words = ["qemu-img", "convert", *how, "-f", "raw", "-O", "qcow2", "fs", "disk"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    check(packed(tmp_path / "disk"), tree)


def test_a_qcow2_that_names_other_files(plain: bytes, tmp_path: Path):
    """Whatever it names is not opened: not even asked for."""
    (tmp_path / "fs").write_bytes(plain)
    made = {
        "backing": ["create", "-q", "-f", "qcow2", "-b", "fs", "-F", "raw", "backing"],
        "data": ["create", "-q", "-f", "qcow2", "-o", "data_file=there", "data", "8M"],
        "wide": ["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "wide", "8M"],
    }
    for name, words in made.items():
        subprocess.run(["qemu-img", *words], cwd=tmp_path, check=True, capture_output=True)
        (tmp_path / "fs").unlink(missing_ok=True)
        with pytest.raises(errors.Unsupported, match=r"another file|extended L2"):
            opened(str(tmp_path / name))


def gpt(plain: bytes, kinds: list[uuid.UUID]) -> bytes:
    """A disk with as many partitions, the file system in the last."""
    first = [MIB + index * MIB for index in range(len(kinds))]
    size = first[-1] + len(plain) + MIB
    disk = bytearray(size)
    disk[446:462] = struct.pack("<B3sB3sII", 0, b"", 0xEE, b"", 1, size // 512 - 1)
    disk[510:512] = b"\x55\xaa"
    disk[512:604] = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 65536, 92, 0, 0, 1, 0, 34, 0, b"", 2, 128, 128, 0)
    for index, (kind, start) in enumerate(zip(kinds, first, strict=True)):
        last = start + (len(plain) if index == len(kinds) - 1 else MIB) - 1
        entry = kind.bytes_le + bytes(16) + struct.pack("<QQ", start // 512, last // 512)
        disk[1024 + 128 * index : 1024 + 128 * index + len(entry)] = entry
    disk[first[-1] : first[-1] + len(plain)] = plain
    return bytes(disk)


def mbr(plain: bytes) -> bytes:
    """A swap, and a logical partition with the file system."""
    disk = bytearray(4 * MIB + len(plain))
    entry = struct.Struct("<B3sB3sII")
    disk[446:462] = entry.pack(0, b"", 0x82, b"", 2048, 2048)
    disk[462:478] = entry.pack(0, b"", 0x05, b"", 4096, (2 * MIB + len(plain)) // 512)
    disk[510:512] = b"\x55\xaa"
    at = 4096 * 512
    disk[at + 446 : at + 462] = entry.pack(0, b"", 0x83, b"", 2048, len(plain) // 512)
    disk[at + 510 : at + 512] = b"\x55\xaa"
    disk[at + MIB : at + MIB + len(plain)] = plain
    return bytes(disk)


def test_partitions(tree: Path, plain: bytes, tmp_path: Path):
    root = uuid.UUID(sorted(ROOTS)[0])
    for disk, number in ((gpt(plain, [LINUX, LINUX]), 2), (gpt(plain, [root]), 1), (mbr(plain), 5)):
        (tmp_path / "disk").write_bytes(disk)
        with opened(str(tmp_path / "disk")) as medium:
            assert partitions(medium)[-1].number == number
        check(packed(tmp_path / "disk"), tree)


def test_what_is_no_root(plain: bytes, tree: Path, tmp_path: Path):
    path = tmp_path / "disk"

    def refused(content: bytes, words: str, kind: type[errors.AtollError] = errors.Unsupported) -> None:
        path.write_bytes(content)
        with pytest.raises(kind, match=words):
            packed(path)

    refused(b"XFSB".ljust(MIB, b"\0"), r"the disk: xfs")
    refused(gpt(b"LUKS\xba\xbe".ljust(MIB, b"\0"), [LINUX, uuid.UUID(sorted(ROOTS)[0])]), "partition 2, is encrypted")
    refused(bytes(MIB), "the disk: unknown")
    refused(b"KDMV".ljust(MIB, b"\0"), "is a VMDK")
    refused(b"\x1f\x8b".ljust(MIB, b"\0"), "compressed")
    refused(b"", "too small", errors.Corrupt)
    refused(gpt(plain, [LINUX])[: 8 * MIB], "leads out of the disk", errors.Corrupt)
    unclean = bytearray(plain)
    unclean[1024 + 96] |= 4
    refused(bytes(unclean), "not unmounted cleanly")
    other = tmp_path / "other"
    (other / "boot").mkdir(parents=True)
    refused(made(other, tmp_path / "boot.img", "-t", "ext4", size=4 * MIB).read_bytes(), "no root file system")
    with pytest.raises(errors.InvalidArgument, match="not a regular file"):
        opened("/dev/null")


def test_a_file_larger_than_its_disk(tmp_path: Path):
    root = tmp_path / "tree"
    for name in ("etc", "usr"):
        (root / name).mkdir(parents=True)
    with open(root / "usr/bomb", "wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(errors.Corrupt, match="usr/bomb"):
        packed(made(root, tmp_path / "fs", "-t", "ext4", size=8 * MIB))


def test_damage_ends_in_words(tmp_path: Path, rng: random.Random, pytestconfig: pytest.Config):
    """Bytes of the metadata changed at random: an image or an error, never a fault or a loop."""
    small = tmp_path / "small"
    for name in ("etc", "usr", "usr/deep"):
        (small / name).mkdir(parents=True)
    (small / "usr/file").write_bytes(b"x" * 100_000)
    os.symlink(LONG, small / "etc/long")
    whole = made(small, tmp_path / "fs", "-t", "ext4", "-N", "64", size=2 * MIB).read_bytes()
    used = [at for at in range(1024, len(whole) - 64, 64) if any(whole[at : at + 64])]
    for _ in range(3000 if pytestconfig.getoption("full") else 100):
        disk = bytearray(whole)
        for _ in range(rng.choice((1, 4, 32))):
            disk[rng.choice(used) + rng.randrange(64)] = rng.choice((0, 1, 255, rng.randrange(256)))
        (tmp_path / "disk").write_bytes(disk)
        out = 0

        def take(data: bytes) -> None:
            nonlocal out
            out += len(data)

        try:
            archive.write(str(tmp_path / "disk"), take)
        except errors.AtollError:
            pass
        assert out < 8 * MIB
