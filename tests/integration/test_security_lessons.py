"""Faults that other runtimes and engines had, tried on `atoll-runtime` and on `atoll` where other tests do not yet.

The numbers are those of public advisories; the lessons are in the design's list of threats, rows 3 to 9.
`test_runtime_safety.py`, `test_runtime_attacks.py` and `test_security.py` hold the rest of its tests.
"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Callable

import pytest

from integration.test_runtime_safety import racer
from kit import images
from kit.bundle import Runtime, words
from kit.command import Atoll
from kit.registry import Registry

assert racer  # a fixture
NASTY = {
    "run.oci.keep_original_groups": "1",
    "run.oci.systemd.subgroup": "../../escape",
    "run.oci.hooks.stdout": "/etc/passwd",
    "org.systemd.property.ExecStart": "'/bin/false'",
    "io.podman.annotations.seccomp": "unconfined",
    "io.kubernetes.cri-o.userns-mode": "host",
    "kernel.core_pattern": "|/tmp/x",
    "sysctl": "kernel.core_pattern=|/tmp/x",
    "line\nbreak": "a\nb: c",
}


# --- CVE-2021-30465, 2018-15664: links exchanged between check and use ------------------------------------------


def test_a_volume_s_target_that_is_a_link_of_the_image(atoll: Atoll, registry: Registry):
    """It is followed inside the container's root, however it is spelled."""

    def links(tar: tarfile.TarFile) -> None:
        for path, target in (("etc/out", "/../../../../../../etc"), ("data", "../../../../tmp")):
            images.entry(tar, path, type=tarfile.SYMTYPE, linkname=target)

    base = images.busybox().layers[0]
    below = (base, images.sha256(gzip.decompress(base.read())))
    reference = registry.push(images.assemble([below, images.layer(links)], {"Env": [images.PATH]}), "links")
    folder = os.path.join(atoll.folder, "volume")
    os.makedirs(folder)
    before = sorted(os.listdir("/etc"))
    for target in ("/etc/out/atoll-was-here", "/data/atoll-was-here"):
        atoll("run", "--rm", "-v", f"{folder}:{target}", reference, "true")
    assert sorted(os.listdir("/etc")) == before
    assert not os.path.exists("/tmp/atoll-was-here")


def test_a_volume_s_source_that_is_exchanged(atoll: Atoll, busybox: str, racer: Callable[[str, str], None]):
    """What is mounted is one of the two; its options hold for whichever it is."""
    folder = os.path.join(atoll.folder, "volume")
    os.makedirs(f"{folder}/a")
    os.symlink("/etc", f"{folder}/b")
    racer(f"{folder}/a", f"{folder}/b")
    for _ in range(5):
        result = atoll(
            "run", "--rm", "-v", f"{folder}/a:/v:ro", busybox, "sh", "-c", "touch /v/x 2>/dev/null && echo W"
        )
        assert "W" not in result.out.split()
    assert not os.path.exists("/etc/x")


# --- CVE-2019-19921, 2023-27561, 2025-52881: /proc that is not procfs -------------------------------------------


@pytest.mark.parametrize("shape", ["link", "tree"])
def test_a_false_proc_takes_no_settings(root_runtime: Runtime, shape: str):
    """A root that brings /proc as a link, or filled with files: settings go to the kernel, or creation is refused."""
    bundle = root_runtime.bundle()
    os.rmdir(bundle.path("/proc"))
    false = "/fake" if shape == "link" else "/proc"
    os.makedirs(bundle.path(f"{false}/sys/net/ipv4"))
    os.makedirs(bundle.path(f"{false}/self/attr"))
    for name in ("sys/net/ipv4/ip_forward", "self/attr/exec", "self/oom_score_adj"):
        with open(bundle.path(f"{false}/{name}"), "w") as stream:
            stream.write("false\n")
    if shape == "link":
        os.symlink("/fake", bundle.path("/proc"))
    bundle.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    bundle.config["process"]["oomScoreAdj"] = 333
    result = root_runtime.run(bundle, "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/self/oom_score_adj")
    assert result.code == 1 or words(result) == ["1", "333"]
    for name in ("sys/net/ipv4/ip_forward", "self/oom_score_adj"):
        with open(bundle.path(f"{false}/{name}")) as stream:
            assert stream.read() == "false\n"


