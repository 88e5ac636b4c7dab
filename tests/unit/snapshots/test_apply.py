"""Applying layers: against the model, and every trick of the list of threats ("Images and archives" 1-7)."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.base import errors
from atoll.snapshots import apply, policy
from unit.snapshots import layer_model as model
from unit.snapshots.layer_model import Step

ROOT = os.geteuid() == 0
RULES = policy.for_map(rootless=True, single=True, bottom=False)
ROOT_RULES = policy.for_map(rootless=False, single=False, bottom=False)
needs_root = pytest.mark.skipif(not ROOT, reason="changes owners and makes devices")


def unpack(data: bytes, root: Path, rules: policy.ApplyPolicy = RULES, chunk: int = 1000) -> policy.ApplyResult:
    """Apply an archive to a fresh directory below `root`."""
    place = root / "fs"
    place.mkdir()
    return unpack_into(data, place, rules, chunk)


def unpack_into(data: bytes, place: Path, rules: policy.ApplyPolicy, chunk: int = 1000) -> policy.ApplyResult:
    source = io.BytesIO(data)
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    here = os.getcwd()
    try:
        return apply.apply(lambda: source.read(chunk), fd, rules)
    finally:
        os.chdir(here)
        os.close(fd)


def tar(fill: Callable[[tarfile.TarFile], object], fmt: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=fmt) as archive:
        fill(archive)
    return buffer.getvalue()


def member(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def guarded(tmp_path: Path):
    """A directory to unpack below, with a canary tree beside it that must not change."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "secret").write_text("untouched")
    before = snapshot(canary)
    inside = tmp_path / "store"
    inside.mkdir()
    yield inside
    assert snapshot(canary) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["canary", "store"]


def snapshot(folder: Path) -> list[tuple[object, ...]]:
    out = []
    for path in sorted([folder, *folder.rglob("*")]):
        info = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        out.append((str(path), info.st_mode, info.st_uid, info.st_nlink, info.st_mtime_ns, content))
    return out


names = st.lists(st.sampled_from(["a", "b", "c", "a\nb", "A", "é", ".x"]), min_size=1, max_size=3).map("/".join)
roots = st.sampled_from(["", "./", "/", "//"])
targets = st.one_of(
    names,
    st.sampled_from(
        [
            "/",
            "..",
            "../..",
            "../../canary",
            "../../../canary/secret",
            "/a",
            "/a/b",
            "b",
            "../b",
            ".",
            "/proc/self/cwd",
        ]
    ),
)
steps = st.one_of(
    st.builds(Step, st.just("file"), st.builds(str.__add__, roots, names), st.text("xyz", max_size=5)),
    st.builds(Step, st.just("dir"), st.builds(str.__add__, roots, names)),
    st.builds(Step, st.just("link"), names, targets),
    st.builds(Step, st.just("hard"), names, names),
    st.builds(Step, st.just("whiteout"), names),
    st.builds(Step, st.just("opaque"), names),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=12))
def test_any_layer_does_what_the_model_says(tmp_path_factory: pytest.TempPathFactory, program: list[Step]):
    top = tmp_path_factory.mktemp("layer")
    canary = top / "canary"
    canary.mkdir()
    (canary / "secret").write_text("untouched")
    before = snapshot(canary)
    place = top / "fs"
    place.mkdir()
    try:
        expected = model.describe(model.run(program))
    except model.Refused:
        expected = None
    if expected is None:
        with pytest.raises(errors.Corrupt):
            unpack_into(model.archive(program), place, RULES)
    else:
        unpack_into(model.archive(program), place, RULES)
        assert model.look(str(place), RULES.opaque_xattr) == expected
    assert snapshot(canary) == before
    assert sorted(p.name for p in top.iterdir()) == ["canary", "fs"]


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/../evil", "a/..", ".."])
def test_names_that_lead_out_are_refused(guarded: Path, name: str):
    with pytest.raises(errors.Corrupt, match="leads out"):
        unpack(tar(lambda t: member(t, name, b"x")), guarded)


