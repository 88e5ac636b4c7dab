"""Looking at the wall of each rung: rows of words and counts.

Holds: `measure`. Everything that a rung answers is read as data and believed for that rung alone.
"""

from __future__ import annotations

import os
import socket

from atoll.base import errors
from atoll.compare.copies import FAILURES
from atoll.compare.program import records
from atoll.compare.program.trials import TRIALS
from atoll.compare.values import LESS, NEITHER, Cell, Row
from atoll.compare.wall import calls, files
from atoll.linux import capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.measures.rounds import Session
    from atoll.compare.rungs.way import Way

SECTION = "the wall"
LAST = 480
_STATUS = "/proc/self/status"
_VM = "none: its own kernel answers"


class _Found:
    """Rows under way."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def put(self, key: str, title: str, unit: str, better: str, how: str, way: Way, cell: Cell) -> None:
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Row(
                key=key, section=SECTION, title=title, unit=unit, better=better, how=how, cells={}
            )
        row.cells[way.name] = cell


def measure(session: Session) -> list[Row]:
    """The kernel, system calls, files, rights, and each known way out."""
    found = _Found()
    for way in session.ways:
        session.say(f"the wall: {way.name}")
        for look in (_files, _calls, _trials):
            try:
                look(session, way, found)
            except FAILURES as error:
                found.put(f"wall {look.__name__[1:]}", f"{look.__name__[1:]} inside", "", NEITHER,
                          "whether the probe could be run", way, Cell(reason=str(error)))  # fmt: skip
    return list(found.rows.values())


def _files(session: Session, way: Way, found: _Found) -> None:
    """uname, /proc and /sys, the process's rights."""
    paths = [one.path for one in files.FILES]
    copy = way.start("f", "0", _STATUS, *paths)
    try:
        said = copy.all()
    finally:
        way.remove(copy)
    names = next((one.content for one in said if one.kind == records.NAMES), b"")
    release, version = [names[65 * at : 65 * at + 65].split(b"\0")[0].decode(errors="replace") for at in (2, 3)]
    by_index = {one.number: one for one in said if one.kind == records.FILE}
    here = os.uname()
    shared = (release, version) == (here.release, here.version) and not way.own_kernel
    found.put("kernel", "kernel", "", NEITHER, "uname(2) inside, and what the rung is made of", way,
              Cell(text="shared" if shared else "own", note=release))  # fmt: skip
    seen = [
        one.path
        for place, one in enumerate(files.FILES)
        if (record := by_index.get(place + 1))
        and not (way.own_kernel and one.common)
        and files.shows(one, record.content, files.host_text(one.path))
    ]
    found.put("host files", f"of {len(paths)} files of /proc and /sys show the host", "", LESS,
              "files whose content inside is the host's: " + ", ".join(paths), way,
              Cell(samples=(float(len(seen)),), note=", ".join(seen)))  # fmt: skip
    _rights((by_index[0].content if 0 in by_index else b"") or _from_outside(session, way), way, found)


def _from_outside(session: Session, way: Way) -> bytes:
    """The same file of such a process, read by the host: a chroot has no /proc inside."""
    before = session.place.descendants()
    copy = way.start("w")
    try:
        copy.first()
        for pid in way.workload(session.place.descendants() - before):
            return files.host_text(f"/proc/{pid}/status")
    finally:
        way.remove(copy)
    return b""


def _rights(status: bytes, way: Way, found: _Found) -> None:
    fields = {line.split(b":")[0].decode(): line.split(b":", 1)[1].strip().decode() for line in status.splitlines()
              if b":" in line}  # fmt: skip
    how = "/proc/self/status inside"
    if "CapEff" not in fields:
        found.put("capabilities", "capabilities", "", LESS, how, way, Cell(reason="there is no /proc inside"))
        return
    effective = capability.names_of(int(fields["CapEff"], 16))
    note = ", ".join(name.removeprefix("CAP_").lower() for name in effective)
    found.put("capabilities", "capabilities", "", LESS, how, way, Cell(samples=(float(len(effective)),), note=note))
    words = []
    if fields.get("NoNewPrivs") == "1":
        words.append("nnp")
    if fields.get("Seccomp") == "2":
        words.append("filter")
    found.put(
        "held by",
        "held by",
        "",
        NEITHER,
        how + ": nnp, no new privileges (prctl(2)); filter, seccomp(2)",
        way,
        Cell(text="+".join(words) or "nothing"),
    )


def _calls(session: Session, way: Way, found: _Found) -> None:
    from atoll.runtime.seccomp.tables import numbers

    copy = way.start("c", "0", str(LAST))
    try:
        said = copy.all()
    finally:
        way.remove(copy)
    answers = next((one.content for one in said if one.kind == records.CALLS), b"")
    if len(answers) != 3 * LAST:
        raise errors.Unavailable("the probe of system calls did not come to the end")
    sorted_out = calls.reached(answers, numbers(os.uname().machine))
    how = (
        f"every number below {LAST} tried from inside (docs/compare.md says how, without doing harm): those that no "
        "filter refuses and that the kernel has"
    )
    count, note = float(len(sorted_out.passed)), "refused: " + ", ".join(sorted_out.refused)
    if way.own_kernel:
        found.put(
            "calls", "system calls that reach the host's kernel", "", LESS, how, way, Cell(text="none", note=_VM)
        )
    else:
        found.put(
            "calls",
            "system calls that reach the host's kernel",
            "",
            LESS,
            how,
            way,
            Cell(samples=(count,), note=note),
        )
    found.put("calls inside", "system calls answered inside", "", NEITHER, how + ", whoever's kernel that is", way,
              Cell(samples=(count,), note=note))  # fmt: skip


def _trials(session: Session, way: Way, found: _Found) -> None:
    """Each known way out, with a process and a service of the host to look for."""
    with socket.socket() as service:
        service.bind(("127.0.0.1", 0))
        service.listen(8)
        port = service.getsockname()[1]
        address = int.from_bytes((2).to_bytes(2, "little") + port.to_bytes(2, "big") + b"\x7f\0\0\1", "little")
        copy = way.start("e", str(os.getpid()), str(address))
        try:
            said = copy.all()
        finally:
            way.remove(copy)
    answers = {one.number: one.value for one in said if one.kind == records.TRIED}
    opened = []
    for number, trial in enumerate(TRIALS):
        key = f"trial {number}"
        how = f"{trial.reference}; {'its own kernel’s, where it has one' if number else ''}"
        answer = answers.get(number)
        if answer is None:
            found.put(key, trial.name, "", NEITHER, how, way, Cell(reason="it did not come to this"))
            continue
        passed = answer in trial.opened
        opened += [trial.name] if passed else []
        word = ("its own" if way.own_kernel else "open") if passed else "shut"
        found.put(key, trial.name, "", NEITHER, how, way, Cell(text=word, note=_why(answer)))
    row = (
        Cell(text="none", note=_VM) if way.own_kernel else Cell(samples=(float(len(opened)),), note=", ".join(opened))
    )
    found.put("open", f"of {len(TRIALS)} known ways are open to the host's kernel", "", LESS,
              "the trials below; 'its own': it opens, and what it opens is not the host's", way, row)  # fmt: skip


def _why(answer: int) -> str:
    if answer == 0:
        return "it succeeds"
    return os.strerror(answer) if answer < 134 else "ended by a signal"
