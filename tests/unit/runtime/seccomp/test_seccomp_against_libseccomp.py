"""Atoll's filters beside libseccomp's, run in one machine on the same calls; and the two tables of numbers.

Known, wanted differences, left out or named below: ENOSYS for newer calls, -1, i386's multiplexers with arguments,
and which of two contradicting rules wins where libseccomp depends on the order of its tree.
Where libseccomp disagrees with itself, its answers rule by rule count.
"""

from __future__ import annotations

import functools

import bpf_machine
import libseccomp
import model
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from strategies import MACHINES, cases

from atoll.runtime import seccomp

pytestmark = pytest.mark.skipif(libseccomp.lib is None, reason="needs libseccomp2")

NAMED = {table: name for name, table in model.NAMED.items()}
MULTIPLEXED = set("socketcall ipc".split())


@functools.cache
def newer_than_theirs(table: str) -> set[int]:
    """Numbers of calls that this libseccomp has no name for (2.5.4 ends with Linux 5.17)."""
    return {nr for name, nr in model.TABLES[table].items() if libseccomp.number(table, name) < 0}


EDGES = (0, 1, 2, 8, 12, 16, 38, 40, 45, 46, 0x20008, 0xFFFFFFFF, 0x10000000, 1 << 32 | 1)


def libseccomp_filter(profile, machine: str, *, optimize: int = 1) -> bytes:
    own, *others = MACHINES[machine]
    listed = [table for table in others if NAMED[table] in profile.architectures]
    try:
        return libseccomp.compile_filter(profile, [own, *listed], optimize=optimize)
    except libseccomp.Contradiction:
        assume(False)
        raise


def rule_by_rule(profile, machine: str, nr: int, audit: int, args: tuple[int, ...], together: int) -> int:
    """libseccomp's answer put together from filters of one comparison set each.

    libseccomp 2.5.4 contradicts itself: of "arg < 0" and "arg < 1 << 32" in one filter the second is lost, because
    its tree merges their upper words. Alone, each is right.
    """
    answers = []
    for rule in profile.syscalls:
        for tests in model.alternatives(rule):
            alone = profile.replace(syscalls=(rule.replace(args=tests),))
            answers.append(bpf_machine.run(libseccomp_filter(alone, machine), nr, audit, args)[0])
    default = bpf_machine.run(libseccomp_filter(profile.replace(syscalls=()), machine), nr, audit, args)[0]
    matched = {answer for answer in answers if answer != default}
    return matched.pop() if len(matched) == 1 else together if matched else default


def compare(profile, asked) -> None:
    for machine, tables in MACHINES.items():
        ours, theirs = seccomp.compile(profile, arch=machine), libseccomp_filter(profile, machine)
        for name, shift, args in asked:
            for table in tables:
                nr = max(0, model.TABLES[table].get(name, 300) + shift)
                if nr in newer_than_theirs(table):
                    continue
                marked = nr | (bpf_machine.X32_BIT if table == "x32" else 0)
                audit = bpf_machine.AUDIT[table]
                got = bpf_machine.run(ours, marked, audit, args)[0]
                wanted = bpf_machine.run(theirs, marked, audit, args)[0]
                if got == wanted:
                    continue
                opened = table == tables[0] or NAMED[table] in profile.architectures
                answers = model.possible(profile, table, nr, args) if opened else []
                if opened and wanted != got == rule_by_rule(profile, machine, marked, audit, args, wanted):
                    continue
                if answers == [model.ENOSYS]:
                    continue  # newer than the profile: runc puts the same in front of libseccomp's filter
                assert len(set(answers)) > 1, (machine, table, nr, args, hex(got), hex(wanted))
                # Contradictory rules. libseccomp's own choice varies; of "!= 0: kill" and "!= 1: errno" it even
                # lets 2 through, where both forbid it.
                assert got == answers[0]


@settings(max_examples=120, deadline=None, phases=(Phase.reuse, Phase.generate, Phase.shrink))
@given(cases())
def test_any_profile(case):
    compare(*case)


@settings(max_examples=120, deadline=None, phases=(Phase.reuse, Phase.generate, Phase.shrink))
@given(st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"]).flatmap(lambda a: cases(st.just(a))))
def test_allow_lists_and_deny_lists(case):
    """One action for all rules, as in nearly every real profile: no contradictions, answers must be the same."""
    compare(*case)


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("capabilities", [frozenset(), frozenset({"CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_SYS_TIME"})])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_default_profiles_number_by_number(docker, capabilities, machine):
    profile = seccomp.default_profile(capabilities, docker=docker, arch=machine)
    ours, theirs = seccomp.compile(profile, arch=machine), libseccomp_filter(profile, machine)
    bpf_machine.check(ours)
    names = [name for rule in profile.syscalls if rule.args for name in rule.names]
    argued = {table: {model.TABLES[table].get(name) for name in names} for table in MACHINES[machine]}
    for table in MACHINES[machine]:
        skipped = {model.TABLES[table].get(name) for name in MULTIPLEXED} | newer_than_theirs(table)
        for nr in sorted(set(model.TABLES[table].values()) - skipped):
            for value in EDGES if nr in argued[table] else EDGES[:2]:
                marked = nr | (bpf_machine.X32_BIT if table == "x32" else 0)
                got = bpf_machine.run(ours, marked, bpf_machine.AUDIT[table], (value,))[0]
                wanted = bpf_machine.run(theirs, marked, bpf_machine.AUDIT[table], (value,))[0]
                if got != wanted:
                    assert model.answer(profile, machine, table, nr, (value,)) == got == model.ENOSYS, (table, nr)


@pytest.mark.parametrize("table", list(model.TABLES))
def test_numbers(table):
    """Each call that libseccomp knows by a number has that number here."""
    base = bpf_machine.X32_BIT if table == "x32" else 0
    agreed = 0
    for name, nr in model.TABLES[table].items():
        theirs = libseccomp.number(table, name)
        if theirs >= 0:
            assert theirs - base == nr, name
            agreed += 1
    assert agreed > 0.9 * len([nr for nr in model.TABLES[table].values() if nr < 450 or nr > 500])


@pytest.mark.parametrize("docker", [False, True])
def test_steps_are_fewer_than_libseccomps(docker, capsys):
    """The figures in docs/seccomp.md: instructions in all, and executed on average for a dozen common calls."""
    profile = seccomp.default_profile(frozenset(), docker=docker, arch="x86_64")
    common = "read write openat close mmap futex epoll_wait clock_nanosleep recvfrom sendto ioctl statx".split()
    filters = {
        "atoll": seccomp.compile(profile, arch="x86_64"),
        "libseccomp": libseccomp_filter(profile, "x86_64"),
        "libseccomp, optimised as by runc": libseccomp_filter(profile, "x86_64", optimize=2),
    }
    means = {}
    for label, program in filters.items():
        calls = [(model.TABLES["x86_64"][name], bpf_machine.AUDIT["x86_64"]) for name in common]
        means[label] = sum(bpf_machine.run(program, *call)[1] for call in calls) / len(calls)
        with capsys.disabled():
            print(f"\n  {label}: {len(program) // 8} instructions, {means[label]:.1f} executed", end="")
    assert means["atoll"] < 0.85 * means["libseccomp, optimised as by runc"]
    assert means["atoll"] < means["libseccomp"] / 5
    assert len(filters["atoll"]) < len(filters["libseccomp"]) / 2