def test_absolute_names_are_inside(guarded: Path):
    unpack(tar(lambda t: member(t, "/etc/evil", b"x")), guarded)
    assert (guarded / "fs/etc/evil").read_bytes() == b"x"


@pytest.mark.parametrize("target", ["../../canary", "/{top}/canary", "../../../../../../../../{top}/canary"])
def test_a_write_through_a_link_stays_inside(guarded: Path, target: str):
    outside = target.format(top=str(guarded.parent).strip("/"))

    def fill(t: tarfile.TarFile) -> None:
        member(t, "way", type=tarfile.SYMTYPE, linkname=outside)
        member(t, "way/secret", b"overwritten")

    with pytest.raises(errors.Corrupt):  # the target does not exist inside
        unpack(tar(fill), guarded)


def test_a_file_replaces_a_link_and_is_not_written_through_it(guarded: Path):
    def fill(t: tarfile.TarFile) -> None:
        member(t, "f", type=tarfile.SYMTYPE, linkname=str(guarded.parent / "canary/secret"))
        member(t, "f", b"mine")

    unpack(tar(fill), guarded)
    assert not (guarded / "fs/f").is_symlink()
    assert (guarded / "fs/f").read_bytes() == b"mine"


def test_a_hard_link_cannot_reach_out(guarded: Path):
    def fill(t: tarfile.TarFile) -> None:
        member(t, "way", type=tarfile.SYMTYPE, linkname="../../canary")
        member(t, "x", type=tarfile.LNKTYPE, linkname="way/secret")

    with pytest.raises(errors.Corrupt, match="hard link"):
        unpack(tar(fill), guarded)


def test_replacing_one_of_two_hard_links_leaves_the_other(guarded: Path):
    def fill(t: tarfile.TarFile) -> None:
        member(t, "one", b"first")
        member(t, "two", type=tarfile.LNKTYPE, linkname="one")
        member(t, "two", b"second")

    unpack(tar(fill), guarded)
    assert (guarded / "fs/one").read_bytes() == b"first"
    assert (guarded / "fs/two").read_bytes() == b"second"


def test_a_zero_device_is_stripped_and_overlay_attributes_too(guarded: Path):
    def fill(t: tarfile.TarFile) -> None:
        member(t, "hole", type=tarfile.CHRTYPE, devmajor=0, devminor=0)
        member(
            t,
            "d",
            type=tarfile.DIRTYPE,
            mode=0o755,
            pax_headers={
                "SCHILY.xattr.user.overlay.opaque": "y",
                "SCHILY.xattr.trusted.overlay.opaque": "y",
                "SCHILY.xattr.user.overlay.redirect": "/etc",
                "SCHILY.xattr.user.containers.override_stat": "0:0:4755:file",
                "SCHILY.xattr.security.selinux": "label",
                "SCHILY.xattr.user.kept": "yes",
            },
        )

    result = unpack(tar(fill), guarded)
    assert result.stripped == 6
    assert not (guarded / "fs/hole").exists()
    assert os.listxattr(guarded / "fs/d") == ["user.kept"]


@pytest.mark.parametrize("name", ["a/.wh.", "a/.wh..", "a/.wh...", ".wh..."])
def test_whiteouts_of_nothing_and_of_the_parent_are_refused(guarded: Path, name: str):
    with pytest.raises(errors.Corrupt, match="names no entry"):
        unpack(tar(lambda t: member(t, name)), guarded)


def test_whiteouts_mean_nothing_at_the_bottom(guarded: Path):
    def fill(t: tarfile.TarFile) -> None:
        member(t, "a/.wh.b")
        member(t, "a/.wh..wh..opq")
        member(t, ".wh..wh..opq")

    result = unpack(tar(fill), guarded, RULES.replace(bottom=True))
    assert not result.opaque
    assert not (guarded / "fs/a").exists() or os.listdir(guarded / "fs/a") == []


def test_an_opaque_root_is_reported(guarded: Path):
    assert unpack(tar(lambda t: member(t, "./.wh..wh..opq")), guarded).opaque


def test_other_marks_of_aufs_mean_nothing(guarded: Path):
    def fill(t: tarfile.TarFile) -> None:
        member(t, ".wh..wh.aufs", b"data")
        member(t, ".wh..wh.plnk/66.77", b"data")

    unpack(tar(fill), guarded)
    assert os.listdir(guarded / "fs") == []


