"""Trees into archives and out of them, and where a copy goes, without a container."""

from __future__ import annotations

import io
import os
import stat
import tarfile

import pytest

from atoll.base import errors
from atoll.linux.root import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS
from atoll.runtime.files import destination, pack, unpack
from atoll.runtime.files.destination import Source

OURS = unpack.Rules(owner=(-1, -1), resolve=RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)


def make(folder, *names):
    """Directories for names with a final slash, links for `a -> b`, files with their name as content."""
    for name in names:
        if " -> " in name:
            link, _, target = name.partition(" -> ")
            os.symlink(target, folder / link)
        elif name.endswith("/"):
            (folder / name).mkdir(parents=True)
        else:
            (folder / name).write_text(name)


def seen(folder):
    """Everything below, in the words of `make`."""
    found = []
    for place, folders, names in os.walk(folder):
        for name in sorted([*folders, *names]):
            path = os.path.join(place, name)
            shown = os.path.relpath(path, folder)
            if os.path.islink(path):
                found.append(f"{shown} -> {os.readlink(path)}")
            else:
                found.append(shown + "/" if os.path.isdir(path) else shown)
    return sorted(found)


def packed(folder, name, arcname, **how):
    out = io.BytesIO()
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        pack.pack(out, fd, name, arcname=arcname, **how)
    finally:
        os.close(fd)
    return out.getvalue()


def unpacked(data, folder, rules=OURS):
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        return unpack.unpack(io.BytesIO(data), fd, rules)
    finally:
        os.close(fd)


def archive(*entries, mode="w", **fields):
    """An archive of (name, type, linkname or content)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, kind, more in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o755 if kind == tarfile.DIRTYPE else 0o644
            for key, value in fields.items():
                setattr(info, key, value)
            data = b""
            if kind == tarfile.REGTYPE:
                data = more.encode()
                info.size = len(data)
            else:
                info.linkname = more
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_there_and_back(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    make(source, "tree/", "tree/sub/", "tree/sub/file", "tree/link -> sub/file", "tree/out -> /etc/passwd")
    os.link(source / "tree/sub/file", source / "tree/hard")
    os.mkfifo(source / "tree/fifo")
    os.chmod(source / "tree/sub/file", 0o4751)
    os.utime(source / "tree/sub/file", (5, 5))
    os.utime(source / "tree/sub", (7, 7))
    target.mkdir()
    data = packed(source, "tree", "tree")
    assert unpacked(data, target).entries == 7
    assert seen(target) == seen(source)
    info = os.stat(target / "tree/sub/file")
    assert (stat.S_IMODE(info.st_mode), info.st_mtime, info.st_nlink) == (0o4751, 5, 2)
    assert os.stat(target / "tree/sub").st_mtime == 7
    assert stat.S_ISFIFO(os.stat(target / "tree/fifo").st_mode)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_compressed_archives(tmp_path, mode):
    unpacked(archive(("a", tarfile.REGTYPE, "x"), mode=mode), tmp_path)
    assert (tmp_path / "a").read_text() == "x"


@pytest.mark.parametrize("data", [b"", b"not a tar archive at all" * 100, archive(("a", tarfile.REGTYPE, "x"))[:600]])
def test_what_is_no_archive(tmp_path, data):
    with pytest.raises(errors.InvalidArgument):
        unpacked(data, tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/../x", "a/.."])
def test_names_that_lie_outside_are_refused(tmp_path, name):
    with pytest.raises(errors.InvalidArgument, match="outside"):
        unpacked(archive((name, tarfile.REGTYPE, "x")), tmp_path)


def test_absolute_names_lie_inside(tmp_path):
    unpacked(archive(("/a/b", tarfile.REGTYPE, "x")), tmp_path)
    assert seen(tmp_path) == ["a/", "a/b"]


def test_nothing_is_written_through_a_link(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    make(tmp_path, "in/", "out/", "out/kept")
    unpacked(archive(("f", tarfile.SYMTYPE, str(outside / "kept")), ("f", tarfile.REGTYPE, "new")), inside)
    assert (inside / "f").read_text() == "new"
    for target in (str(outside), "../out"):
        with pytest.raises(OSError, match=r"."):
            unpacked(archive(("d", tarfile.SYMTYPE, target), ("d/x", tarfile.REGTYPE, "x")), inside)
        with pytest.raises(OSError, match=r"."):
            unpacked(archive(("h", tarfile.LNKTYPE, "d/kept")), inside)
        os.unlink(inside / "d")
    assert seen(outside) == ["kept"]
    assert (outside / "kept").read_text() == "out/kept"


def test_kinds_do_not_replace_one_another(tmp_path):
    make(tmp_path, "d/", "f")
    with pytest.raises(errors.Conflict, match="directory 'd' with a non-directory"):
        unpacked(archive(("d", tarfile.REGTYPE, "x")), tmp_path)
    with pytest.raises(errors.Conflict, match="non-directory 'f' with a directory"):
        unpacked(archive(("f", tarfile.DIRTYPE, "")), tmp_path)
    os.chmod(tmp_path / "d", 0o700)
    unpacked(archive(("d", tarfile.DIRTYPE, "")), tmp_path)
    assert stat.S_IMODE(os.stat(tmp_path / "d").st_mode) == 0o700, "a directory that was there keeps its rights"


def test_a_file_that_shrinks_is_filled_with_zeros(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    reader = pack._Exactly(fd, 6)
    assert reader.read(2) + reader.read(10) == b"abc\0\0\0"
    os.close(fd)


F, D, C = Source(name="s", directory=False), Source(name="s", directory=True), None
CONTENT = Source(name="s", directory=True, contents=True)


@pytest.mark.parametrize(
    ("source", "path", "expected"),
    [
        (F, "dir", ("dir", None)),
        (F, "dir/", ("dir", None)),
        (F, "file", (".", "file")),
        (F, "new", (".", "new")),
        (F, "new/", errors.NotFound),
        (F, "no/new", errors.NotFound),
        (F, "file/", errors.Conflict),
        (F, "to-dir", ("dir", None)),
        (F, "to-file", (".", "file")),
        (F, "dangling", ("dir", "absent")),
        (F, "loop", OSError),
        (D, "dir", ("dir", None)),
        (D, "new", (".", "new")),
        (D, "new/", (".", "new")),
        (D, "file", errors.Conflict),
        (D, "no/new", errors.NotFound),
        (CONTENT, "dir", ("dir", None)),
        (CONTENT, "new", ("new", None)),
        (CONTENT, "file", errors.Conflict),
        (C, "dir", ("dir", None)),
        (C, "file", errors.InvalidArgument),
        (C, "new", errors.NotFound),
    ],
)
def test_dockers_table(tmp_path, monkeypatch, source, path, expected):
    make(tmp_path, "dir/", "file", "to-dir -> dir", "to-file -> file", "dangling -> dir/absent", "loop -> loop")
    monkeypatch.chdir(tmp_path)

    def opener(name, flags):
        return os.open(name, flags)

    if isinstance(expected, type):
        with pytest.raises(expected):
            destination.settle(opener, path, source)
        return
    fd, name = destination.settle(opener, path, source)
    try:
        assert os.path.samestat(os.fstat(fd), os.stat(tmp_path / expected[0]))
        assert name == expected[1]
    finally:
        os.close(fd)
