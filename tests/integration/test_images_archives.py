"""save, load, import, tag, history, tree, diff, bundle, df, prunes; with skopeo, podman and runc beside them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile

import pytest

from kit.command import Atoll, installed
from kit.engines import Podman
from kit.sandbox import Sandbox


@pytest.fixture
def loaded(atoll: Atoll, busybox: str) -> Atoll:
    """An Atoll with the busybox image, called `box:1` too."""
    atoll.good("pull", "-q", busybox)
    atoll.good("tag", busybox, "box:1")
    return atoll


def skopeo(*words: str) -> str:
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_name(loaded: Atoll, busybox: str):
    assert loaded.good("images", "-q", "box:1") == loaded.good("images", "-q", busybox)
    loaded("tag", "nope", "x").failed(1, "No such image: nope:latest")
    loaded("tag", "box:1", "Upper").failed(1, "invalid reference format")
    loaded("tag", "box:1", "x@sha256:" + "a" * 64).failed(1, "refusing to create a tag with a digest reference")
    assert loaded.good("rmi", "box:1") == "Untagged: box:1"


def test_history(loaded: Atoll):
    table = loaded.good("history", "box:1").split("\n")
    assert table[0].split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    rows = [
        json.loads(line) for line in loaded.good("history", "--format", "json", "--no-trunc", "box:1").split("\n")
    ]
    assert (rows[0]["ID"][:7], rows[0]["CreatedBy"]) == ("sha256:", "atoll tests")


def test_what_is_saved_others_read_and_load_brings_it_back(loaded: Atoll):
    names = loaded.good("images", "--format", "{{.Repository}}:{{.Tag}}").split("\n")
    image_id = loaded.good("images", "-q", "--no-trunc", "box:1")
    archive, layout, packed = (f"{loaded.folder}/{name}" for name in ("two.tar", "layout", "oci.tar"))
    loaded.good("save", "-o", archive, *names)
    loaded.good("save", "--format", "oci-dir", "-o", layout, "box:1")
    loaded.good("save", "--format", "oci-archive", "-o", packed, "box:1")
    for place in (f"docker-archive:{archive}:box:1", f"oci:{layout}", f"oci-archive:{packed}"):
        assert json.loads(skopeo("inspect", "--config", place))["config"]["Cmd"] == ["sh"]
    other = Atoll(loaded.folder + "/other")
    try:
        assert sorted(_load(other, archive)) == sorted(f"Loaded image: {name}" for name in names)
        assert other.good("images", "-q", "--no-trunc", "box:1") == image_id
        for place in (layout, packed):
            assert other.good("load", "-i", place).startswith("Loaded image")
        assert other.good("run", "--rm", "box:1", "echo", "hello") == "hello"
        assert other.good("system", "check") == "nothing to repair"
    finally:
        other.clear()


def _load(other: Atoll, archive: str) -> list[str]:
    """From standard input, compressed."""
    with open(archive, "rb") as plain:
        packed = subprocess.run(["zstd", "-q", "-c"], stdin=plain, capture_output=True, check=True).stdout
    path = archive + ".zst"
    with open(path, "wb") as file:
        file.write(packed)
    with open(path, "rb") as stream:
        child = other.popen("load", stdin=stream)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    return out.strip().split("\n")


def test_the_same_archive_twice(loaded: Atoll):
    for name in ("a", "b"):
        loaded.good("save", "-o", f"{loaded.folder}/{name}.tar", "box:1")
    with open(f"{loaded.folder}/a.tar", "rb") as a, open(f"{loaded.folder}/b.tar", "rb") as b:
        assert a.read() == b.read()


def test_podman_and_we_load_each_others_archives(loaded: Atoll, sandbox: Sandbox):
    ours, theirs = f"{loaded.folder}/ours.tar", f"{loaded.folder}/theirs.tar"
    loaded.good("save", "-o", ours, "box:1")
    podman = Podman(sandbox, f"{loaded.folder}/podman", installed("atoll-runtime"))
    try:
        assert "box:1" in podman.good("load", "-q", "-i", ours)
        image_id = podman.good("images", "-q", "--no-trunc", "box:1")
        assert image_id == loaded.good("images", "-q", "--no-trunc", "box:1")
        podman.good("tag", "box:1", "localhost/again:2")
        podman.good("save", "-q", "-o", theirs, "localhost/again:2")
        assert loaded.good("load", "-q", "-i", theirs) == "Loaded image: localhost/again:2"
        assert loaded.good("images", "-q", "--no-trunc", "localhost/again:2") == image_id
    finally:
        podman.stop()


def test_what_is_no_archive(loaded: Atoll):
    path = f"{loaded.folder}/plain.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("file"), io.BytesIO())
    loaded("load", "-i", path).failed(1, "neither a docker-archive nor an image layout", "atoll import")
    with open(path, "wb") as file:
        file.write(b"x" * 2000)
    loaded("load", "-i", path).failed(1, "malformed")
    loaded("load", "-i", "/nonexistent").failed(1, "no such file")
    loaded("save", "-o", path, "nope").failed(1, "No such image")


def test_import_from_everywhere(anyone: Atoll):
    folder = f"{anyone.folder}/tree"
    os.makedirs(folder + "/bin")
    program = next(path for path in ("/usr/bin/busybox", "/bin/busybox") if os.path.exists(path))
    subprocess.run(["cp", program, folder + "/bin/sh"], check=True)
    changes = ("-c", 'CMD ["sh", "-c", "echo $WORD"]', "-c", "ENV WORD=hello PATH=/bin")
    archive = f"{anyone.folder}/tree.tar"
    subprocess.run(["tar", "-C", folder, "-czf", archive, "."], check=True)
    first = anyone.good("import", *changes, "-m", "why", folder, "from/dir")
    second = anyone.good("import", *changes, archive, "from/tar:2")
    assert first.startswith("sha256:")
    assert second.startswith("sha256:")
    for name in ("from/dir", "from/tar:2"):
        assert anyone.good("run", "--rm", name) == "hello"
    assert anyone.good("history", "--format", "{{.Comment}}", "from/dir") == "why"
    assert anyone.good("image", "diff", "from/tar:2").split("\n") == ["A /bin", "A /bin/sh"]
    anyone("import", "-c", "RUN x", archive).failed(1, "RUN is not a valid change command")
    anyone("import", anyone.config).failed(1, "is empty")
    assert anyone.good("system", "check") == "nothing to repair"


def test_a_bundle_that_runc_runs(loaded: Atoll):
    loaded.good("import", "-c", 'CMD ["sh", "-c", "echo from the bundle"]', f"{_tree(loaded)}", "bundled")
    path = f"{loaded.folder}/bundle"
    loaded.good("image", "bundle", "bundled", path)
    runc = ["runc", "--root", f"{loaded.folder}/runc", "run", "--no-pivot", f"bundle-{os.getpid()}"]
    with open(f"{path}/config.json") as file:
        config = json.load(file)
    assert config["process"]["args"][-1] == "echo from the bundle"
    ours = [installed("atoll-runtime"), "--root", f"{loaded.folder}/rt", "run", f"bundle-{os.getpid()}"]
    for argv in (runc, ours):
        done = subprocess.run(argv, cwd=path, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        if argv is runc and done.returncode and "cgroup" in done.stderr:
            continue  # this machine's cgroup tree is none that Debian's runc knows
        assert (done.returncode, done.stdout) == (0, "from the bundle\n"), done.stderr
    loaded("image", "bundle", "bundled", path).failed(1, "not empty")


def _tree(atoll: Atoll) -> str:
    """The busybox image's files."""
    folder = f"{atoll.folder}/bundle-tree"
    atoll.good("image", "bundle", "box:1", folder)
    return folder + "/rootfs"