def test_nothing_lies_below_a_whiteout(guarded: Path):
    with pytest.raises(errors.Corrupt, match="below a whiteout"):
        unpack(tar(lambda t: member(t, "a/.wh.b/c", b"x")), guarded)


def test_repeated_opaque_whiteouts_cost_little(guarded: Path):
    """CVE-2026-95838: each one used to walk all that the directory held."""

    def fill(t: tarfile.TarFile) -> None:
        for number in range(2000):
            member(t, f"d/{number}")
        for _ in range(2000):
            member(t, "d/.wh..wh..opq")

    started = time.process_time()
    unpack(tar(fill), guarded)
    assert time.process_time() - started < 5


def test_replacing_a_directory_again_and_again_costs_little(guarded: Path):
    def fill(t: tarfile.TarFile) -> None:
        for number in range(300):
            member(t, f"far/{number}", type=tarfile.DIRTYPE, mode=0o755)
        for _ in range(1500):
            member(t, "x", type=tarfile.DIRTYPE, mode=0o755)
            member(t, "x", b"")

    started = time.process_time()
    unpack(tar(fill), guarded)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "limits", [{"max_entries": 10}, {"max_bytes": 1000}, {"max_apparent": 1000}, {"max_seconds": -1.0}]
)
def test_budgets(guarded: Path, limits: dict[str, float]):
    def fill(t: tarfile.TarFile) -> None:
        for number in range(2000):
            member(t, str(number), b"x" * 100)

    with pytest.raises(errors.Exhausted):
        unpack(tar(fill), guarded, RULES.replace(**limits))


def test_modes_times_and_directory_times(guarded: Path):
    def fill(t: tarfile.TarFile) -> None:
        member(t, "d", type=tarfile.DIRTYPE, mode=0o1770, mtime=1000)
        member(t, "d/suid", b"x", mode=0o4711, mtime=2000)
        member(t, "d/link", type=tarfile.SYMTYPE, linkname="nowhere", mtime=3000)
        member(t, "g", type=tarfile.DIRTYPE, mode=0o2755, mtime=4000.25)
        member(t, "g/inner", mtime=-5)
        member(t, "none", mode=0)
        member(t, "./", type=tarfile.DIRTYPE, mode=0o711, mtime=77)

    unpack(tar(fill), guarded)
    fs = guarded / "fs"
    seen = {n: (stat.S_IMODE((fs / n).lstat().st_mode), (fs / n).lstat().st_mtime) for n in ("d", "d/suid", "g")}
    assert seen == {"d": (0o1770, 1000), "d/suid": (0o4711, 2000), "g": (0o2755, 4000.25)}
    assert (fs / "d/link").lstat().st_mtime == 3000
    assert (fs / "g/inner").lstat().st_mtime == -5
    assert stat.S_IMODE((fs / "none").lstat().st_mode) == 0
    assert (stat.S_IMODE(fs.lstat().st_mode), fs.lstat().st_mtime) == (0o711, 77)


def test_an_inherited_setgid_bit_does_not_spread(tmp_path: Path):
    place = tmp_path / "fs"
    place.mkdir()
    place.chmod(0o2777)
    unpack_into(tar(lambda t: member(t, "d", type=tarfile.DIRTYPE, mode=0o755)), place, RULES)
    assert stat.S_IMODE((place / "d").stat().st_mode) == 0o755


def test_owners_are_recorded_where_they_cannot_be_had(guarded: Path):
    def fill(t: tarfile.TarFile) -> None:
        member(t, "f", b"x", mode=0o4755, uid=33, gid=8)
        member(t, "d", type=tarfile.DIRTYPE, mode=0o700, uid=1000, gid=1000)
        member(t, "tty", type=tarfile.CHRTYPE, mode=0o620, gid=5, devmajor=4, devminor=1)
        member(t, "own", b"")

    result = unpack(tar(fill), guarded)
    fs = guarded / "fs"
    name = "user.containers.override_stat"
    assert os.getxattr(fs / "f", name) == b"33:8:4755:file"
    assert os.getxattr(fs / "d", name) == b"1000:1000:0700:dir"
    assert os.getxattr(fs / "tty", name) == b"0:5:0620:char-4-1"
    assert os.listxattr(fs / "own") == []
    assert result.recorded == 1
    assert (fs / "f").stat().st_uid == os.geteuid()


