"""Roots on Linux 6.1, in user-mode Linux: more layers than one mount option holds, and no overlay at all.

An image of 45 layers, each of which replaces a file and adds one: 45 names of layers are more than the page that an
option string may have, and before Linux 6.8 all of them go into one. Without its module the same kernel has no
overlay; there `auto` comes to fuse-overlayfs.
"""

from __future__ import annotations

import glob
import sys
from pathlib import Path

import pytest
from tests.uml import machine

from kit import images

LAYERS = 44
# Debian's kernel has both as modules, and the guest no insmod: finit_module(2) is number 313.
LOAD = (
    "import ctypes, os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); "
    "sys.exit(ctypes.CDLL(None).syscall(313, fd, b'', 0) and 1)"
)
ATOLL = Path(sys.executable).parent / "atoll"
RUN = "run --network none"
SCRIPT = f"""
export ATOLL_DATA_ROOT=/run/data ATOLL_RUN_ROOT=/run/atoll ATOLL_CONFIG=/run/atoll.toml
: > $ATOLL_CONFIG
{sys.executable} -c "{LOAD}" "$2" || exit 9
{ATOLL} load -q -i layout > /dev/null || exit 1
SEEN='ls /many | wc -l; cat /same; grep -c " / fuse.fuse-overlayfs " /proc/mounts'
{ATOLL} {RUN} --name served many sh -c "echo > /new; $SEEN" || exit 2
{ATOLL} diff served | grep new || exit 3
{ATOLL} info --format '{{{{.Driver}}}}' || exit 4
{sys.executable} -c "{LOAD}" "$1" || exit 9
echo '[storage]
driver = "overlay"' > $ATOLL_CONFIG
{ATOLL} {RUN} --name mounted many sh -c "echo > /new; $SEEN"
{ATOLL} diff mounted | grep new || exit 5
{ATOLL} {RUN} --rm --read-only --mount type=image,source=many,target=/mnt many sh -c 'ls /mnt/many | wc -l' || exit 7
{ATOLL} system check || exit 8
"""


@pytest.mark.full
@pytest.mark.timeout(180)
def test_many_layers_with_and_without_overlay(tmp_path: Path):
    assert machine.available(), "install Debian's user-mode-linux"
    modules = [glob.glob(f"/usr/lib/uml/modules/*/kernel/fs/{one}.ko") for one in ("overlayfs/overlay", "fuse/fuse")]
    assert all(modules), "Debian's user-mode-linux brings its modules"
    layers = [images.layer(_fill(number)) for number in range(LAYERS)]
    image = images.with_layers(images.busybox(), layers, {"Env": [images.PATH], "Cmd": ["sh"]})
    images.write_layout(image, tmp_path / "layout", "many:latest")
    result = machine.run(["sh", "-c", SCRIPT, "sh", *[one[0] for one in modules]], timeout=150, cwd=tmp_path)
    said = f"{result.output}\n{result.console}"
    assert result.status == 0, said
    shown = [str(LAYERS), str(LAYERS - 1)]
    served = [*shown, "1", "A /new", "fuse-overlayfs"]
    assert result.output.splitlines() == [*served, *shown, "0", "A /new", shown[0], "nothing to repair"], said


def _fill(number: int):
    def fill(tar):
        images.entry(tar, "same", str(number).encode() + b"\n")
        images.entry(tar, f"many/{number}", b"x")

    return fill