# --- CVE-2024-40635: an id that overflows to root ---------------------------------------------------------------

OVERFLOWING = ("4294967295", "4294967296", "2147483648:4294967296", "-1", "0x0", "1e1", "99999999999999999999")


def test_ids_that_overflow(root_runtime: Runtime, atoll: Atoll, busybox: str):
    """Refused, never rounded: by run and by exec, on both levels."""
    name = root_runtime.started(root_runtime.bundle())
    for user in OVERFLOWING:
        assert root_runtime("exec", "--user", user, name, "id", "-u").code != 0
        result = atoll("run", "--rm", "--user", user, busybox, "id", "-u")
        assert result.code != 0, result
        assert "0" not in result.out.split()


def test_ids_that_overflow_in_a_document(root_runtime: Runtime):
    for key in ("uid", "gid"):
        for value in (4294967295, 4294967296, -1, 1.5, "0", True):
            bundle = root_runtime.bundle()
            bundle.config["process"]["user"][key] = value
            result = root_runtime.run(bundle, "id")
            assert result.code == 1, (key, value, result)


# --- CVE-2020-15257: abstract sockets ---------------------------------------------------------------------------


def test_no_abstract_socket_is_to_be_reached_from_the_hosts_network(atoll: Atoll, busybox: str):
    """The monitor, the spawner and the streams use paths: a container in the host's network sees no name of ours."""
    atoll.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    seen = atoll.good("run", "--rm", "--network", "host", busybox, "cat", "/proc/net/unix")
    assert not [line for line in seen.splitlines() if "@" in line and "atoll" in line]


# --- CVE-2022-0811, 2024-3154: annotations and labels that become settings --------------------------------------


def test_annotations_are_data(root_runtime: Runtime):
    """Whatever their names mean to other runtimes."""
    bundle = root_runtime.bundle()
    before = _core_pattern()
    plain = root_runtime.run(bundle, "cat", "/proc/self/status", "/proc/self/mountinfo").good()
    bundle.config["annotations"] = NASTY
    name = root_runtime.started(bundle)
    assert root_runtime.state(name)["annotations"] == NASTY
    marked = root_runtime.good("exec", name, "cat", "/proc/self/status", "/proc/self/mountinfo")
    for key in ("CapEff", "CapBnd", "Groups", "Seccomp", "NoNewPrivs"):
        assert _value(plain, key) == _value(marked, key), key
    assert plain.count(" - ") == marked.count(" - ")
    assert _core_pattern() == before


def test_labels_are_data(atoll: Atoll, busybox: str):
    before = _core_pattern()
    flags = [word for key, value in NASTY.items() if "\n" not in key for word in ("--label", f"{key}={value}")]
    atoll.good("run", "-d", "--name", "marked", *flags, busybox, "sleep", "600")
    status = atoll.good("exec", "marked", "cat", "/proc/self/status")
    assert (_value(status, "Seccomp"), _value(status, "NoNewPrivs")) == ("2", "1")
    labels = json.loads(atoll.good("inspect", "marked"))[0]["Config"]["Labels"]
    assert {key: labels[key] for key in NASTY if "\n" not in key} == {k: v for k, v in NASTY.items() if "\n" not in k}
    assert _core_pattern() == before


def _value(status: str, key: str) -> str:
    return next(line.split(":", 1)[1].strip() for line in status.splitlines() if line.startswith(f"{key}:"))


def _core_pattern() -> str:
    with open("/proc/sys/kernel/core_pattern") as stream:
        return stream.read()
