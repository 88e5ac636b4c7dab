"""`[storage] keep`: images go when they take more, the longest unused first, and never what a container uses."""

from __future__ import annotations

import os
import re

from kit.command import Atoll

SIZE = 3 << 20


def test_the_longest_unused_goes(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    tree = f"{atoll.folder}/tree"
    atoll.good("image", "bundle", busybox, f"{atoll.folder}/bundle")
    for name in ("a", "b", "c", "d", "e"):
        os.makedirs(f"{tree}-{name}/bin")
        os.link(f"{atoll.folder}/bundle/rootfs/bin/busybox", f"{tree}-{name}/bin/busybox")
        with open(f"{tree}-{name}/big", "wb") as file:
            file.write(os.urandom(SIZE))
    atoll.good("create", "--name", "keeper", busybox, "true")
    begin = sum(_sizes(atoll))

    def bring(name: str) -> set[str]:
        atoll.good("import", f"{tree}-{name}", f"made:{name}")
        return {line for line in atoll.good("images", "--format", "{{.Tag}}").split("\n") if len(line) == 1}

    assert bring("a") == {"a"}
    one = sum(_sizes(atoll)) - begin  # a blob and a layer
    with open(atoll.config, "w") as file:
        file.write(f"[storage]\nkeep = {begin + 3 * one + one // 2}\n")
    bring("b")
    assert bring("c") == {"a", "b", "c"}
    atoll.good("run", "--rm", "made:a", "/bin/busybox", "true")
    assert bring("d") == {"a", "c", "d"}, "a was used after b"
    atoll.good("create", "--name", "holder", "made:c", "/bin/busybox")
    atoll.good("rmi", "made:d")
    assert bring("e") == {"a", "c", "e"}
    with open(atoll.config, "w") as file:
        file.write("[storage]\nkeep = 1000\n")
    assert bring("d") == {"c", "d"}, "what a container uses, and what was just made"
    assert re.search(r"^Images may take: 1(\.\d+)?kB$", atoll.good("system", "df", "-v"), re.MULTILINE)
    assert atoll.good("start", "-a", "keeper") == ""
    assert atoll.good("system", "check") == "nothing to repair"


def _sizes(atoll: Atoll) -> list[int]:
    return [
        os.lstat(os.path.join(folder, name)).st_size
        for part in ("content/blobs", "snapshots/layers")
        for folder, _, names in os.walk(f"{atoll.data}/{part}")
        for name in names
    ]
