"""Pulling from real registries and from ones that misbehave; trees against umoci's; kills, crowds, users."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration import images_tool
from kit import images, system
from kit.faults import FaultServer
from kit.images import Image, assemble, entry, layer
from kit.registry import Registry
from kit.sandbox import Sandbox, User

TOOL = os.path.abspath(images_tool.__file__)
PATH = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"}


@pytest.fixture
def place(sandbox: Sandbox) -> Iterator[str]:
    """A fresh directory on the corner's tmpfs, open to all users."""
    path = os.path.join(sandbox.scratch, f"images-{time.monotonic_ns()}")
    os.mkdir(path)
    os.chmod(path, 0o777)
    yield path
    subprocess.run(["rm", "-rf", path], check=True)


def tool(*argv: str, user: User | None = None, **how: object) -> subprocess.CompletedProcess[str]:
    """Run the tool to its end."""
    return subprocess.run(
        [sys.executable, TOOL, *argv], capture_output=True, text=True, timeout=90, env=PATH, **as_user(user), **how
    )


def as_user(user: User | None) -> dict[str, object]:
    return {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}


def good(*argv: str, user: User | None = None) -> dict[str, object]:
    """Run the tool; its JSON."""
    done = tool(*argv, user=user)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else {}


def start(*argv: str, user: User | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, TOOL, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=PATH,
        **as_user(user),
    )


def umoci(reference: str, place: str) -> str:
    """The image unpacked by umoci: the path of its root."""
    layout = f"{place}/oci"
    subprocess.run(
        ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{reference}", f"oci:{layout}:x"], check=True
    )
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:x", f"{place}/bundle"], check=True, capture_output=True)
    return f"{place}/bundle/rootfs"


def without_times(listed: dict[str, list[object]], paths: tuple[str, ...]) -> dict[str, list[object]]:
    return {p: [*v[:3], 0 if p in paths else v[3], *v[4:]] for p, v in listed.items()}


