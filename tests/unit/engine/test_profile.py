"""Docker's seccomp files: conditions settled for one container, and what is no profile."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.engine.containers.profile import read_profile, resolve

DOCUMENT = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
    ],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"name": "old", "action": "SCMP_ACT_ALLOW"},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390"]}},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
    ],
}


def names(capabilities=frozenset(), machine="x86_64", release="6.1.0-13-amd64"):
    found = resolve(DOCUMENT, capabilities, machine, release)
    return {name for rule in found["syscalls"] for name in rule["names"]}, found


def test_conditions():
    found, document = names()
    assert found == {"read", "old", "ptrace", "clone", "arch_prctl"}
    assert document["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert "mount" in names(frozenset(("CAP_SYS_ADMIN",)))[0]
    assert "clone" not in names(frozenset(("CAP_SYS_ADMIN",)))[0]
    assert "arch_prctl" not in names(machine="aarch64")[0]
    assert "ptrace" not in names(release="4.4.0")[0]
    assert "ptrace" in names(release="5.0-rc1")[0]


def test_refusals(tmp_path):
    for wrong, message in (
        ({**DOCUMENT, "architectures": ["SCMP_ARCH_X86"]}, "both 'architectures' and 'archMap'"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"]}]}, "'name' and 'names'"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}, "expected an array"),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "includes": {"minKernel": 1}}]},
            "minKernel",
        ),
        ({"defaultAction": "NO"}, "expected one of"),
        ([], "expected a JSON object"),
    ):
        path = tmp_path / "profile.json"
        path.write_text(json.dumps(wrong))
        with pytest.raises(errors.InvalidArgument, match=message):
            read_profile(str(path), frozenset())
    with pytest.raises(errors.NotFound, match="read the seccomp profile"):
        read_profile(str(tmp_path / "none"), frozenset())
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(errors.InvalidArgument):
        read_profile(str(tmp_path / "deep.json"), frozenset())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["syscalls", "names", "includes", "caps", "archMap", "minKernel"]),
                          inner, max_size=3),
    )
)  # fmt: skip
def test_no_document_does_more_than_be_refused(value):
    try:
        resolve({"syscalls": value, "archMap": value}, frozenset(), "x86_64", "6.1")
    except errors.InvalidArgument:
        pass
