"""The shelf: images one behind another on one device, by what the VMM is told."""

import os

import pytest

from atoll.base import errors
from atoll.guest import shelf
from atoll.guest.shelf import Shelf


class Vmm:
    """Takes commands, and what descriptors say; refuses the command `refuses`."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, object]]] = []
        self.files: dict[object, bytes] = {}
        self.refuses = ""

    def ask(self, command: str, fds: tuple[int, ...] = (), **arguments: object) -> None:
        if command == self.refuses:
            raise errors.Unavailable("no")
        if fds:
            self.files[arguments["fdset-id"]] = os.pread(fds[0], 1 << 16, 0)
            assert os.get_blocking(fds[0])
        self.said.append((command, arguments))


def image(size: int) -> int:
    fd = os.memfd_create("image")
    os.ftruncate(fd, size)
    return fd


@pytest.fixture
def vmm() -> Vmm:
    return Vmm()


@pytest.fixture
def one(vmm: Vmm) -> Shelf:
    return Shelf(lambda: vmm)  # type: ignore[arg-type,return-value]


def test_places_follow_one_another_and_stay(vmm: Vmm, one: Shelf):
    first, second = image(8192), image(4096 + 511)
    assert one.place(first) == (0, 8192)
    assert one.place(second) == (8192, 4096)
    before = len(vmm.said)
    assert one.place(first) == (0, 8192)
    assert len(vmm.said) == before
    text = vmm.files[19].decode()
    assert text.splitlines()[-2:] == ['RW 16 FLAT "/dev/fdset/16" 0', 'RW 8 FLAT "/dev/fdset/18" 0']
    assert "\n\n" not in text  # an empty line would make QEMU read the next one twice
    assert [command for command, _ in vmm.said][-4:] == ["add-fd", "blockdev-add", "qom-set", "blockdev-del"]
    assert vmm.said[-1][1] == {"node-name": "shelf17"}


def test_what_the_vmm_refuses_is_asked_again(vmm: Vmm, one: Shelf):
    vmm.refuses = "qom-set"
    fd = image(4096)
    with pytest.raises(errors.Unavailable):
        one.place(fd)
    vmm.refuses = ""
    assert one.place(fd) == (0, 4096)
    assert vmm.said[-1][1]["value"] == "shelf19"


def test_bounds(one: Shelf):
    with pytest.raises(errors.Corrupt):
        one.place(image(0))
    for _ in range(shelf.PLACES_MAX):
        one.place(image(4096))
    with pytest.raises(errors.Exhausted):
        one.place(image(4096))


def test_requests(one: Shelf):
    note, fd = os.memfd_create("note"), image(4096)
    os.write(note, b'{"member": {"id": "a", "terminal": false, "stdin": true}}')
    wanted = one.request({}, (note, fd))
    assert wanted["image"] == {"offset": 0, "size": 4096}
    assert (wanted["terminal"], wanted["stdin"], wanted["member"]["id"]) == (False, True, "a")
    for closed in (note, fd):
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(closed)
    process = {"terminal": True}
    assert one.request({"process": process, "in": "a"}, ()) == {
        "process": process,
        "in": "a",
        "terminal": True,
        "stdin": True,
    }
    assert one.request({"ask": "stats", "in": "a"}, ())["stdin"] is False