def left(root: str) -> list[str]:
    """Files of the stores that are neither locks nor the layout's own."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), root)
            if name not in ("oci-layout", "index.json") and not path.startswith("snapshots/locks/"):
                found.append(path)
    return sorted(found)


def rich(second: str = "zstd") -> Image:
    """Three layers with everything that a layer can say, in gzip, zstd and plain tar."""

    def bottom(tar: tarfile.TarFile) -> None:
        for folder in ("bin", "etc", "var", "var/cache", "gone", "kept", "opaque", "opaque/below"):
            entry(tar, folder, type=tarfile.DIRTYPE, mtime=1000, mode=0o750 if folder == "etc" else 0o755, gid=42)
        entry(tar, "bin/tool", b"#!x\n" * 4000, mode=0o4755, uid=0, gid=12)
        entry(tar, "bin/alias", type=tarfile.LNKTYPE, linkname="bin/tool")
        entry(tar, "sbin", type=tarfile.SYMTYPE, linkname="bin", mtime=5)
        entry(tar, "etc/conf", b"old", mtime=7, uid=33, gid=33)
        entry(tar, "gone/file", b"x")
        entry(tar, "kept/file", b"x")
        entry(tar, "opaque/below/file", b"x")
        entry(tar, "opaque/file", b"x")
        entry(tar, "swap", b"a file first")
        entry(tar, "dev", type=tarfile.DIRTYPE)
        entry(tar, "dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
        entry(tar, "pipe", type=tarfile.FIFOTYPE, mode=0o640)
        entry(tar, "é/" + "long" * 30 + "/name", b"unicode", pax_headers={"SCHILY.xattr.user.note": "hello"})

    def middle(tar: tarfile.TarFile) -> None:
        entry(tar, "etc/new", b"only this", mtime=9)  # `etc` is implied: owner and mode are the bottom's
        entry(tar, ".wh.gone")
        entry(tar, "opaque/.wh..wh..opq")
        entry(tar, "opaque/fresh", b"y")
        entry(tar, "swap", type=tarfile.DIRTYPE, mtime=11)
        entry(tar, "swap/inner", b"now a directory")

    def top(tar: tarfile.TarFile) -> None:
        entry(tar, "etc", type=tarfile.DIRTYPE, mode=0o711, mtime=2000, uid=1, gid=2)
        entry(tar, "etc/.wh.conf")
        entry(tar, "gone", type=tarfile.DIRTYPE, mtime=1)
        entry(tar, "gone/again", b"z")
        entry(tar, "kept/file", type=tarfile.SYMTYPE, linkname="../etc/new", mtime=3)

    config = {"Env": ["PATH=/bin"], "Cmd": ["/bin/tool"]}
    return assemble([layer(bottom, "gzip"), layer(middle, second), layer(top, "none")], config)


def test_debian_is_what_umoci_unpacks_and_a_second_pull_moves_nothing(debian: str, place: str):
    first = good("pull", debian, f"{place}/a")
    assert first["fetched"] > 1_000_000
    ours = images_tool.listing(f"{place}/a/snapshots/layers/{first['chains'][0][7:]}.id/fs")
    theirs = images_tool.listing(umoci(debian, place))
    assert without_times(ours, ("/",)) == without_times(theirs, ("/",))
    assert len(ours) > 3000
    again = good("pull", debian, f"{place}/a")
    assert again == {**first, "fetched": 0}


def test_all_layers_together_are_what_umoci_unpacks(registry: Registry, place: str):
    reference = registry.push(rich("gzip"), "rich", "gzip")  # Debian 12's umoci does not know zstd
    pulled = good("pull", reference, f"{place}/a")
    ours = good("tree", f"{place}/a", *pulled["chains"])
    # umoci knows neither opaque directories that keep their own files' parents' times nor our fixed ones
    theirs = images_tool.listing(umoci(reference, place))
    loose = ("/", "/opaque", "/gone", "/swap", "/kept", "/é", "/é/" + "long" * 30)
    assert without_times(ours, loose) == without_times(theirs, loose)
    assert (ours["/etc"][1:3], ours["/etc"][0] & 0o7777) == ([1, 2], 0o711)


def test_an_implied_directory_has_the_attributes_of_the_layer_below(registry: Registry, place: str):
    def one(tar: tarfile.TarFile) -> None:
        entry(tar, "etc", type=tarfile.DIRTYPE, mode=0o2751, uid=3, gid=4, mtime=1234)

    reference = registry.push(assemble([layer(one), layer(lambda t: entry(t, "etc/deep/new", b"x"))], {}), "implied")
    pulled = good("pull", reference, f"{place}/a")
    seen = good("tree", f"{place}/a", *pulled["chains"])
    assert seen["/etc"][:4] == [0o042751, 3, 4, 1234]


def user_named(sandbox: Sandbox, name: str) -> User:
    return sandbox.users[f"atoll-{name}"]


@pytest.mark.parametrize("kind", ["single", "full"])
def test_an_ordinary_user(sandbox: Sandbox, registry: Registry, place: str, kind: str):
    reference = registry.push(rich(), "rich")
    user = user_named(sandbox, kind)
    root = f"{place}/{kind}"
    pulled = good("pull", reference, root, user=user)
    as_root = good("tree", f"{place}/r", *good("pull", reference, f"{place}/r")["chains"])
    mine = good("tree", root, *pulled["chains"], user=user)
    assert set(mine) == set(as_root)
    if kind == "full":
        nodes = {"/dev/null"}
        assert {p: v[:3] for p, v in mine.items() if p not in nodes} == {
            p: v[:3] for p, v in as_root.items() if p not in nodes
        }
    else:
        assert {v[1] for v in mine.values()} == {0}
        record = os.getxattr(
            f"{root}/snapshots/layers/{pulled['chains'][0][7:]}.single/fs/etc/conf", "user.containers.override_stat"
        )
        assert record == b"33:33:0644:file"
    assert {p: v[5] for p, v in mine.items() if p != "/dev/null"} == {
        p: v[5] for p, v in as_root.items() if p != "/dev/null"
    }
    good("remove", root, *pulled["chains"], user=user)
    assert os.listdir(f"{root}/snapshots/layers") == []
    assert os.listdir(f"{root}/snapshots/trash") == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("digest", "digest"),
        ("config-digest", "digest"),
        ("size", "more than"),
        ("cut", "connection"),
        ("short-length", "connection ended after"),
        ("500", "500"),
        ("401", "pull access denied"),
        ("404", "not found"),
        ("not-json", "JSON"),
        ("manifest-confusion", "CVE-2021-41190"),
        ("redirect-private", "link-local"),
    ],
)
def test_lies_and_failures_leave_nothing(place: str, fault: str, words: str):
    with FaultServer(images.busybox(), fault) as server:
        done = tool("pull", f"{server.host}/app", f"{place}/a")
    assert done.returncode == 125
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    remaining = left(f"{place}/a")
    assert remaining == [] or (
        fault in ("cut", "short-length") and len(remaining) == 1 and remaining[0].startswith("content/partial/")
    )


def test_a_plain_layer_of_other_bytes_leaves_nothing(place: str):
    image = assemble([layer(lambda t: entry(t, "a", b"x" * 1_000_000), "none")], {})
    with FaultServer(image, "digest") as server:
        done = tool("pull", f"{server.host}/app", f"{place}/a")
    assert done.returncode == 125
    assert "digest" in done.stderr
    assert left(f"{place}/a") == []


@pytest.mark.parametrize(("compression", "own"), [("gzip", False), ("none", False), ("gzip", True)])
def test_content_unlike_its_diff_id_is_refused(place: str, compression: str, own: bool):
    """`own`: the digest of the compressed bytes, as if they were the plain ones."""
    good_layer = layer(lambda t: entry(t, "a", b"x" * 1000), compression)
    forged = assemble([(good_layer[0], good_layer[0].digest if own else "sha256:" + "1" * 64)], {})
    with FaultServer(forged) as server:
        done = tool("pull", f"{server.host}/app", f"{place}/a")
    assert done.returncode == 125
    assert "configuration says" in done.stderr
    assert left(f"{place}/a") == []


@pytest.mark.parametrize("evil", ["../../escaped", "a/../../../escaped"])
def test_a_layer_that_climbs_is_refused(place: str, evil: str):
    with FaultServer(assemble([layer(lambda t: entry(t, evil, b"x"))], {})) as server:
        done = tool("pull", f"{server.host}/app", f"{place}/a")
    assert done.returncode == 125
    assert "leads out" in done.stderr
    assert left(f"{place}/a") == []
    assert sorted(os.listdir(place)) == ["a"]


def big(size: int = 6_000_000) -> Image:
    return assemble([layer(lambda t: entry(t, "big", os.urandom(size)))], {})


@pytest.mark.parametrize("fault", ["cut-once", "429-once"])
def test_a_passing_fault_is_overcome(place: str, fault: str):
    with FaultServer(big(), fault) as server:
        good("pull", f"{server.host}/app", f"{place}/a")
        assert server.count("/blobs/") in (3, 4)


def test_one_blob_that_is_several_layers_is_unpacked_for_each_while_it_comes(place: str):
    one = layer(lambda tar: entry(tar, "big", os.urandom(1_500_000)))
    image = assemble([one, one, one, one], {})
    with FaultServer(image, "slow") as server:
        pulled = good("pull", f"{server.host}/app", f"{place}/a")
        assert server.count(one[0].digest) == 1
    assert len(set(pulled["chains"])) == 4
    for chain in pulled["chains"]:
        assert os.path.getsize(f"{place}/a/snapshots/layers/{chain[7:]}.id/fs/big") == 1_500_000


def test_a_killed_pull_goes_on_where_it_was(place: str):
    image = big()
    with FaultServer(image, "slow") as server:
        process = start("pull", f"{server.host}/app", f"{place}/a")
        partial = Path(f"{place}/a/content/partial", image.layers[0].digest[7:])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (partial.exists() and partial.stat().st_size > 500_000):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        have = partial.stat().st_size
        assert have > 500_000
        server.fault = "none"
        server.sent = 0
        good("pull", f"{server.host}/app", f"{place}/a")
        assert server.sent < image.layers[0].size - have + image.config.size + 1
    assert not any(path.startswith("snapshots/tmp") for path in left(f"{place}/a"))


@pytest.mark.parametrize("kill", [False, True], ids=["", "the first one killed"])
def test_a_crowd_downloads_once(place: str, kill: bool):
    """Threats, "Images and archives" 12."""
    image = big()
    with FaultServer(image, "slow" if kill else "none") as server:
        crowd = [start("pull", f"{server.host}/app", f"{place}/a") for _ in range(6)]
        if kill:
            holder = wait_for(lambda: holder_of(place, crowd))
            time.sleep(0.5)
            crowd[holder].kill()
            crowd[holder].wait(10)
            server.fault, server.sent = "none", 0
        results = [one.communicate(timeout=80) for one in crowd]
        codes = [one.returncode for one in crowd]
        assert codes.count(0) == (5 if kill else 6), [err for _, err in results]
        assert server.sent <= image.layers[0].size + 10 * image.config.size - (100_000 if kill else 0)
        good("pull", f"{server.host}/app", f"{place}/a")  # whatever was left is swept by now
    assert len(os.listdir(f"{place}/a/snapshots/layers")) == 1
    assert os.listdir(f"{place}/a/snapshots/tmp") == []


def wait_for(what: Callable[[], int | None], limit: float = 20) -> int:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = what()
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("nobody began to download")


def holder_of(place: str, crowd: list[subprocess.Popen[str]]) -> int | None:
    """Which process has the partial file open."""
    for index, one in enumerate(crowd):
        try:
            fds = os.listdir(f"/proc/{one.pid}/fd")
        except FileNotFoundError:
            continue
        for fd in fds:
            try:
                if "/content/partial/" in os.readlink(f"/proc/{one.pid}/fd/{fd}") and "lock" not in os.readlink(
                    f"/proc/{one.pid}/fd/{fd}"
                ):
                    return index
            except OSError:
                continue
    return None


def test_interrupt_leaves_the_bytes_and_nothing_else(place: str):
    image = big()
    with FaultServer(image, "slow") as server:
        process = start("pull", f"{server.host}/app", f"{place}/a")
        wait_for(lambda: holder_of(place, [process]))
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode != 0
    assert [p for p in left(f"{place}/a") if not p.startswith("content/partial/")] == []


@pytest.mark.parametrize("size", ["3m", "7m"], ids=["while downloading", "while unpacking"])
def test_a_full_disk(place: str, size: str):
    root = f"{place}/small"
    os.mkdir(root)
    system.mount("tmpfs", root, "tmpfs", 0, f"size={size}")
    try:
        with FaultServer(big()) as server:
            done = tool("pull", f"{server.host}/app", root)
        assert done.returncode == 125
        assert "No space left" in done.stderr
        assert [p for p in left(root) if p.startswith("snapshots/")] == []
    finally:
        system.umount(root)


def test_a_damaged_blob_in_the_store_is_found_and_fetched_again(place: str):
    image = big(100_000)
    with FaultServer(image) as server:
        pulled = good("pull", f"{server.host}/app", f"{place}/a")
        shutil.rmtree(f"{place}/a/snapshots")
        blob = Path(f"{place}/a/content/blobs/sha256", image.layers[0].digest[7:])
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)
        done = tool("pull", f"{server.host}/app", f"{place}/a")
        assert done.returncode == 125
        assert not blob.exists()
        assert good("pull", f"{server.host}/app", f"{place}/a")["chains"] == pulled["chains"]


def test_an_image_pushed_by_podmans_friends_keeps_its_digests(registry: Registry, place: str, busybox: str):
    """skopeo converts to Docker's schema 2; what we then pull has the digests that skopeo says."""
    target = f"{registry.host}/converted:v2s2"
    how = ["skopeo", "copy", "-q", "--format", "v2s2", "--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run([*how, f"docker://{busybox}", f"docker://{target}"], check=True)
    digest = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{target}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    assert good("pull", target, f"{place}/a")["manifest"] == digest
    assert good("pull", f"{registry.host}/converted@{digest}", f"{place}/a")["fetched"] == 0
