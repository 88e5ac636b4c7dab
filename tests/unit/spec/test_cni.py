"""CNI documents: lists of every version, what a plug-in is asked, results believed as far as they can be read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.spec import cni

BRIDGE = {"type": "bridge", "bridge": "cni0", "capabilities": {"ips": True, "mac": False}, "args": {"cni": {"a": 1}}}
LIST = {"cniVersion": "1.0.0", "name": "dbnet", "plugins": [BRIDGE, {"type": "tuning", "sysctl": {"x": "1"}}]}


def parsed(**more: object) -> cni.ConfList:
    return cni.parse_list(json.dumps({**LIST, **more}), "x.conflist")


def test_a_list() -> None:
    conf = parsed()
    assert (conf.name, conf.version, conf.check, conf.gc) == ("dbnet", "1.0.0", True, True)
    assert [(one.kind, one.capabilities) for one in conf.plugins] == [("bridge", ("ips",)), ("tuning", ())]
    assert conf.can("ips")
    assert not conf.can("mac")
    assert (conf.at_least("0.4.0"), conf.at_least("1.1.0")) == (True, False)
    assert not parsed(disableCheck="true").check
    assert not parsed(disableGC=True).gc


def test_one_plug_in_is_a_list_of_one() -> None:
    conf = cni.parse_list('{"cniVersion": "0.3.1", "name": "n", "type": "ptp"}', "x.conf")
    assert [one.kind for one in conf.plugins] == ["ptp"]
    assert cni.parse_list('{"name": "n", "type": "ptp"}', "x.conf").version == "0.1.0"


def test_of_several_versions_the_newest_that_is_known() -> None:
    assert parsed(cniVersions=["0.4.0", "1.1.0", "9.0.0"]).version == "1.1.0"
    with pytest.raises(errors.Unsupported, match=r"'9\.0\.0' is not known"):
        parsed(cniVersion="9.0.0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../x"},
        {"name": ""},
        {"plugins": []},
        {"plugins": [{"type": "../../bin/sh"}]},
        {"plugins": [{"type": ""}]},
        {"plugins": ["bridge"]},
        {"plugins": [{**BRIDGE, "capabilities": []}] * 65},
        {"disableCheck": "perhaps"},
    ],
)
def test_what_is_no_list(wrong: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidArgument, match="expected"):
        parsed(**wrong)


def test_a_plug_in_gets_what_it_takes() -> None:
    conf = parsed()
    wishes = json.dumps({"ips": ["10.1.0.7"], "portMappings": [{"hostPort": 1}]})
    asked = json.loads(cni.request(conf, conf.plugins[0], wishes=wishes, args='{"ips": ["10.1.0.7"]}'))
    assert (asked["name"], asked["cniVersion"], asked["bridge"]) == ("dbnet", "1.0.0", "cni0")
    assert asked["runtimeConfig"] == {"ips": ["10.1.0.7"]}
    assert asked["args"] == {"cni": {"a": 1, "ips": ["10.1.0.7"]}}
    assert "capabilities" not in asked
    asked = json.loads(cni.request(conf, conf.plugins[1], wishes=wishes, previous='{"ips": []}', valid="[]"))
    assert "runtimeConfig" not in asked
    assert (asked["prevResult"], asked[cni.VALID_ATTACHMENTS]) == ({"ips": []}, [])


def test_results_of_both_shapes() -> None:
    new = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "cni0"}, {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/ns"}],
        "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 1}, {"address": "FD00::0:2/64"}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {"nameservers": ["10.1.0.1"], "domain": "a.example", "options": ["ndots:2"]},
        "more": {"of": "theirs"},
    }
    result = cni.parse_result(json.dumps(new), "x")
    assert [(a.address, a.prefix, a.gateway, a.interface) for a in result.addresses] == [
        ("10.1.0.2", 24, "10.1.0.1", 1),
        ("fd00::2", 64, "", -1),
    ]
    assert result.interfaces[1].sandbox == "/ns"
    assert (result.nameservers, result.search, result.options) == (("10.1.0.1",), ("a.example",), ("ndots:2",))
    assert json.loads(result.document) == new
    old = {"cniVersion": "0.2.0", "ip4": {"ip": "10.1.0.2/24", "gateway": "10.1.0.1"}, "ip6": {"ip": "fd00::2/64"}}
    assert [a.address for a in cni.parse_result(json.dumps(old), "x").addresses] == ["10.1.0.2", "fd00::2"]


@pytest.mark.parametrize(
    "wrong",
    [
        "", "nonsense", "[]", '"x"', "{" * 100000, '{"ips": {}}', '{"ips": [{"address": "10.0.0.1"}]}',
        '{"ips": [{"address": "10.0.0.1/33"}]}', '{"ips": [{"address": "10.0.0.1/24", "interface": 99}]}',
        '{"ips": [{"address": "10.0.0.1/24", "gateway": "x"}]}', '{"dns": {"search": ["a b"]}}',
        '{"dns": {"nameservers": ["here"]}}', '{"interfaces": [{"name": 7}]}', '{"interfaces": [{"name": "a\\nb"}]}',
        json.dumps({"routes": [{}] * 2000}), json.dumps({"ips": [{"address": "10.0.0.1/24"}] * 65}),
    ],
)  # fmt: skip
def test_what_is_no_result(wrong: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        cni.parse_result(wrong, "plug-in x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["ips", "ip4", "address", "interface", "interfaces", "name", "dns", "search", "nameservers", "routes", "code",
         "msg", "plugins", "type", "cniVersion"]), inner, max_size=4),
)  # fmt: skip


@given(JSON)
def test_nothing_else_than_refusals(document: object) -> None:
    text = json.dumps(document)
    for read in (cni.parse_result, cni.parse_list):
        try:
            read(text, "x")
        except (errors.InvalidArgument, errors.Unsupported):
            pass
    cni.parse_failure(text)


def test_a_failure() -> None:
    failure = cni.parse_failure('{"code": 11, "msg": "later", "details": "d"}')
    assert failure is not None
    assert (failure.code, failure.message, failure.details) == (11, "later", "d")
    assert cni.parse_failure("segfault") is None