@needs_root
def test_owners_devices_and_capabilities_as_root(guarded: Path):
    capability = b"\x01\x00\x00\x02\x00\x20\x00\x00" + bytes(12)

    def fill(t: tarfile.TarFile) -> None:
        member(t, "f", b"x", mode=0o6755, uid=33, gid=8)
        member(t, "l", type=tarfile.SYMTYPE, linkname="f", uid=33, gid=8)
        member(t, "h", type=tarfile.LNKTYPE, linkname="f")
        member(t, "null", type=tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)
        member(t, "disk", type=tarfile.BLKTYPE, mode=0o660, gid=6, devmajor=8, devminor=0)
        member(t, "fifo", type=tarfile.FIFOTYPE, mode=0o600, uid=7)
        text = capability.decode("latin-1")
        assert text.isascii()
        member(t, "ping", b"x", mode=0o755, pax_headers={"SCHILY.xattr.security.capability": text})

    unpack(tar(fill), guarded, ROOT_RULES)
    fs = guarded / "fs"
    info = (fs / "f").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode), info.st_nlink) == (33, 8, 0o6755, 2)
    assert (fs / "l").lstat().st_uid == 33
    assert (fs / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_IMODE((fs / "null").stat().st_mode) == 0o666
    assert stat.S_ISBLK((fs / "disk").stat().st_mode)
    assert stat.S_ISFIFO((fs / "fifo").stat().st_mode)
    assert (fs / "fifo").stat().st_uid == 7
    assert os.getxattr(fs / "ping", "security.capability") == capability


def test_long_names_of_both_kinds(guarded: Path):
    long = "/".join(["n" * 80] * 6)
    for fmt, top in ((tarfile.GNU_FORMAT, "gnu"), (tarfile.PAX_FORMAT, "pax")):

        def fill(t: tarfile.TarFile, top: str = top) -> None:
            member(t, f"{top}/{long}", b"x")
            member(t, f"{top}/link", type=tarfile.SYMTYPE, linkname="t" * 300)

        place = guarded / f"fs{top}"
        place.mkdir()
        unpack_into(tar(fill, fmt), place, RULES)
        assert (place / top / long).read_bytes() == b"x"
        assert os.readlink(place / top / "link") == "t" * 300


def test_names_the_kernel_refuses(guarded: Path):
    with pytest.raises(errors.Corrupt, match="too long"):
        unpack(tar(lambda t: member(t, "n" * 256)), guarded)


def test_implied_directories_are_listed_until_described(guarded: Path):
    def fill(t: tarfile.TarFile) -> None:
        member(t, "a/b/c", b"x")
        member(t, "a", type=tarfile.DIRTYPE, mode=0o700)

    assert unpack(tar(fill), guarded).implicit == ("a/b",)
    assert stat.S_IMODE((guarded / "fs/a").stat().st_mode) == 0o700


def test_a_directory_and_its_whiteout_in_one_layer_hide_what_is_below(guarded: Path):
    for order in (("a/.wh.d", "a/d/x"), ("a/d/x", "a/.wh.d")):
        place = guarded / f"fs{order[0][2:4]}"
        place.mkdir()
        unpack_into(tar(lambda t, o=order: [member(t, name) for name in o]), place, RULES)
        assert "user.overlay.opaque" in os.listxattr(place / "a/d")
        assert (place / "a/d/x").exists()


def test_nothing_of_the_process_is_left_changed(guarded: Path):
    umask = os.umask(0o027)
    fds = len(os.listdir("/proc/self/fd"))
    try:
        unpack(tar(lambda t: [member(t, f"{n % 7}/{n}/f") for n in range(700)]), guarded)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(umask)
    assert len(os.listdir("/proc/self/fd")) == fds
