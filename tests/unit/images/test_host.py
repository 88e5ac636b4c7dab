"""The plan of the `host` image for machines that are made up: what is shown, hidden, taken apart."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from atoll.images import host, host_view
from atoll.images.host_view import HostView
from atoll.spec import idmap
from atoll.spec.rootfs import Bind, Detach, Directory, Overlay, RootPlan, Symlink, Tmpfs, Whiteout

D, F, L = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK


class Machine(HostView):
    """A machine from a table of path → mode (and owner)."""

    def __init__(self, files: dict[str, int | tuple[int, int]], mounts: dict[str, str] | None = None) -> None:
        self.files = {p: m if isinstance(m, tuple) else (m, 0) for p, m in files.items()}
        self._mounts = mounts or {}

    def mounts(self) -> dict[str, str]:
        return dict(self._mounts)

    def listdir(self, path: str) -> list[str]:
        return [p.rpartition("/")[2] for p in self.files if p.rpartition("/")[0] == path.rstrip("/") and p != "/"]

    def lstat(self, path: str) -> os.stat_result | None:
        if path not in self.files:
            return None
        mode, owner = self.files[path]
        return os.stat_result((mode, 0, 0, 1, owner, owner, 0, 0, 0, 0))

    def readlink(self, path: str) -> str:
        return "usr" + path

    def directories(self, path: str) -> list[tuple[str, int]]:
        found = [(name, self.files[f"{path}/{name}"][0]) for name in self.listdir(path)]
        return [(name, mode) for name, mode in found if stat.S_ISDIR(mode)]

    def private(self, path: str, owner: int, depth: int) -> tuple[list[str], bool]:
        inside = [p for p in self.files if p.startswith(path + "/")]
        return [p[len(path) + 1 :] for p in inside if self.files[p][1] == owner and not self.files[p][0] & 4], True


BASE: dict[str, int | tuple[int, int]] = {
    "/bin": L | 0o777,
    "/usr": D | 0o755,
    "/usr/bin": D | 0o755,
    "/etc": D | 0o755,
    "/etc/ssh": D | 0o755,
    "/etc/private": D | 0o700,
    "/root": D | 0o700,
    "/root/work": D | 0o755,
    "/home": D | 0o755,
    "/home/u": (D | 0o700, 1000),
    "/home/u/p": (D | 0o755, 1000),
    "/home/u/p/.env": (F | 0o600, 1000),
    "/home/u/p/.ssh": (D | 0o755, 1000),
    "/home/u/p/src": (D | 0o755, 1000),
    "/srv": D | 0o755,
    "/srv/closed": D | 0o700,
    "/srv/closed/open": D | 0o755,
    "/srv/mine": (F | 0o600, 1000),
    "/lost+found": D | 0o700,
    "/vmlinuz": F | 0o644,
    "/swapfile": F | 0o600,
    "/tmp": D | 0o1777,
    "/tmp/x": D | 0o755,
    "/run": D | 0o755,
    "/proc": D | 0o555,
    "/sys": D | 0o555,
    "/dev": D | 0o755,
}
RANGE = idmap.RootlessMap(
    uid_map=(idmap.IdMap(inside=0, outside=100000, count=65536),),
    gid_map=(idmap.IdMap(inside=0, outside=100000, count=65536),),
)


@pytest.fixture(autouse=True)
def no_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_view, "homes", lambda: ("/root", "/home/u"))


def plan(
    cwd: str = "/",
    extra: dict[str, int | tuple[int, int]] | None = None,
    maps: idmap.RootlessMap = RANGE,
    mounts: dict[str, str] | None = None,
    hide: tuple[str, ...] = (),
) -> host.HostPlan:
    return host.plan(cwd=cwd, uid=0, idmap=maps, hide=hide, view=Machine({**BASE, **(extra or {})}, mounts))


def overlays(one: host.HostPlan) -> dict[str, Overlay]:
    return {s.target: s for s in one.root.steps if isinstance(s, Overlay)}


def whited(one: host.HostPlan) -> set[str]:
    """Hidden paths as the container would name them."""
    tops = {s.upper.removeprefix("root:"): target for target, s in overlays(one).items() if s.upper}
    found = set()
    for step in one.root.steps:
        if isinstance(step, Whiteout):
            top = next(t for t in tops if step.target.startswith(t + "/"))
            found.add(tops[top] + step.target[len(top) :])
    return found


def test_one_overlay_for_each_open_directory():
    one = plan()
    assert set(overlays(one)) == {"/usr", "/etc", "/srv"}
    assert overlays(one)["/usr"].lower == ("/usr",)
    steps = one.root.steps
    assert steps[0] == Tmpfs(target="/", mode=0o755, size=16 << 20)
    assert steps[-1] == Detach(target=host.SCRATCH)
    assert Symlink(target="/bin", link="usr/bin") in steps
    assert Bind(source="/vmlinuz", target="/vmlinuz", read_only=True, recursive=False, optional=True) in steps
    assert not any(getattr(s, "source", "") == "/swapfile" for s in steps)
    for closed in ("/root", "/home", "/lost+found"):
        assert closed in {s.target for s in steps if isinstance(s, Directory)}
    for own in ("/tmp", "/run"):
        assert own in {s.target for s in steps if isinstance(s, Tmpfs)}
    assert RootPlan.from_json(one.root.to_json()) == one.root


def test_hidden_places_inside_an_overlay_are_whited_out():
    one = plan(hide=("/srv/closed/open", "/usr/absent"), extra={"/srv/store": D | 0o755})
    assert whited(one) == {"/etc/ssh", "/srv/closed/open"}
    assert "/srv/store" in whited(plan(hide=("/srv/store",), extra={"/srv/store": D | 0o755}))


def test_new_entries_go_into_open_directories_only():
    made = {s.target for s in plan().root.steps if isinstance(s, Directory)}
    tops = {target: s.upper.removeprefix("root:") for target, s in overlays(plan()).items() if s.upper}
    assert f"{tops['/usr']}/bin" in made
    assert f"{tops['/etc']}/private" not in made
    assert f"{tops['/etc']}/ssh" not in made


def test_the_current_directory_below_a_closed_home():
    one = plan("/home/u/p")
    assert one.working_dir == "/home/u/p"
    assert one.config.config.working_dir == "/home/u/p"
    assert overlays(one)["/home/u/p"].lower == ("root:/home/u/p",)
    order = [type(s).__name__ for s in one.root.steps if getattr(s, "target", "") == "/home/u/p"]
    assert order == ["Bind", "Overlay"]
    assert whited(one) >= {"/home/u/p/.ssh"}
    assert not one.notes


@pytest.mark.parametrize("home", ["/home/u", "/root", "/"])
def test_a_home_itself_is_not_shown(home: str):
    one = plan(home)
    assert one.working_dir == "/"
    assert home not in overlays(one)


def test_a_current_directory_in_tmp_comes_after_the_tmpfs():
    steps = plan("/tmp/x").root.steps
    tmp = next(i for i, s in enumerate(steps) if isinstance(s, Tmpfs) and s.target == "/tmp")
    here = next(i for i, s in enumerate(steps) if isinstance(s, Overlay) and s.target == "/tmp/x")
    assert tmp < here


def test_a_way_through_a_closed_directory():
    one = plan("/srv/closed/open")
    assert one.working_dir == "/srv/closed/open"
    assert "/srv/closed" in whited(one)


@pytest.mark.parametrize("cwd", ["/srv/closed", "/etc/ssh", "/proc/1", "/dev/shm", "/absent"])
def test_what_is_not_shown_is_said(cwd: str):
    one = plan(cwd)
    assert one.working_dir == "/"
    assert len(one.notes) == 1
    assert cwd in one.notes[0]


def test_a_directory_with_mounts_below_is_taken_apart():
    files: dict[str, int | tuple[int, int]] = {
        "/srv/disk": D | 0o755,
        "/srv/plain": D | 0o755,
        "/srv/file": F | 0o644,
        "/srv/usb": D | 0o755,
        "/srv/p": D | 0o755,
    }
    one = plan(extra=files, mounts={"/srv/disk": "ext4", "/srv/usb": "vfat", "/srv/p": "proc", "/proc": "proc"})
    assert {t for t in overlays(one) if t.startswith("/srv")} == {"/srv/disk", "/srv/plain"}
    binds = {s.target for s in one.root.steps if isinstance(s, Bind)}
    assert {"/srv/file", "/srv/usb"} <= binds
    assert "/srv/mine" not in binds
    assert "/srv/p" in {s.target for s in one.root.steps if isinstance(s, Directory)}


def test_with_a_single_id_private_files_are_found_and_whited_out():
    one = plan("/home/u/p", maps=idmap.single(1000, 1000))
    assert {"/srv/mine", "/home/u/p/.env"} <= whited(one)


def test_whiteouts_do_not_lie_below_one_another():
    one = plan(
        "/home/u/p",
        maps=idmap.single(1000, 1000),
        extra={"/home/u/p/.ssh/id": (F | 0o600, 1000)},
        hide=("/home/u/p/.ssh/id",),
    )
    assert "/home/u/p/.ssh" in whited(one)
    assert "/home/u/p/.ssh/id" not in whited(one)


def test_the_maps_own_nothing_on_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = host.id_map(0)
    assert root.uid_map[0].outside == host.NOBODYS_FIRST > 1_879_048_191  # the last id that systemd gives away
    assert idmap.outside_id(root.uid_map, 0) != 0
    full = idmap.full(1000, 1000, ((100000, 65536),), ((200000, 65536),), ("/n", "/g"))
    monkeypatch.setattr(idmap, "for_user", lambda *a, **k: full)
    own = host.id_map(1000)
    assert own.uid_map == (idmap.IdMap(inside=0, outside=100000, count=65536),)
    assert own.newuidmap == "/n"
    monkeypatch.setattr(idmap, "for_user", lambda *a, **k: idmap.single(1000, 1000))
    assert host.id_map(1000).single


def test_this_very_machine():
    one = host.plan(cwd=os.getcwd(), uid=os.getuid())
    assert "/usr" in overlays(one)
    assert RootPlan.from_json(one.root.to_json()) == one.root


def test_mountinfo_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    lines = (
        "1 1 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 8:2 / /a\\040b rw shared:1 - xfs /dev/b rw\n"
        "3 1 8:3 / /c/d rw - ext4 x rw\n"
        "4 1 8:4 / /c rw - tmpfs x rw\n"
    )
    path = tmp_path / "mountinfo"
    path.write_text(lines)
    real = open
    monkeypatch.setattr(
        "builtins.open", lambda name, *a, **k: real(path if name == "/proc/self/mountinfo" else name, *a, **k)
    )
    assert HostView().mounts() == {"/a b": "xfs", "/c": "tmpfs"}
