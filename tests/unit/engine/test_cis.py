"""The benchmark's checks: our defaults pass, and each weakening is found."""

import pytest

from atoll.engine.audit import cis
from atoll.engine.containers.record import MountPoint
from atoll.engine.containers.rights import Rights
from atoll.engine.containers.sharing import Sharing
from atoll.engine.requests import RunRequest


def outcomes(engine):
    return {one.section: (one.outcome, one.details) for one in cis.score(engine)}


def test_our_defaults_have_no_warning(engine):
    engine.create(RunRequest(image="busybox", name="plain", starts_later=True))
    found = outcomes(engine)
    assert {section for section, (outcome, _) in found.items() if outcome == cis.WARN} == set()
    assert found["5.11"] == (cis.INFO, ("plain",)), "a memory limit is the user's to choose"
    assert found["5.26"] == (cis.PASS, ())


@pytest.mark.parametrize(
    ("section", "request_"),
    [
        ("5.4", {"rights": Rights(cap_add=("SYS_ADMIN",))}),
        ("5.5", {"rights": Rights(privileged=True)}),
        ("5.6", {"volumes": ("/etc:/x",)}),
        ("5.10", {"network": "host"}),
        ("5.15", {"restart": "on-failure", "restart_max": 10}),
        ("5.16", {"sharing": Sharing(pid="host")}),
        ("5.17", {"sharing": Sharing(ipc="host")}),
        ("5.20", {"volumes": ("/srv:/x:rshared",)}),
        ("5.21", {"sharing": Sharing(uts="host")}),
        ("5.22", {"security_opt": ("seccomp=unconfined",)}),
        ("5.26", {"security_opt": ("no-new-privileges=false",)}),
        ("5.29", {"pids_limit": -1}),
    ],
)
def test_what_is_weaker_is_found(engine, section, request_):
    engine.create(RunRequest(image="busybox", name="weak", starts_later=True, **request_))
    assert outcomes(engine)[section] == (cis.WARN, ("weak",))


def test_a_socket_of_an_engine():
    check = next(test for section, _, _, test in cis.CONTAINER if section == "5.32")
    from atoll.engine.containers.record import Record

    mount = MountPoint(type="bind", source="/var/run/docker.sock", destination="/s")
    assert check(Record(image="i", args=("x",), mounts=(mount,))) is False
