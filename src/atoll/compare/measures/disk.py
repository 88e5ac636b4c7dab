"""Disk for copies: what a further one takes of the file system that stores lie on, by layers and by disks of
machines.

Holds: `measure`. Layers: the image lies there once, a copy is its own writable layer with its records; measured as
the blocks that the store grows by (`du`). For comparison, where `mkfs.ext4` and `qemu-img` are installed, the same
root as a disk of its own for each copy: a qcow2 file whole, and one that names the first as what lies behind it.
"""

from __future__ import annotations

import os

from atoll.compare.copies import FAILURES
from atoll.compare.values import LESS, Cell, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.copies import Copy
    from atoll.compare.measures.rounds import Session
    from atoll.compare.rungs.way import Way

SECTION = "disk"
_BLOCK = 512
_LEAST_DISK = 64 << 20


def measure(session: Session) -> list[Row]:
    """The store before and after copies; the qcow2 files, which belong to no rung, in the row's words and cells."""
    copies = 3 if session.quick else 8
    cells: dict[str, Cell] = {}
    for way in session.ways:
        session.say(f"disk: {way.name}")
        if way.keeps is None:
            cells[way.name] = Cell(reason="copies share one directory, each may write into the others'")
            continue
        try:
            cells[way.name] = _layers(way, way.keeps, copies)
        except FAILURES as error:
            cells[way.name] = Cell(reason=str(error))
    rows = [
        Row(
            key="disk",
            section=SECTION,
            title="disk of a further copy",
            unit="B",
            better=LESS,
            how="blocks that the store has more after each copy was started and has written nothing",
            cells=cells,
        )
    ]
    return [*rows, *_disks(session)]


def _layers(way: Way, folder: str, copies: int) -> Cell:
    started: list[Copy] = []
    try:
        started.append(way.start_detached("w"))  # what the first makes for all
        steps = []
        for _ in range(copies):
            before = used(folder)
            started.append(way.start_detached("w"))
            steps.append(float(max(0, used(folder) - before)))
        return Cell(samples=tuple(steps))
    finally:
        for copy in started:
            way.remove(copy)


def used(path: str) -> int:
    """Bytes of all blocks below a directory, each file once; neither links nor mounts are followed."""
    total, seen = 0, set()
    device = os.lstat(path).st_dev
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            try:
                found = os.lstat(f"{folder}/{name}")
            except OSError:
                continue
            if found.st_dev != device:
                if name in folders:
                    folders.remove(name)  # a container's root, mounted there: it shows what lies elsewhere
            elif found.st_ino not in seen:
                seen.add(found.st_ino)
                total += found.st_blocks * _BLOCK
    return total


def _disks(session: Session) -> list[Row]:
    """A disk of its own for each copy of a machine, as a product with disk images keeps it."""
    from atoll.engine.doctor.findings import Host

    host = Host(session.place.uid)
    found: dict[str, Cell] = {}
    wanted = [way.name for way in session.ways if way.name == "vm"]
    if not wanted:
        return []
    tools = [host.program(name) for name in ("mkfs.ext4", "qemu-img")]
    if None in tools:
        found = {"whole": Cell(reason="mkfs.ext4 and qemu-img are wanted"), "behind": Cell(reason="the same")}
    else:
        try:
            found = _qcow2(session, *[str(one) for one in tools])
        except FAILURES as error:
            found = {"whole": Cell(reason=str(error)), "behind": Cell(reason=str(error))}
    how = "the image's files in an ext4 file system of their size and 64 MiB more, as qcow2"
    return [
        Row(
            key=f"qcow2 {key}", section=SECTION, title=title, unit="B", better=LESS, how=how, cells={"vm": found[key]}
        )
        for key, title in (("whole", "… as a qcow2 of its own"), ("behind", "… as a qcow2 above a shared one"))
    ]


def _qcow2(session: Session, mkfs: str, qemu_img: str) -> dict[str, Cell]:
    place = session.place
    rootfs = f"{place.bundle()}/rootfs"
    folder = place.folder("disks")
    raw, whole, behind = (f"{folder}/{name}" for name in ("raw", "whole.qcow2", "behind.qcow2"))
    with open(raw, "wb") as file:
        file.truncate(_LEAST_DISK + 2 * used(rootfs))
    place.run_command([mkfs, "-q", "-F", "-d", rootfs, raw])
    place.run_command([qemu_img, "convert", "-O", "qcow2", raw, whole])
    place.run_command([qemu_img, "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", whole, behind])
    sizes = {key: os.stat(path).st_blocks * _BLOCK for key, path in (("whole", whole), ("behind", behind))}
    return {key: Cell(samples=(float(size),)) for key, size in sizes.items()}
