"""The compiler: an OCI description of allowed system calls → a classic BPF filter for one machine.

Holds: `compile_filter` and the layout of a filter. Does not hold: what rules mean together (`rules.py`), encoding
(`bpf.py`), files (`cache.py`).

    load arch ─┬─ the machine's own ─ load number ─ binary search over number ranges ─┬─ return
               ├─ a listed 32-bit one ─ the same                                      └─ argument tests ─ return
               └─ any other: KILL_PROCESS

Within one architecture the numbers form ranges:

    0 … highest the profile names │ … above it      │ x32: bit 30 set        │ -1
    the rules, else the default   │ ENOSYS          │ its rules, or          │ ALLOW
                                  │                 │ KILL_PROCESS if closed │

Above the highest: a call that is newer than the profile must look absent (ENOSYS), not forbidden, or C libraries do
not fall back to older ones (runc does the same; opencontainers/runc#2151). Not where the default lets calls through.
-1 is a call that a tracer has cancelled: nothing will run, and an error here would overwrite the tracer's result.
Entry points that are not listed are killed, as libseccomp does, but the whole process: a 32-bit program then ends
at its first system call with SIGSYS, at once and visibly, instead of limping on with errors nobody reads.

The kernel itself skips the filter for numbers whose answer is ALLOW whatever the arguments (its action cache, Linux
5.11); the instructions used here are those that it can see through.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.runtime.seccomp import arches
from atoll.runtime.seccomp.bpf import EQUAL, Assembler
from atoll.runtime.seccomp.flags import ALLOW, ENOSYS, ERRNO, KILL_PROCESS, LOG, TRACE, USER_NOTIF, action_value
from atoll.runtime.seccomp.rules import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.seccomp.arches import Arch
    from atoll.runtime.seccomp.bpf import Place
    from atoll.runtime.seccomp.rules import Branch, Decision, Test
    from atoll.spec.runtime import Seccomp

LIMIT = 4096  # BPF_MAXINSNS
_NUMBER, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data; both our machines are little-endian
_WORD = 0xFFFFFFFF


def compile_filter(seccomp: Seccomp, arch: str | None = None) -> bytes:
    """See the package's `compile`."""
    machine = arches.machine(arch)
    default = action_value(seccomp.default_action, seccomp.default_errno_ret, "linux.seccomp.defaultErrnoRet")
    if default == USER_NOTIF:
        raise errors.InvalidArgument("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default")
    by_audit: dict[int, list[Arch]] = {}
    for entry in arches.entered_on(machine, seccomp.architectures):
        by_audit.setdefault(entry.audit, []).append(entry)

    out = Assembler()
    # Backwards: what is written last comes first, so the machine's own entry point ends up nearest to the start.
    otherwise = out.give(KILL_PROCESS)
    for audit, entries in reversed(list(by_audit.items())):
        body = out.load(_NUMBER, out.search(_number_pieces(out, seccomp, entries, default)))
        otherwise = out.branch(EQUAL, audit, body, otherwise)
    program = out.program(out.load(_ARCH, otherwise))
    if len(program) // 8 > LIMIT:
        raise errors.InvalidArgument(
            f"linux.seccomp: the filter has {len(program) // 8} instructions, the kernel takes {LIMIT}",
            hint="use fewer rules on arguments",
        )
    return program


def _number_pieces(out: Assembler, seccomp: Seccomp, entries: list[Arch], default: int) -> list[tuple[int, Place]]:
    """The ranges of numbers behind one audit number (x86-64 and x32 share theirs), each with where to go on."""
    ranges: list[tuple[int, Decision]] = []
    for entry in entries:
        ranges += _decision_ranges(seccomp, entry, default)
    if all(entry.audit == 0xC000003E and not entry.base for entry in entries):
        ranges.append((arches.X32_BIT, KILL_PROCESS))
    ranges.append((arches.NO_CALL, ALLOW))
    wide = entries[0].wide
    pieces: list[tuple[int, Place]] = []
    places: dict[tuple[bool, Decision], Place] = {}
    previous: Decision | None = None
    for start, decision in ranges:
        if decision == previous:
            continue
        previous = decision
        key = (wide and not start & arches.X32_BIT, decision)
        if key not in places:
            places[key] = _decide(out, decision, default, wide=key[0])
        pieces.append((start, places[key]))
    return pieces


def _decision_ranges(seccomp: Seccomp, entry: Arch, default: int) -> list[tuple[int, Decision]]:
    resolved = resolve(seccomp, entry, default)
    decisions = resolved.decisions()
    lets_through = default in (ALLOW, LOG) or default & 0xFFFF0000 == TRACE
    newer = default if lets_through or resolved.highest < 0 else ERRNO | ENOSYS
    ranges: list[tuple[int, Decision]] = []
    expected = 0
    for number in [*sorted(decisions), _WORD]:
        if expected <= resolved.highest and expected < number:
            ranges.append((entry.base + expected, default))
            expected = min(number, resolved.highest + 1)
        if expected < number:
            ranges.append((entry.base + expected, newer))
        if number in decisions:
            ranges.append((entry.base + number, decisions[number]))
            expected = number + 1
    return ranges


