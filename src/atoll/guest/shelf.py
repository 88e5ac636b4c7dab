"""The images of a pod's containers, on one device of its machine: a place each, added while the machine runs.

Holds: `Shelf`. Does not hold: who asks (`keeper.py`), what the guest does with a place (`pod.py`).
A machine without PCI takes no further device once it runs. But the medium of one that it has may be exchanged: vdb
begins empty and as large as can be, and then is the images one after another. To QEMU that is a VMDK of flat extents,
whose few lines of text are written here; each new image makes a longer one, which takes the old one's place. What has
been read of the device stays true: places never move. The same file has one place however many containers it is for.
Source: QMP's add-fd, blockdev-add and qom-set (qemu-qmp-ref(7)); VMDK's extent description.
"""

from __future__ import annotations

import os

from atoll.base import errors, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atoll.vm.qmp import Control

PLACES_MAX = 64
"""Different images in one machine at most: each is a descriptor of the VMM's."""
SECTOR = 512
_FIRST_SET = 16
"""Below are the sets of the machine's own disks (`vm/qemu.py`)."""
_DEVICE = "/machine/peripheral/vdb"
_HEAD = '# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\ncreateType="twoGbMaxExtentFlat"\n'


class Shelf:
    """`control` gives the VMM's protocol for one change."""

    def __init__(self, control: Callable[[], Control]) -> None:
        self._control = control
        self._places: dict[tuple[int, int], tuple[int, int]] = {}
        self._lines: list[str] = []
        self._end = 0
        self._sets = _FIRST_SET
        self._node = ""

    def request(self, wanted: dict[str, Any], fds: tuple[int, ...]) -> dict[str, Any]:
        """What the guest is asked for, of what somebody wants at the door: a container of the pod (`fds` are a file
        that describes it, and its image), a process in one, or an answer about one. The descriptors are closed.
        Raises AtollError, OSError."""
        try:
            if not fds:
                process = wanted.get("process") or {}
                return {"terminal": process.get("terminal") is True, "stdin": "process" in wanted, **wanted}
            with open(fds[0], "rb", closefd=False) as note:
                note.seek(0)
                member = jsontext.loads(note.read())["member"]
            offset, size = self.place(fds[1])
            return {
                "member": member,
                "image": {"offset": offset, "size": size},
                "terminal": member["terminal"],
                "stdin": member["stdin"],
            }
        finally:
            for fd in fds:
                os.close(fd)

    def place(self, image: int) -> tuple[int, int]:
        """Where on the device the file of this descriptor is, put there if it was not: offset and size in bytes.
        Raises Exhausted, Unavailable, Corrupt for what is no image."""
        found = os.fstat(image)
        key = found.st_dev, found.st_ino
        if key in self._places:
            return self._places[key]
        sectors = found.st_size // SECTOR
        if not sectors:
            raise errors.Corrupt("the image of a pod's container is empty")
        if len(self._places) >= PLACES_MAX:
            raise errors.Exhausted(f"a pod's machine holds {PLACES_MAX} different images", hint="restart the pod")
        self._places[key] = place = self._put(image, sectors)
        return place

    def _put(self, image: int, sectors: int) -> tuple[int, int]:
        control = self._control()
        file, text = self._sets, self._sets + 1
        self._sets += 2
        node = f"shelf{text}"
        lines = [*self._lines, f'RW {sectors} FLAT "/dev/fdset/{file}" 0\n']
        _give(control, image, file)
        described = _readable((_HEAD + "".join(lines)).encode())
        try:
            _give(control, described, text)
        finally:
            os.close(described)
        source = {"driver": "file", "filename": f"/dev/fdset/{text}", "read-only": True, "locking": "off"}
        medium: dict[str, Any] = {"driver": "vmdk", "node-name": node, "read-only": True, "file": source}
        control.ask("blockdev-add", **medium)
        control.ask("qom-set", path=_DEVICE, property="drive", value=node)
        if self._node:
            before: dict[str, Any] = {"node-name": self._node}
            control.ask("blockdev-del", **before)
        place = self._end, sectors * SECTOR
        self._node, self._lines, self._end = node, lines, self._end + sectors * SECTOR
        return place


def _give(control: Control, fd: int, number: int) -> None:
    """A copy of the descriptor for the VMM, which opens it as /dev/fdset/NUMBER."""
    about: dict[str, Any] = {"fdset-id": number}
    control.ask("add-fd", fds=(fd,), **about)


def _readable(content: bytes) -> int:
    """A descriptor of a file with this content that can only be read: the VMM refuses others for what it reads."""
    fd = os.memfd_create("shelf", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)
