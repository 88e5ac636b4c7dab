"""Pages of one's own, counted in throw-away forks."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
from collections.abc import Callable
from pathlib import Path

from atoll.linux import memory

PAGES = 300


def in_fork(work: Callable[[], int]) -> int:
    """A number that a fork has worked out."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(into, str(work()).encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    return int(answer)


def shared_area() -> mmap.mmap:
    """Pages that a fork has in common with us until it writes to them."""
    area = mmap.mmap(-1, PAGES * memory.PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(PAGES):
        area[page * memory.PAGE] = 1
    return area


def touch(area: mmap.mmap) -> int:
    """The page faults that a write to each page takes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for page in range(PAGES):
        area[page * memory.PAGE] = 2
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def own_pages(area: mmap.mmap) -> int:
    """How many pages of the area are this process's own."""
    begin = ctypes.addressof(ctypes.c_char.from_buffer(area)) // memory.PAGE
    return sum(
        max(0, min(first + count, begin + PAGES) - max(first, begin)) for first, count in memory.written(gap=0)
    )


def test_what_a_fork_writes_to_becomes_its_own() -> None:
    area = shared_area()
    half = area[: PAGES // 2 * memory.PAGE]
    assert in_fork(lambda: own_pages(area)) == 0

    def written() -> int:
        area[: len(half)] = half
        return own_pages(area)

    assert in_fork(written) == PAGES // 2
    assert in_fork(lambda: touch(area) and own_pages(area)) == PAGES


def test_ranges_ascend_and_do_not_overlap() -> None:
    found = memory.written()
    assert found
    ends = [first + count for first, count in found]
    assert all(begin >= end for (begin, _), end in zip(found[1:], ends[:-1], strict=True))


def test_populated_pages_take_no_fault_at_the_first_write() -> None:
    area = shared_area()

    def faults() -> int:
        touch(area)
        told = memory.written()
        # What one fork has written to, another has beforehand: the addresses are the same.
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            memory.populate(told)
            os.write(into, str(touch(area)).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        return int(os.read(out, 64))

    assert in_fork(lambda: touch(area)) >= PAGES
    assert in_fork(faults) < PAGES // 10


def test_what_is_not_mapped_is_passed_over() -> None:
    memory.populate([(1, 3), (1 << 34, 1)])


def test_shared_mappings_are_given_up(tmp_path: Path) -> None:
    """And with them the file; private ones stay."""
    with open(tmp_path / "file", "wb+") as file:
        file.truncate(mmap.PAGESIZE)
        shared = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        private = mmap.mmap(file.fileno(), mmap.PAGESIZE, flags=mmap.MAP_PRIVATE)

    def work() -> int:
        memory.unmap_shared()
        with open("/proc/self/maps") as stream:
            kinds = [line.split()[1][3] for line in stream if str(tmp_path) in line]
        return kinds.count("p") * 10 + kinds.count("s")

    assert in_fork(work) == 10
    shared.close()
    private.close()
