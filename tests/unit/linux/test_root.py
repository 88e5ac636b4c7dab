import errno
import os

import pytest

from atoll.linux.root import Root


@pytest.fixture
def root(tmp_path):
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc" / "passwd").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    with Root.open(str(inside)) as handle:
        handle.path = inside
        yield handle


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "etc/passwd", "../etc/passwd", "/../../etc//./passwd", "/abs/passwd", "up/etc/passwd"]
)
def test_every_spelling_stays_inside(root, path):
    (root.path / "abs").symlink_to("/etc")
    (root.path / "up").symlink_to("../../../..")
    assert root.read(path) == b"inside"


@pytest.mark.parametrize("target", ["/secret", "../secret", "../../secret"])
def test_links_out_lead_nowhere(root, target):
    (root.path / "link").symlink_to(target)
    with pytest.raises(FileNotFoundError):
        root.read("/link")


def test_magic_links_are_refused(root):
    with Root.open("/") as whole, pytest.raises(OSError) as caught:
        os.close(whole.open_at("/proc/self/cwd"))
    assert caught.value.errno == errno.ELOOP


def test_read_refuses_what_is_too_long_or_no_file(root):
    (root.path / "big").write_bytes(b"x" * 101)
    assert len(root.read("big", limit=101)) == 101
    with pytest.raises(OSError, match="big"):
        root.read("big", limit=100)
    os.mkfifo(root.path / "fifo")
    with pytest.raises(OSError):
        root.read("fifo")  # neither hangs nor answers
    with pytest.raises(OSError):
        root.read("etc")


def test_make_directories_makes_all_parts_and_accepts_what_is_there(root):
    for _ in range(2):
        os.close(root.make_directories("/a/b/c", 0o750))
    assert (root.path / "a" / "b" / "c").is_dir()


def test_make_directories_follows_links_as_the_container_would(root):
    (root.path / "data").symlink_to("/etc")
    os.close(root.make_directories("/data/x"))
    assert (root.path / "etc" / "x").is_dir()


def test_make_directories_never_creates_outside_or_through_dangling_links(root, tmp_path):
    (root.path / "bad").symlink_to("/nowhere/at/all")
    with pytest.raises(FileNotFoundError):
        root.make_directories("/bad/x")
    with pytest.raises(OSError):
        root.make_directories("/new/../../x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["root", "secret"]


def test_make_file(root):
    os.close(root.make_file("/run/a/file"))
    os.close(root.make_file("/run/a/file"))
    assert (root.path / "run/a/file").read_bytes() == b""
    with pytest.raises(OSError):
        root.make_file("/etc/passwd/under")


def test_descriptors_are_close_on_exec_and_all_closed(root):
    before = set(os.listdir("/proc/self/fd"))
    fd = root.open_at("/etc")
    assert not os.get_inheritable(fd)
    os.close(fd)
    os.close(root.make_directories("/q/r"))
    with pytest.raises(OSError):
        root.open_at("/absent")
    assert set(os.listdir("/proc/self/fd")) == before


def test_paths_with_nul_are_refused(root):
    with pytest.raises(ValueError):
        root.open_at("/etc\0/passwd")


def test_make_file_through_a_dangling_link_stays_inside(root, tmp_path):
    (root.path / "etc" / "resolv.conf").symlink_to("/run/systemd/stub.conf")
    (root.path / "etc" / "out").symlink_to("../../../../made")
    (root.path / "etc" / "loop").symlink_to("loop")
    os.close(root.make_file("/etc/resolv.conf"))
    assert (root.path / "run/systemd/stub.conf").is_file()
    os.close(root.make_file("/etc/out"))
    assert (root.path / "made").is_file()
    with pytest.raises(OSError):
        root.make_file("/etc/loop")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["root", "secret"]
