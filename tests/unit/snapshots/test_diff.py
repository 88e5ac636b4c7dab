from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile

import pytest

from atoll.snapshots import apply, diff
from atoll.snapshots.policy import ApplyPolicy

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="makes device nodes and owners: run as root")


def tree(top, **content):
    """`a__b="text"` is a file a/b; None a directory."""
    os.makedirs(top, exist_ok=True)
    for name, text in content.items():
        path = os.path.join(top, name.replace("__", "/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if text is None:
            os.makedirs(path, exist_ok=True)
        else:
            with open(path, "w") as file:
                file.write(text)
    return top


def opened(paths):
    return [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in paths]


@pytest.fixture
def of(tmp_path):
    held = []

    def look(*names, **how):
        fds = opened([tmp_path / name for name in names])
        held.extend(fds)
        return [(c.kind, c.path) for c in diff.changes(fds[0], fds[1:], **how)]

    yield look
    for fd in held:
        os.close(fd)


def layer(path, lower=(), **how):
    out = io.BytesIO()
    fds = opened([path, *lower])
    try:
        facts = diff.write_layer(fds[0], out.write, fds[1:], **how)
    finally:
        for fd in fds:
            os.close(fd)
    return out.getvalue(), facts


def whiteout(path):
    os.mknod(path, stat.S_IFCHR, 0)


@root_only
def test_added_changed_deleted_and_the_directories_above(tmp_path, of):
    tree(tmp_path / "low", etc__passwd="x", etc__gone="y", var__log=None)
    upper = tree(tmp_path / "up", etc__passwd="new", srv__a__b="1")
    whiteout(upper / "etc/gone")
    whiteout(upper / "etc/never-was")
    assert of("up", "low") == [
        ("C", "/etc"), ("D", "/etc/gone"), ("C", "/etc/passwd"),
        ("A", "/srv"), ("A", "/srv/a"), ("A", "/srv/a/b"),
    ]  # fmt: skip


def test_a_copied_up_directory_alone_is_no_change(tmp_path, of):
    low, up = tree(tmp_path / "low", etc__a="x"), tree(tmp_path / "up", etc=None)
    info = os.stat(low / "etc")
    os.utime(up / "etc", ns=(info.st_mtime_ns, info.st_mtime_ns))
    assert of("up", "low") == []
    os.chmod(up / "etc", 0o700)
    assert of("up", "low") == [("C", "/etc")]


@root_only
def test_an_opaque_directory_deletes_what_was_below(tmp_path, of):
    tree(tmp_path / "low2", d__old="1", d__both="1", d__white="1")
    tree(tmp_path / "low1", d__new="1")
    whiteout(tmp_path / "low1/d/white")
    up = tree(tmp_path / "up", d__both="2")
    os.setxattr(up / "d", "trusted.overlay.opaque", b"y")
    assert of("up", "low1", "low2") == [("C", "/d"), ("A", "/d/both"), ("D", "/d/new"), ("D", "/d/old")]


@root_only
def test_lower_layers_hide_one_another(tmp_path, of):
    tree(tmp_path / "low2", a="1", d__x="1")
    low1 = tree(tmp_path / "low1")
    whiteout(low1 / "a")
    tree(low1, d="now a file")
    tree(tmp_path / "up", a="2", d__x="2")
    assert of("up", "low1", "low2") == [("A", "/a"), ("C", "/d"), ("A", "/d/x")]


def test_places_of_mounts_are_left_out_while_empty(tmp_path, of):
    tree(tmp_path / "low")
    tree(tmp_path / "up", etc__hosts="", dev=None, proc__x="full")
    skip = frozenset(("/etc/hosts", "/dev", "/proc"))
    assert of("up", "low", skip=skip) == [("A", "/etc"), ("A", "/proc"), ("A", "/proc/x")]


def test_renamed_directories_are_refused(tmp_path, of):
    up = tree(tmp_path / "up", d=None)
    os.setxattr(up / "d", "user.overlay.redirect", b"old")
    with pytest.raises(Exception, match="renamed as a whole"):
        of("up")


def test_the_same_tree_is_the_same_bytes(tmp_path):
    one = tree(tmp_path / "one", b="1", a__c="2")
    two = tree(tmp_path / "two", a__c="2", b="1")
    for top in (one, two):
        for name in ("a", "a/c", "b"):
            os.utime(top / name, (1000, 1000))
    data, facts = layer(one)
    assert data == layer(two)[0]
    assert facts.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert (facts.size, facts.entries, facts.data) == (len(data), 3, 2)
    os.utime(two / "b", (2000, 2000))
    assert layer(two)[0] != data
    assert layer(two, latest=1000)[0] == data


def test_tarfile_reads_what_it_writes(tmp_path):
    long = "x" * 120 + "/" + "y" * 130
    up = tree(tmp_path / "up", file="content")
    os.makedirs(up / long)
    os.symlink("z" * 150, up / "link")
    os.link(up / "file", up / "second")
    os.setxattr(up / "file", "user.mine", b"\x00\xff=\n")
    os.setxattr(up / "file", "user.overlay.x", b"not this")
    with open(up / "big", "wb") as big:
        big.seek(3 << 20)
        big.write(b"end")
    os.mkfifo(up / "fifo")
    with open(os.fsencode(up) + b"/\xff-name", "w"):
        pass
    data, _ = layer(up)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {one.name: one for one in tar}
        assert found[long].isdir()
        assert found["link"].linkname == "z" * 150
        assert (found["second"].type, found["second"].linkname) == (tarfile.LNKTYPE, "file")
        assert "SCHILY.xattr.user.mine" in found["file"].pax_headers
        assert not any("overlay" in key for key in found["file"].pax_headers)
        assert found["fifo"].isfifo()
        body = tar.extractfile("big").read()
        assert body == bytes(3 << 20) + b"end"
        assert "\udcff-name" in found


@root_only
def test_applied_again_it_is_the_same_upper(tmp_path):
    """The layer of an upper, applied, is that upper: whiteouts, opaque marks, owners, modes, links, attributes."""
    low = tree(tmp_path / "low", gone="1", d__old="1")
    up = tree(tmp_path / "up", file="content", d__new="1")
    whiteout(up / "gone")
    os.setxattr(up / "d", "trusted.overlay.opaque", b"y")
    os.setxattr(up / "file", "user.mine", b"1")
    os.chown(up / "file", 70000, 3_000_000_000)
    os.chmod(up / "file", 0o4711)
    os.link(up / "file", up / "second")
    os.mknod(up / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    data, facts = layer(up, [low])
    again = tmp_path / "again"
    again.mkdir()
    fd = os.open(again, os.O_RDONLY | os.O_DIRECTORY)
    chunks = iter([data, b""])
    apply.apply(lambda: next(chunks), fd, ApplyPolicy())
    os.close(fd)
    assert layer(again, [low])[1] == facts
    assert stat.S_ISCHR(os.lstat(again / "gone").st_mode)
    assert os.getxattr(again / "d", "trusted.overlay.opaque") == b"y"
    info = os.stat(again / "file")
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode), info.st_nlink) == (70000, 3_000_000_000, 0o4711, 2)


def test_what_no_layer_holds_is_left_out(tmp_path):
    import socket

    up = tree(tmp_path / "up", **{".wh.evil": "x", "fine": "y"})
    here = os.getcwd()
    os.chdir(up)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("sock")
    finally:
        os.chdir(here)
    data, facts = layer(up)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["fine"]
    assert facts.omitted == 2


def test_owners_noted_by_a_user_with_one_id(tmp_path):
    up = tree(tmp_path / "up", file="x", null="")
    os.setxattr(up / "file", "user.containers.override_stat", b"5:6:2755:file")
    os.setxattr(up / "null", "user.containers.override_stat", b"0:0:0666:char-1-3")
    with tarfile.open(fileobj=io.BytesIO(layer(up)[0])) as tar:
        file, null = tar.getmember("file"), tar.getmember("null")
    assert (file.uid, file.gid, file.mode) == (5, 6, 0o2755)
    assert (null.ischr(), null.devmajor, null.devminor) == (True, 1, 3)


def test_owners_through_a_map(tmp_path):
    up = tree(tmp_path / "up", file="x")
    data, _ = layer(up, inside=lambda uid, gid: (uid + 7, gid + 8))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        one = tar.getmember("file")
    assert (one.uid, one.gid) == (os.geteuid() + 7, os.getegid() + 8)


def test_a_whole_tree_keeps_every_name(tmp_path):
    top = tree(tmp_path / "top", **{".wh.kept": "x"})
    out = io.BytesIO()
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    diff.write_tree(fd, out.write)
    os.close(fd)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        assert tar.getnames() == [".", ".wh.kept"]


def test_a_volume_keeps_holes_and_names_and_has_no_devices(tmp_path):
    """Written and applied it is the same: its holes, hard links, names that are marks in layers."""
    top = tree(tmp_path / "top", **{".wh.kept": "x", "d__.wh..wh..opq": "y", "empty": ""})
    holes = {"middle": [(0, 4096), (1 << 20, 10)], "end": [(0, 4096)], "start": [(2 << 20, 1)], "none": []}
    for name, pieces in holes.items():
        with open(top / name, "wb") as stream:
            for offset, count in pieces:
                stream.seek(offset)
                stream.write(bytes([65 + count % 7]) * count)
            stream.truncate(3 << 20)
    long = "n" * 200
    os.rename(top / "middle", top / long)
    os.setxattr(top / long, "user.mine", b"\x00=")
    os.link(top / long, top / "second")
    if os.geteuid() == 0:
        os.mknod(top / "disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
        os.link(top / "disk", top / "disk2")
    out = io.BytesIO()
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    facts = diff.write_tree(fd, out.write, volume=True)
    os.close(fd)
    assert len(out.getvalue()) < 200_000
    assert facts.omitted == (2 if os.geteuid() == 0 else 0)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:  # another reader's opinion
        assert archive.getmember(long).size == 3 << 20
        assert archive.extractfile("end").read() == b"B" * 4096 + bytes((3 << 20) - 4096)
        assert archive.extractfile("none").read() == bytes(3 << 20)
        assert "disk" not in archive.getnames()
    again = tmp_path / "again"
    again.mkdir()
    fd = os.open(again, os.O_RDONLY | os.O_DIRECTORY)
    chunks = iter([out.getvalue(), b""])
    apply.apply(lambda: next(chunks), fd, ApplyPolicy(plain=True, bottom=True, devices="drop"))
    os.close(fd)
    for name in (*sorted(holes.keys() - {"middle"}), long, ".wh.kept", "d/.wh..wh..opq", "empty"):
        assert (again / name).read_bytes() == (top / name).read_bytes(), name
        assert (again / name).stat().st_blocks == (top / name).stat().st_blocks, name
    assert os.path.samefile(again / long, again / "second")
    assert os.getxattr(again / long, "user.mine") == b"\x00="


def test_devices_of_a_hostile_volume_are_not_made(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in (("disk", tarfile.BLKTYPE), ("null", tarfile.CHRTYPE), ("gone", tarfile.CHRTYPE)):
            one = tarfile.TarInfo(name)
            one.type, one.devmajor, one.devminor = kind, (0 if name == "gone" else 8), 0
            archive.addfile(one)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    chunks = iter([buffer.getvalue(), b""])
    found = apply.apply(lambda: next(chunks), fd, ApplyPolicy(plain=True, bottom=True, devices="drop"))
    os.close(fd)
    assert os.listdir(tmp_path) == []
    assert found.stripped == 3


@root_only
def test_of_a_container_of_the_store(tmp_path):
    from atoll.snapshots.store import Snapshots

    snapshots = Snapshots(str(tmp_path / "store"))
    staging = snapshots.prepare_layer("sha256:" + "a" * 64)
    tree(staging.fs, etc__a="1")
    snapshots.commit_layer(staging, "sha256:" + "a" * 64, diff_id="sha256:" + "b" * 64, entries=1, size=1)
    writable = snapshots.create_writable("one")
    tree(writable.upper, etc__b="2")
    chain = ["sha256:" + "a" * 64]
    assert [(c.kind, c.path) for c in diff.changes_of(snapshots, "one", chain)] == [("C", "/etc"), ("A", "/etc/b")]
    with open(tmp_path / "out.tar", "w+b") as out:
        facts = diff.layer_of(snapshots, "one", chain, out.fileno())
        out.seek(0)
        assert "sha256:" + hashlib.sha256(out.read()).hexdigest() == facts.diff_id
