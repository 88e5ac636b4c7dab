"""The grammars of mounts: what each option means, what is refused and how, and that no text breaks them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.engine.containers import mount_flags, volumes
from atoll.engine.containers.mount_flags import parse_mount, parse_tmpfs, split_fields, split_volumes_from
from atoll.engine.containers.record import MountPoint

PLACES = {"cwd": "/here", "volumes": "/v"}


def mount(spec):
    return parse_mount(spec, **PLACES).mount


def test_fields_in_quotes_hold_commas():
    assert split_fields('type=volume,"volume-opt=o=a,b",target=/x') == [
        "type=volume",
        "volume-opt=o=a,b",
        "target=/x",
    ]
    assert split_fields('"a""b",c') == ['a"b', "c"]
    assert split_fields("") == [""]


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_what_is_quoted_comes_back(words):
    line = ",".join('"' + word.replace('"', '""') + '"' for word in words)
    assert split_fields(line) == words


def test_a_bind():
    found = mount("type=bind,src=data,dst=/d,ro,bind-propagation=rslave,bind-recursive=disabled")
    assert (found.type, found.source, found.destination) == ("bind", "/here/data", "/d")
    assert found.read_only
    assert found.propagation == "rslave"
    assert found.recursive == "disabled"
    assert found.create is False, "unlike -v, --mount makes no source"
    assert mount("type=bind,source=/a,target=/b,bind-nonrecursive").recursive == "disabled"
    assert mount("type=bind,source=/a,target=/b,readonly=false").read_only is False


def test_a_volume():
    wanted = parse_mount(
        'type=volume,source=vol,target=/d,volume-nocopy,volume-subpath=a/b,volume-label=k=v,"volume-opt=o=x,y"',
        **PLACES,
    )
    assert wanted.mount.source == "/v/vol/_data"
    assert wanted.mount.name == "vol"
    assert wanted.mount.copy is False
    assert wanted.mount.subpath == "a/b"
    assert wanted.labels == (("k", "v"),)
    assert wanted.options == (("o", "x,y"),)
    assert mount("target=/d").anonymous is True, "volume is the type where none is said"


def test_tmpfs_devpts_and_image():
    assert set(mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700").options) == {
        "nosuid", "nodev", "noexec", "size=1048576", "mode=700",
    }  # fmt: skip
    assert "newinstance" in mount("type=devpts,target=/p,uid=3,max=7").options
    found = mount("type=image,source=alpine,target=/i,image-subpath=etc")
    assert (found.type, found.source, found.subpath, found.read_only) == ("image", "alpine", "etc", True)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("type=bind,source=/a", "target is required"),
        ("type=bind,target=/a", "field Source must not be empty"),
        ("type=nothing,target=/a", "mount type unknown"),
        ("type=bind,source=/a,target=/b,tmpfs-size=3", "cannot mix 'tmpfs-\\*' options with mount type 'bind'"),
        ("type=tmpfs,target=/b,volume-nocopy", "cannot mix 'volume-\\*'"),
        ("type=bind,source=/a,target=/b,volume-nocopy=true", "cannot mix 'volume-\\*'"),
        ("type=tmpfs,source=/a,target=/b", "Source must not be specified"),
        ("type=bind,source=/a,target=/b,target", "must be a key=value pair"),
        ("type=bind,source=/a,target=/b,what=ever", "unexpected key 'what' in 'what=ever'"),
        ("type=bind,source=/a,target=b", "mount path must be absolute"),
        ("type=bind,source=/a,target=/proc/sys", "destination can't be"),
        ("type=bind,source=/a,target=/b,readonly=maybe", "invalid value for readonly: maybe"),
        ("type=bind,source=/a,target=/b,bind-propagation=odd", "invalid propagation: odd"),
        ("type=bind,source=/a,target=/b,bind-recursive=readonly", "requires 'readonly'"),
        ("type=volume,source=/a,target=/b", "invalid mount path: '/a'"),
        ("type=volume,source=a b,target=/b", "invalid characters for a local volume name"),
        ("type=volume,source=vol,target=/b,volume-subpath=../x", "must be a relative path"),
        ("type=tmpfs,target=/b,tmpfs-mode=9", "an octal number"),
        ("type=tmpfs,target=/b,tmpfs-size=lots", "invalid value for tmpfs-size"),
        ('type=bind,"source=/a', "a quote is not closed"),
        ("type=bind,source=/a,target=/b\n", "a control character"),
    ],
)
def test_refusals(spec, message):
    with pytest.raises(errors.InvalidArgument, match=message):
        mount(spec)


def test_what_is_not_there_is_told():
    with pytest.raises(errors.Unsupported, match="volume driver 'nfs'"):
        mount("type=volume,source=vol,target=/b,volume-driver=nfs")
    with pytest.raises(errors.Unsupported, match="owners of the host's own files"):
        mount("type=bind,source=/a,target=/b,U=true")
    with pytest.raises(errors.Unsupported, match="owners of the host's own files"):
        volumes.parse("/a:/b:U", **PLACES)


def test_tmpfs_flag():
    found = parse_tmpfs("/run:size=64m,mode=1770,exec,uid=3")
    assert found.options == ("noexec", "nosuid", "nodev", "size=67108864", "mode=1770", "exec", "uid=3")
    assert parse_tmpfs("/x").options[-1] == "mode=1777"
    assert parse_tmpfs("/x:ro").read_only is True
    for wrong in ("x", "/x:nonsense", "/x:size=", "/x:size=1m,source=/etc", "/proc/self", "/x:mode=z"):
        with pytest.raises(errors.InvalidArgument):
            parse_tmpfs(wrong)


def test_volumes_from():
    assert split_volumes_from("web") == ("web", False)
    assert split_volumes_from("web:ro") == ("web", True)
    assert split_volumes_from("web:rw,z") == ("web", False)
    for wrong in ("", ":ro", "web:xx", "web:ro,rw"):
        with pytest.raises(errors.InvalidArgument):
            split_volumes_from(wrong)
    theirs = [
        MountPoint(type="volume", source="/v/a/_data", destination="/a", name="a", anonymous=True, copy=True),
        MountPoint(type="tmpfs", source="", destination="/t"),
        MountPoint(type="bind", source="/b", destination="/b", read_only=True),
    ]
    found = mount_flags.volumes_from(theirs, read_only=True)
    assert [one.destination for one in found] == ["/a", "/b"]
    assert all(one.read_only and not one.anonymous and not one.copy for one in found), "the volume stays the other's"


@given(st.text(max_size=60))
def test_no_text_does_more_than_be_refused(text):
    for parser in (mount, parse_tmpfs, split_volumes_from, lambda one: volumes.parse(one, **PLACES)):
        try:
            parser(text)
        except errors.AtollError:
            pass


@given(
    st.lists(
        st.sampled_from(
            ["type=bind", "type=volume", "type=tmpfs", "source=/a", "source=vol", "target=/t", "target=/proc/x", "ro",
             "volume-subpath=a/../b", "volume-nocopy", "bind-recursive=writable", "tmpfs-size=5", "idmap"]
        ),
        max_size=6,
    )
)  # fmt: skip
def test_what_is_taken_is_safe(fields):
    try:
        found = mount(",".join(fields))
    except errors.AtollError:
        return
    assert found.destination.startswith("/")
    assert not found.destination.startswith("/proc")
    assert ".." not in found.subpath.split("/")
    assert found.type != "volume" or found.source.startswith("/v/")
