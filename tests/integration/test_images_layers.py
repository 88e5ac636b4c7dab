"""Many layers: more than one mount option of a page holds, one upon the other; diff, commit and merge over all."""

from __future__ import annotations

import tarfile

import pytest

from kit import images
from kit.command import Atoll
from kit.registry import Registry

COUNT = 250


@pytest.fixture(scope="package")
def many(registry: Registry) -> str:
    """busybox and 250 small layers: each has a file of its own, replaces one and removes the one before's."""
    base = images.busybox()
    pairs = [(base.layers[0], _diff_id(base))]
    for number in range(COUNT):

        def fill(tar: tarfile.TarFile, number: int = number) -> None:
            images.entry(tar, "data", type=tarfile.DIRTYPE)
            images.entry(tar, f"data/{number}", str(number).encode())
            images.entry(tar, "data/last", str(number).encode())
            if number:
                images.entry(tar, f"data/.wh.{number - 1}")

        pairs.append(images.layer(fill))
    return registry.push(images.assemble(pairs, {"Env": [images.PATH], "Cmd": ["sh"]}), "many")


def _diff_id(image: images.Image) -> str:
    import json

    return json.loads(image.config.read())["rootfs"]["diff_ids"][0]


def test_run_diff_commit_and_merge(anyone: Atoll, many: str, full: bool):
    if anyone.user is not None and not full:
        return  # ten seconds each; the same code as root's, but for the map
    anyone.good("pull", "-q", many)
    script = "ls /data; cat /data/last; echo; rm /data/last; echo x > /data/more"
    assert anyone.good("run", "--name", "one", many, "sh", "-c", script) == f"{COUNT - 1}\nlast\n{COUNT - 1}"
    assert anyone.good("diff", "one").split("\n") == ["C /data", "D /data/last", "A /data/more"]
    anyone.good("commit", "one", "many/more")
    assert anyone.good("run", "--rm", "many/more", "ls", "/data").split() == [str(COUNT - 1), "more"]
    assert anyone.good("image", "diff", "many/more").split("\n") == ["C /data", "D /data/last", "A /data/more"][1:]
    bundle = f"{anyone.folder}/bundle"
    anyone.good("image", "bundle", "many/more", bundle)
    with open(f"{bundle}/rootfs/data/{COUNT - 1}") as file:
        assert file.read() == str(COUNT - 1)