def _decide(out: Assembler, decision: Decision, default: int, *, wide: bool) -> Place:
    """Where a call's answer is found: a return, or tests of its arguments."""
    if isinstance(decision, int):
        return out.give(decision)
    if _on_one_argument(decision):
        return _search_argument(out, decision[0][0][0][0], _value_pieces(out, decision, default, wide), wide=wide)
    place = out.give(default)
    for tests, value in reversed(decision):
        matched = out.give(value)
        for test in reversed(tests):
            matched = _test(out, test, matched, place, wide=wide)
        place = matched
    return place


def _on_one_argument(branches: tuple[Branch, ...]) -> bool:
    """Whether all branches compare the same argument, so that one binary search over its values decides."""
    first = branches[0][0][0][0]
    return all(len(tests) == 1 and tests[0][0] == first and tests[0][1] != "MASKED_EQ" for tests, _ in branches)


def _test(out: Assembler, test: Test, yes: Place, no: Place, *, wide: bool) -> Place:
    index, operator, value, datum = test
    if operator != "MASKED_EQ":
        pieces = [(start, yes if holds else no) for start, holds in _intervals(operator, value, wide)]
        return _search_argument(out, index, pieces, wide=wide)
    place = yes
    for half in (1, 0) if wide else (0,):  # backwards: the low half, which tells more, is tested first
        bits = value >> (32 * half) & _WORD
        if bits:
            place = out.branch(EQUAL, datum >> (32 * half) & _WORD, place, no)
            if bits != _WORD:
                place = out.mask(bits, place)
            place = out.load(_ARGS + 8 * index + 4 * half, place)
    return place


def _intervals(operator: str, value: int, wide: bool) -> list[tuple[int, bool]]:
    """The values of an argument as (first, whether the comparison holds from there on)."""
    end = 1 << (64 if wide else 32)
    holds = {
        "EQ": [(0, False), (value, True), (value + 1, False)],
        "NE": [(0, True), (value, False), (value + 1, True)],
        "LT": [(0, True), (value, False)],
        "LE": [(0, True), (value + 1, False)],
        "GE": [(0, False), (value, True)],
        "GT": [(0, False), (value + 1, True)],
    }[operator]
    kept: list[tuple[int, bool]] = []
    for start, truth in holds:
        if start >= end:
            break
        if kept and kept[-1][0] == start:
            kept.pop()
        if not kept or kept[-1][1] != truth:
            kept.append((start, truth))
    return kept


def _value_pieces(out: Assembler, branches: tuple[Branch, ...], default: int, wide: bool) -> list[tuple[int, Place]]:
    """The values of the one argument as (first, where to go on); the first branch that holds wins."""
    tables = [(_intervals(tests[0][1], tests[0][2], wide), value) for tests, value in branches]
    starts = sorted({start for intervals, _ in tables for start, _ in intervals})
    pieces: list[tuple[int, Place]] = []
    for start in starts:
        answer = default
        for intervals, value in tables:
            if [truth for first, truth in intervals if first <= start][-1]:
                answer = value
                break
        place = out.give(answer)
        if not pieces or pieces[-1][1] is not place:
            pieces.append((start, place))
    return pieces


def _search_argument(out: Assembler, index: int, pieces: list[tuple[int, Place]], *, wide: bool) -> Place:
    """Binary search over an argument's values: the upper word first, then the lower one where it matters."""
    offset = _ARGS + 8 * index
    if not wide:
        return out.load(offset, out.search(pieces)) if len(pieces) > 1 else pieces[0][1]
    uppers: list[tuple[int, Place]] = []
    last = pieces[0][1]
    for upper in sorted({start >> 32 for start, _ in pieces}):
        inside = [(start & _WORD, place) for start, place in pieces if start >> 32 == upper]
        if inside[0][0]:
            inside.insert(0, (0, last))
        last = inside[-1][1]
        place = out.load(offset, out.search(inside)) if len(inside) > 1 else last
        _append(uppers, upper, place)
        if upper < _WORD:
            _append(uppers, upper + 1, last)
    if len(uppers) == 1:
        return uppers[0][1]
    return out.load(offset + 4, out.search(uppers))


def _append(pieces: list[tuple[int, Place]], start: int, place: Place) -> None:
    if pieces and pieces[-1][0] == start:
        pieces.pop()
    if not pieces or pieces[-1][1] is not place:
        pieces.append((start, place))
