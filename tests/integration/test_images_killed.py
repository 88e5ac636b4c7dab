"""A command that makes or removes images is killed at any moment: `system check --repair` leaves nothing of it."""

from __future__ import annotations

import os
import random
import subprocess
import time

from kit.command import Atoll


def test_killed_at_any_moment(atoll: Atoll, busybox: str, rng: random.Random, full: bool):
    atoll.good("pull", "-q", busybox)
    tree, archive = f"{atoll.folder}/bundle", f"{atoll.folder}/box.tar"
    atoll.good("image", "bundle", busybox, tree)
    atoll.good("save", "-o", archive, busybox)
    for number in range(40 if full else 6):
        words = rng.choice(
            [
                ("import", f"{tree}/rootfs", f"killed:{number}"),
                ("load", "-q", "-i", archive),
                ("save", "-o", f"{atoll.folder}/out.tar", busybox),
                ("image", "prune", "-af"),
            ]
        )
        child = atoll.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.03, 0.4))
        child.kill()
        child.wait()
        atoll("system", "check", "--repair")
        deadline = time.monotonic() + 5  # an unpacking process ends when it finds its command gone
        while (said := atoll("system", "check").out.strip()) != "nothing to repair":
            assert time.monotonic() < deadline, (words, said)
            atoll("system", "check", "--repair")
        assert not os.path.exists(f"{atoll.folder}/out.tar") or os.path.getsize(f"{atoll.folder}/out.tar") > 0
    atoll.good("load", "-q", "-i", archive)
    assert atoll.good("run", "--rm", busybox, "echo", "whole") == "whole"
