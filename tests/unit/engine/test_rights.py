"""Capabilities, devices, groups, sysctls, --security-opt: what they add up to."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.engine.containers import defaults, devices, rights, security_options
from atoll.engine.containers.devices import DeviceNode
from atoll.engine.containers.rights import Rights
from atoll.linux.capability import NAMES

DEFAULT = defaults.ATOLL_CAPABILITIES


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), DEFAULT),
        (("net_admin",), (), (*DEFAULT, "CAP_NET_ADMIN")),
        (("CAP_NET_ADMIN", "NET_ADMIN"), ("chown",), (*DEFAULT[1:], "CAP_NET_ADMIN")),
        ((), ("ALL",), ()),
        (("SYS_TIME",), ("ALL",), ("CAP_SYS_TIME",)),
        (("ALL",), (), tuple(NAMES)),
        (("ALL",), ("SYS_ADMIN",), tuple(n for n in NAMES if n != "CAP_SYS_ADMIN")),
        (("CHOWN",), ("CHOWN",), (*DEFAULT[1:], "CAP_CHOWN")),
    ],
)
def test_capabilities_combine_as_dockers(add, drop, expected):
    assert rights.capabilities(DEFAULT, Rights(cap_add=add, cap_drop=drop)) == expected


def test_an_unknown_capability_gets_a_guess():
    with pytest.raises(
        errors.InvalidArgument, match=r'invalid CapAdd: unknown capability: "CAP_NET_ADMN".*NET_ADMIN'
    ):
        rights.capabilities(DEFAULT, Rights(cap_add=("net_admn",)))
    with pytest.raises(errors.InvalidArgument, match="invalid CapDrop"):
        rights.capabilities(DEFAULT, Rights(cap_drop=("x",)))


def test_devices():
    assert devices.split("/dev/a") == ("/dev/a", "/dev/a", "rwm")
    assert devices.split("/dev/a:r") == ("/dev/a", "/dev/a", "r")
    assert devices.split("/dev/a:/dev/b") == ("/dev/a", "/dev/b", "rwm")
    assert devices.split("/dev/a:/dev/b:rw") == ("/dev/a", "/dev/b", "rw")
    for wrong in (
        "",
        "dev/a",
        "/dev/a:b",
        "/dev/a:/dev/b:x",
        "/dev/a:/proc/x",
        "/dev/a:/:r",
        "/a:/b:r:w",
        "/dev/a:rr:",
    ):
        with pytest.raises(errors.InvalidArgument):
            devices.split(wrong)
    node = devices.find(["/dev/null:/dev/xx:r"])[0]
    assert (node.path, node.type, node.major, node.minor, node.access) == ("/dev/xx", "c", 1, 3, "r")
    with pytest.raises(errors.InvalidArgument, match="not a device node"):
        devices.find(["/etc/passwd"])
    with pytest.raises(errors.NotFound, match="gather device information"):
        devices.find(["/dev/no-such-device"])


def test_a_directory_stands_for_its_nodes_and_links_are_not_followed(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "below").mkdir()
    os.mknod(tmp_path / "below" / "n", 0o020600, os.makedev(1, 3))
    os.symlink("/dev/zero", tmp_path / "link")
    found = devices.find([f"{tmp_path}:/dev/here"])
    assert [(one.path, one.minor) for one in found] == [("/dev/here/below/n", 3)]


def test_rules_of_the_device_controller():
    rule = devices.parse_rule("c 42:* rmw")
    assert (rule.type, rule.major, rule.minor, rule.access) == ("c", 42, None, "rmw")
    for wrong in ("", "c 42:*", "x 1:1 r", "c 1 r", "c 1:1 x", "c a:b r", "c 1:1  r"):
        with pytest.raises(errors.InvalidArgument):
            devices.parse_rule(wrong)
    given_node = DeviceNode(source="/dev/a", path="/dev/a", type="b", major=8, minor=1, access="r")
    rules = rights.device_rules(Rights(nodes=(given_node,), device_rules=("c 1:2 w",)))
    assert [(r.type, r.major, r.minor, r.access) for r in rules] == [("b", 8, 1, "r"), ("c", 1, 2, "w")]


def test_groups():
    assert rights.split_groups(("12", "audio")) == ((12,), ("audio",))
    for wrong in ("", "4294967295", "99999999999", "a:b", "a/b", "a\nb"):
        with pytest.raises(errors.InvalidArgument):
            rights.split_groups((wrong,))


def test_sysctls():
    assert rights.check_sysctls(["net.x=1", "net.x=2", "a=b=c"]) == (("net.x", "2"), ("a", "b=c"))
    for wrong in ("", "a", "=1", "../a=1", "/a=1", "a=1\nb=2"):
        with pytest.raises(errors.InvalidArgument):
            rights.check_sysctls([wrong])


def test_security_options():
    found = security_options.parse(
        ["no-new-privileges", "seccomp=unconfined", "apparmor=unconfined", "label=type:spc_t", "allow_32bit",
         "unmask=/proc/acpi", "mask=/etc/x", "profile=docker", "no-new-privileges:false"]
    )  # fmt: skip
    assert found.no_new_privileges is False
    assert found.seccomp == "unconfined"
    assert found.allow_32bit
    assert found.label == ("type:spc_t",)
    assert found.profile == "docker"
    masked, read_only = security_options.apply_paths(("/proc/acpi", "/proc/keys"), ("/proc/sys",), found)
    assert masked == ("/proc/keys", "/etc/x")
    assert read_only == ("/proc/sys",)
    everything = security_options.parse(["systempaths=unconfined"])
    assert security_options.apply_paths(("/a",), ("/b",), everything) == ((), ())
    for wrong in ("", "no-new-privileges=maybe", "seccomp=", "label=foo", "mask=relative", "systempaths=x", "what=1"):
        with pytest.raises(errors.InvalidArgument, match="invalid --security-opt"):
            security_options.parse([wrong])


@given(st.text(max_size=30))
def test_no_text_breaks_the_grammars(text):
    for parser in (devices.split, devices.parse_rule, lambda t: security_options.parse([t]),
                   lambda t: rights.check_sysctls([t]), lambda t: rights.split_groups((t,)),
                   lambda t: rights.normal_capabilities([t], "CapAdd")):  # fmt: skip
        try:
            parser(text)
        except errors.AtollError:
            pass
