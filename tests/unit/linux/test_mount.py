"""Mounts in throw-away children: an ordinary user's user namespace is enough for all of these."""

import os

import pytest

from atoll.linux import mount, overlay, process
from atoll.linux.overlay import attach_overlay, new_overlay
from atoll.linux.root import Root
from atoll.linux.userns import write_maps
from unit.linux.clones import in_clone


def in_namespace(body):
    """Run `body` as root of a new user and mount namespace; its answer's text."""
    uid, gid = os.geteuid(), os.getegid()

    def private():
        mount.set_propagation("/", mount.MS_REC | mount.MS_PRIVATE)
        return body()

    return in_clone(
        private,
        process.CLONE_NEWUSER | process.CLONE_NEWNS,
        lambda pid: write_maps(pid, [(0, uid, 1)], [(0, gid, 1)], deny_setgroups=True),
    )


@pytest.fixture
def layers(tmp_path):
    for name in ("one", "two", "up", "work", "place"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "a").write_text("1")
    (tmp_path / "two" / "a").write_text("2")
    (tmp_path / "two" / "b").write_text("2")
    return tmp_path


def merged(layers, lower, upper=None, work=None):
    def body():
        place = os.open(layers / "place", os.O_PATH | os.O_DIRECTORY)
        attach_overlay([str(layers / name) for name in lower], upper, work, place, userxattr=upper is not None)
        os.chdir(layers / "place")
        out = [f"{name}={open(name).read()}" for name in sorted(os.listdir("."))]
        try:
            open("new", "w").close()
            out.append("writable")
        except OSError as error:
            out.append(os.strerror(error.errno))
        return " ".join(out)

    return in_namespace(body)


def test_overlay_topmost_first_and_writable(layers):
    assert merged(layers, ["one", "two"], str(layers / "up"), str(layers / "work")) == "a=1 b=2 writable"
    assert (layers / "up" / "new").exists()


def test_overlay_without_upper_is_read_only(layers):
    assert merged(layers, ["two", "one"]) == "a=2 b=2 Read-only file system"


def test_one_layer_without_upper_is_a_read_only_bind(layers):
    assert merged(layers, ["one"]) == "a=1 Read-only file system"


def test_overlay_of_long_paths_and_odd_names(layers):
    odd = layers / ("x:y,z\\" + "n" * 200) / ("m" * 200)
    odd.mkdir(parents=True)
    (odd / "c").write_text("3")
    relative = str(odd.relative_to(layers))
    assert merged(layers, [relative, "one"], str(layers / "up"), str(layers / "work")) == "a=1 c=3 writable"


def test_overlay_by_option_string_as_before_linux_6_8(layers, monkeypatch):
    def refused(*_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(overlay, "new_overlay", refused)
    monkeypatch.setattr(overlay, "_knows_single_layers", lambda: False)
    odd = layers / "x:y,z\\w"
    odd.mkdir()
    (odd / "c").write_text("3")
    assert merged(layers, [odd.name, "one"], str(layers / "up"), str(layers / "work")) == "a=1 c=3 writable"


def test_the_kernels_own_words_are_in_the_error(layers):
    def body():
        mount.new_filesystem("overlay", [("lowerdir+", str(layers / "one")), ("nonsense", "1")])

    assert "nonsense" in in_namespace(body)


def test_a_detached_mount_goes_with_its_descriptor(layers):
    def body():
        before = open("/proc/self/mountinfo").read()
        os.close(new_overlay([str(layers / "one"), str(layers / "two")], None, None))
        return open("/proc/self/mountinfo").read() == before

    assert in_namespace(body) == "True"


def test_attributes_of_a_clone(layers):
    def body():
        tree = mount.open_tree(str(layers / "one"), mount.OPEN_TREE_CLONE | mount.AT_RECURSIVE)
        mount.mount_setattr(tree, set=mount.MOUNT_ATTR_RDONLY | mount.MOUNT_ATTR_NOEXEC, recursive=True)
        with Root.open(str(layers / "place")) as place:
            mount.move_mount(tree, place.fd)
        flags = os.statvfs(layers / "place").f_flag
        mount.umount2(str(layers / "place"), mount.MNT_DETACH)
        return bool(flags & os.ST_RDONLY), bool(flags & os.ST_NOEXEC), os.listdir(layers / "place")

    assert in_namespace(body) == "(True, True, [])"


def test_layers_beyond_one_option_string(tmp_path, monkeypatch):
    """As kernels before 6.8 take them: by descriptors where names do not fit into a page; and no more than stack."""
    paths = []
    for number in range(overlay.MOST_LAYERS):
        path = tmp_path / f"layer,{number:0120}:x" / "fs"
        path.mkdir(parents=True)
        (path / f"file{number}").touch()
        (path / "same").write_text(str(number))
        paths.append(str(path))
    for name in ("upper", "work", "root"):
        (tmp_path / name).mkdir()

    def refused(*how, **ever):
        raise OSError(22, "as an older kernel")

    def many(count, *, upper):
        def body():
            monkeypatch.setattr(overlay, "new_overlay", refused)
            monkeypatch.setattr(overlay, "_knows_single_layers", lambda: False)
            place = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
            top = (str(tmp_path / "upper"), str(tmp_path / "work")) if upper else (None, None)
            before = len(os.listdir("/proc/self/fd")), os.getcwd()
            assert attach_overlay(paths[:count], *top, place, userxattr=True) is None
            assert (len(os.listdir("/proc/self/fd")), os.getcwd()) == before
            if upper:
                (tmp_path / "root" / "new").touch()
            return len(os.listdir(tmp_path / "root")), (tmp_path / "root" / "same").read_text()

        return body

    assert in_namespace(many(3, upper=True)) == "(5, '0')"
    assert (tmp_path / "upper" / "new").exists()
    assert in_namespace(many(100, upper=True)) == "(102, '0')"
    assert in_namespace(many(overlay.MOST_LAYERS, upper=False)) == f"({overlay.MOST_LAYERS + 1}, '0')"
    with pytest.raises(OSError, match="501 layers"):
        attach_overlay([*paths, paths[0]], None, None, -1)