def test_df_names_every_byte_and_prune_gives_them_back(loaded: Atoll):
    loaded.good("run", "--name", "ended", "box:1", "sh", "-c", "head -c 1000000 /dev/zero > /zeros")
    rows = [json.loads(line) for line in loaded.good("system", "df", "--format", "json").split("\n")]
    assert [row["Type"] for row in rows][:4] == ["Images", "Containers", "Local Volumes", "Build Cache"]
    assert (rows[0]["TotalCount"], rows[0]["Active"]) == ("1", "1")
    assert rows[1]["Reclaimable"].endswith("(100%)")
    verbose = loaded.good("system", "df", "-v").split("\n")
    said = next(line for line in verbose if line.startswith("All together"))
    du = int(
        subprocess.run(["du", "-sB1", loaded.data], capture_output=True, text=True, check=True).stdout.split()[0]
    )
    assert abs(_bytes(said.split()[-1]) - du) < du * 0.02 + 100_000
    assert "Are you sure" in loaded("system", "prune", "-a", stdin="n\n").out
    assert loaded.all() != []
    out = loaded.good("system", "prune", "-af", "--volumes")
    assert "Deleted Containers:" in out
    assert "deleted: sha256:" in out
    assert loaded.good("images", "-q") == ""
    assert loaded.good("system", "check") == "nothing to repair"


def _bytes(text: str) -> float:
    units = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "B": 1}
    unit = next(one for one in units if text.endswith(one))
    return float(text.removesuffix(unit)) * units[unit]


def test_filters_tree_and_image_prune(loaded: Atoll, busybox: str):
    loaded.good("import", "-c", "LABEL kind=mine", _tree(loaded), "mine:1")
    names = "{{.Repository}}:{{.Tag}}"
    assert loaded.good("images", "-f", "label=kind=mine", "--format", names) == "mine:1"
    assert loaded.good("images", "-f", "since=box:1", "--format", names) == "mine:1"
    assert "mine" not in loaded.good("images", "-f", "before=mine:1", "--format", names)
    assert loaded.good("images", "-f", "reference=mi*", "-q") == loaded.good("images", "-q", "mine:1")
    assert loaded.good("images", "-f", "dangling=true", "-q") == ""
    loaded("images", "-f", "nope=1").failed(1, "invalid filter 'nope'")
    tree = loaded.good("image", "tree")
    assert "top of: mine:1" in tree
    assert loaded.good("images", "--tree") == tree
    loaded.good("import", _tree_again(loaded), "mine:1")  # takes the name: the first has none
    assert loaded.good("images", "-f", "dangling=true", "-q") != ""
    assert "deleted: sha256:" in loaded.good("image", "prune", "-f")
    assert loaded.good("image", "prune", "-f") == "Total reclaimed space: 0B"
    assert "mine" in loaded.good("image", "prune", "-af", "--filter", "label!=nope")


def _tree_again(atoll: Atoll) -> str:
    folder = f"{atoll.folder}/bundle-tree/rootfs"
    with open(folder + "/more", "w") as file:
        file.write("x")
    return folder
