"""Rules between the properties of a config.json: refused by name, before anything is made."""

from __future__ import annotations

import pytest

from atoll.base import errors
from atoll.runtime.command import template
from atoll.runtime.validate import validate, validate_process
from atoll.spec.runtime import Namespace, Spec, TimeOffset


def refused(spec: Spec, pattern: str, kind: type[Exception] = errors.InvalidArgument) -> None:
    with pytest.raises(kind, match=pattern):
        validate(spec, has_root=False)


def test_the_templates_are_valid():
    validate(template.root(), has_root=False)
    validate(template.rootless(1000, 1000), has_root=False)
    for made in (template.root(), template.rootless(1, 2)):
        assert Spec.from_json(made.to_json()) == made


def test_parts_that_must_be_there():
    good = template.root()
    refused(good.replace(oci_version="2.0.0"), "1.x", errors.Unsupported)
    refused(good.replace(linux=None), "linux: missing", errors.InvalidArgument)
    refused(good.replace(process=None), "process: missing")
    refused(good.replace(root=None), "root: missing")
    validate(good.replace(root=None), has_root=True)


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"args": ()}, "process.args"),
        ({"cwd": "relative"}, "process.cwd"),
        ({"env": ("=x",)}, r"process.env\[0\]"),
    ],
)
def test_process(changes, pattern):
    with pytest.raises(errors.InvalidArgument, match=pattern):
        validate_process(template.root().process.replace(**changes))


def test_namespaces():
    good = template.root()
    kinds = good.linux.namespaces
    refused(good.replace(linux=good.linux.replace(namespaces=(*kinds, Namespace(type="pid")))), "pid given twice")
    without = tuple(one for one in kinds if one.type != "mount")
    refused(
        good.replace(linux=good.linux.replace(namespaces=without)),
        "maskedPaths: .* without a private mount namespace",
    )
    user = good.linux.replace(namespaces=(*kinds, Namespace(type="user")))
    refused(good.replace(linux=user), "needs uidMappings and gidMappings")
    joined = good.linux.replace(namespaces=(*kinds, Namespace(type="user", path="/proc/1/ns/user")))
    validate(good.replace(linux=joined), has_root=False)
    without = tuple(one for one in kinds if one.type != "uts")
    refused(good.replace(linux=good.linux.replace(namespaces=without)), "hostname: needs a uts")


def test_time():
    good = template.root()
    offset = (("boottime", TimeOffset(secs=1)),)
    refused(good.replace(linux=good.linux.replace(time_offsets=offset)), "needs a new time namespace")
    kinds = (*good.linux.namespaces, Namespace(type="time"))
    validate(good.replace(linux=good.linux.replace(time_offsets=offset, namespaces=kinds)), has_root=False)
    odd = good.linux.replace(time_offsets=(("realtime", TimeOffset()),), namespaces=kinds)
    refused(good.replace(linux=odd), "no clock 'realtime'")


def test_paths():
    good = template.root()
    refused(good.replace(linux=good.linux.replace(masked_paths=("proc/kcore",))), "not an absolute path")
