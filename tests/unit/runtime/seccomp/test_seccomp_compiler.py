"""The compiler against a plain model of the rules, and what it refuses."""

from __future__ import annotations

import bpf_machine
import model
import pytest
from hypothesis import Phase, given, settings
from strategies import EDGES, MACHINES, cases

from atoll.base import errors
from atoll.runtime import seccomp
from atoll.spec.runtime import Seccomp, SeccompArg, SyscallRule

ALLOW, KILL_PROCESS, ENOSYS, EPERM = 0x7FFF0000, 0x80000000, 0x50026, 0x50001
READ, SOCKET = 0, 41  # x86-64


def profile(*rules: SyscallRule, default: str = "SCMP_ACT_ERRNO", **more: object) -> Seccomp:
    return Seccomp(default_action=default, syscalls=rules, **more)


def rule(names: str, action: str = "SCMP_ACT_ALLOW", *args: tuple[int, str, int], errno: int | None = None):
    compared = tuple(SeccompArg(index=i, op=f"SCMP_CMP_{op}", value=value) for i, op, value in args)
    return SyscallRule(names=tuple(names.split()), action=action, errno_ret=errno, args=compared)


def ask(given: Seccomp, nr: int, *args: int, table: str = "x86_64", machine: str = "x86_64") -> int:
    program = seccomp.compile(given, arch=machine)
    bpf_machine.check(program)
    return bpf_machine.run(program, nr, bpf_machine.AUDIT[table], args)[0]


@settings(max_examples=150, deadline=None, phases=(Phase.reuse, Phase.generate, Phase.shrink))
@given(cases())
def test_filters_mean_what_the_model_says(case):
    given_profile, asked = case
    for machine, tables in MACHINES.items():
        program = seccomp.compile(given_profile, arch=machine)
        bpf_machine.check(program)
        for name, shift, args in asked:
            for table in tables:
                nr = max(0, model.TABLES[table].get(name, 300) + shift)
                marked = nr | (bpf_machine.X32_BIT if table == "x32" else 0)
                got = bpf_machine.run(program, marked, bpf_machine.AUDIT[table], args)[0]
                wanted = model.answer(given_profile, machine, table, nr, args)
                assert got == wanted, (machine, table, nr, args, hex(got), hex(wanted))


@pytest.mark.parametrize("op", ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"])
def test_every_operator_at_every_edge(op):
    """All edges of 32 and 64 bits against each other, on a wide and on a narrow entry point."""
    around = sorted({(edge + d) & (1 << 64) - 1 for edge in EDGES for d in (-1, 0, 1)})
    for value, datum in [(v, d) for v in EDGES for d in (EDGES if op == "MASKED_EQ" else (0,))]:
        arg = SeccompArg(index=3, op=f"SCMP_CMP_{op}", value=value, value_two=datum)
        one = SyscallRule(names=("read",), action="SCMP_ACT_ALLOW", args=(arg,))
        program = seccomp.compile(profile(one, architectures=("SCMP_ARCH_X86",)), arch="x86_64")
        bpf_machine.check(program)
        for got in around:
            for table, nr in (("x86_64", 0), ("i386", 3)):
                args = (0, 0, 0, got)
                wanted = ALLOW if model.holds(arg, args, table == "x86_64") else EPERM
                assert bpf_machine.run(program, nr, bpf_machine.AUDIT[table], args)[0] == wanted, (table, arg, got)


@pytest.mark.parametrize(
    ("action", "errno", "value"),
    [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, 0x80000000),
        ("SCMP_ACT_TRAP", None, 0x30000),
        ("SCMP_ACT_ERRNO", None, 0x50001),
        ("SCMP_ACT_ERRNO", 0, 0x50000),
        ("SCMP_ACT_ERRNO", 38, 0x50026),
        ("SCMP_ACT_TRACE", None, 0x7FF00001),
        ("SCMP_ACT_TRACE", 5, 0x7FF00005),
        ("SCMP_ACT_LOG", None, 0x7FFC0000),
        ("SCMP_ACT_NOTIFY", None, 0x7FC00000),
    ],
)
def test_actions(action, errno, value):
    assert ask(profile(rule("read", action, errno=errno), default="SCMP_ACT_ALLOW"), READ) == value


def test_default_errno():
    assert ask(profile(rule("write")), READ) == EPERM
    assert ask(profile(rule("write"), default_errno_ret=13), READ) == 0x5000D


def test_newer_calls_read_enosys_and_only_where_the_default_refuses():
    names = rule("read statx")
    assert ask(profile(names), 333) == ENOSYS
    assert ask(profile(names), 331) == EPERM
    assert ask(profile(names, default="SCMP_ACT_KILL"), 333) == ENOSYS
    assert ask(profile(names, default="SCMP_ACT_TRAP"), 333) == ENOSYS
    for default, value in [("SCMP_ACT_ALLOW", ALLOW), ("SCMP_ACT_LOG", 0x7FFC0000), ("SCMP_ACT_TRACE", 0x7FF00001)]:
        assert ask(profile(rule("read statx", "SCMP_ACT_ERRNO"), default=default), 333) == value
    # A rule that says no more than the default still tells what its author knew.
    assert ask(profile(rule("read"), rule("mseal", "SCMP_ACT_ERRNO")), 462) == EPERM
    assert ask(profile(rule("read"), rule("mseal", "SCMP_ACT_ERRNO")), 463) == ENOSYS
    # No known name at all: nothing to go by.
    assert ask(profile(rule("not_a_call")), 5000) == EPERM


def test_arm_private_calls_do_not_hide_newer_ones():
    both = profile(rule("read mseal set_tls"), architectures=("SCMP_ARCH_ARM",))
    assert ask(both, 983045, table="arm", machine="aarch64") == ALLOW
    assert ask(both, 463, table="arm", machine="aarch64") == ENOSYS
    assert ask(both, 983044, table="arm", machine="aarch64") == ENOSYS
    assert ask(both.replace(syscalls=(rule("read set_tls"),)), 463, table="arm", machine="aarch64") == ENOSYS
    known = profile(rule("mseal", "SCMP_ACT_ERRNO"), rule("read set_tls"), architectures=("SCMP_ARCH_ARM",))
    assert [ask(known, nr, table="arm", machine="aarch64") for nr in (462, 463, 983045)] == [EPERM, ENOSYS, ALLOW]
    refused = profile(rule("read"), rule("set_tls", "SCMP_ACT_ERRNO"), architectures=("SCMP_ARCH_ARM",))
    assert ask(refused, 983045, table="arm", machine="aarch64") == EPERM


def test_entry_points_that_are_not_listed_are_killed():
    mine = profile(rule("read"))
    assert ask(mine, 3, table="i386") == KILL_PROCESS
    assert ask(mine, bpf_machine.X32_BIT) == KILL_PROCESS
    assert ask(mine, 0xFFFFFFFE) == KILL_PROCESS
    assert ask(mine, 63, table="arm", machine="aarch64") == KILL_PROCESS
    assert ask(mine, 63, table="aarch64") == KILL_PROCESS
    opened = mine.replace(architectures=("SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_MIPS64"))
    assert ask(opened, 3, table="i386") == ALLOW
    assert ask(opened, bpf_machine.X32_BIT) == ALLOW
    assert ask(opened, bpf_machine.X32_BIT + 1) == ENOSYS
    assert ask(opened.replace(architectures=("SCMP_ARCH_X32",)), 3, table="i386") == KILL_PROCESS


def test_a_cancelled_call_is_left_to_its_tracer():
    for default in ("SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ALLOW"):
        assert ask(profile(rule("read"), default=default), 0xFFFFFFFF) == ALLOW


def test_unconditional_rules_decide_and_the_first_of_them():
    some = rule("socket", "SCMP_ACT_ERRNO", (0, "EQ", 38), errno=97)
    assert ask(profile(some, rule("socket")), SOCKET, 38) == ALLOW
    assert ask(profile(rule("socket"), some), SOCKET, 38) == ALLOW
    assert ask(profile(rule("socket", "SCMP_ACT_LOG"), rule("socket")), SOCKET) == 0x7FFC0000


def test_of_contradicting_rules_equality_comes_first_then_the_order():
    above = rule("socket", "SCMP_ACT_LOG", (0, "GT", 0))
    exact = rule("socket", "SCMP_ACT_TRAP", (0, "EQ", 1))
    other = rule("socket", "SCMP_ACT_KILL", (1, "NE", 5))
    for rules in ((above, exact), (exact, above)):
        assert [ask(profile(*rules), SOCKET, n) for n in (0, 1, 2)] == [EPERM, 0x30000, 0x7FFC0000]
    assert ask(profile(above, other), SOCKET, 1) == 0x7FFC0000
    assert ask(profile(other, above), SOCKET, 1) == 0


def test_arguments_of_one_rule_are_joined_and_repeated_ones_split():
    joined = profile(rule("socket", "SCMP_ACT_ALLOW", (0, "EQ", 1), (1, "EQ", 2)))
    assert ask(joined, SOCKET, 1, 2) == ALLOW
    assert ask(joined, SOCKET, 1, 3) == EPERM
    split = profile(rule("socket", "SCMP_ACT_ALLOW", (0, "GE", 5), (0, "LE", 1), (1, "EQ", 9)))
    assert ask(split, SOCKET, 7) == ask(split, SOCKET, 0) == ask(split, SOCKET, 3, 9) == ALLOW
    assert ask(split, SOCKET, 3) == EPERM


def test_the_upper_half_of_an_argument_counts():
    exact = profile(rule("socket", "SCMP_ACT_ALLOW", (0, "EQ", 1)))
    assert ask(exact, SOCKET, 1 << 32 | 1) == EPERM
    narrow = exact.replace(architectures=("SCMP_ARCH_X86",))
    assert ask(narrow, 359, 1 << 32 | 1, table="i386") == ALLOW
    x32 = exact.replace(architectures=("SCMP_ARCH_X32",))
    assert ask(x32, bpf_machine.X32_BIT | SOCKET, 1 << 32 | 1) == ALLOW
    assert ask(x32, SOCKET, 1 << 32 | 1) == EPERM


def test_socketcall_follows_the_calls_behind_it_and_is_never_looser():
    opened = ("SCMP_ARCH_X86",)
    plain = profile(rule("connect semop"), architectures=opened)
    assert ask(plain, 102, 3, table="i386") == ALLOW
    assert ask(plain, 102, 1, table="i386") == EPERM
    assert ask(plain, 117, 1, table="i386") == ALLOW
    # Permitting some families only: socketcall hides the family, so it stays closed.
    permits = profile(rule("socket", "SCMP_ACT_ALLOW", (0, "EQ", 1)), architectures=opened)
    assert ask(permits, 102, 1, table="i386") == EPERM
    assert ask(permits, 359, 1, table="i386") == ALLOW
    # Forbidding one family (CVE-2026-31431): socketcall cannot be asked which, so none passes.
    forbids = profile(
        rule("socket", "SCMP_ACT_ERRNO", (0, "EQ", 38), errno=97), default="SCMP_ACT_ALLOW", architectures=opened
    )
    assert ask(forbids, 102, 1, table="i386") == 0x50061
    assert ask(forbids, 102, 3, table="i386") == ALLOW


@pytest.mark.parametrize(
    ("given_profile", "words"),
    [
        (profile(default="SCMP_ACT_NOTIFY"), "cannot be the default"),
        (profile(default="SCMP_ACT_WHAT"), "unknown action"),
        (profile(default="SCMP_ACT_ALLOW", default_errno_ret=1), "cannot return errno"),
        (profile(default_errno_ret=4096), "out of range"),
        (profile(rule("read", errno=1)), r"syscalls\[0\]: SCMP_ACT_ALLOW cannot return errno"),
        (profile(rule("read write", "SCMP_ACT_NOTIFY")), "cannot be used for write"),
        (profile(SyscallRule(names=("",), action="SCMP_ACT_ALLOW")), "empty name"),
        (profile(rule("read", "SCMP_ACT_ALLOW", (6, "EQ", 1))), r"args\[0\]: a system call has arguments 0 to 5"),
        (profile(rule("read", "SCMP_ACT_ALLOW", (0, "ODD", 1))), "unknown operator"),
        (profile(rule("read", "SCMP_ACT_ALLOW", (0, "EQ", 1 << 64))), "64 bits"),
        (profile(architectures=("SCMP_ARCH_VAX",)), "unknown architecture"),
        (
            profile(*[rule("read", "SCMP_ACT_ALLOW", (0, "EQ", n), (1, "NE", n)) for n in range(600)]),
            "the kernel takes 4096",
        ),
    ],
)
def test_refusals(given_profile, words):
    with pytest.raises(errors.InvalidArgument, match=words):
        seccomp.compile(given_profile, arch="x86_64")


def test_a_machine_without_tables_is_named():
    with pytest.raises(errors.Unsupported, match="s390x"):
        seccomp.compile(profile(), arch="s390x")


def test_many_values_of_one_argument_are_searched_not_tried():
    many = profile(*[rule("socket", "SCMP_ACT_ALLOW", (0, "EQ", 3 * n)) for n in range(500)])
    program = seccomp.compile(many, arch="x86_64")
    bpf_machine.check(program)
    for value in (0, 1, 3, 750, 1497, 1498, 1 << 40):
        answer, steps = bpf_machine.run(program, SOCKET, bpf_machine.AUDIT["x86_64"], (value,))
        assert answer == (ALLOW if value % 3 == 0 and value < 1500 else EPERM)
        assert steps < 30


def test_flags():
    notify = rule("mkdir", "SCMP_ACT_NOTIFY")
    names = [f"SECCOMP_FILTER_FLAG_{n}" for n in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")]
    assert seccomp.install_flags(profile()) == 0
    assert seccomp.install_flags(profile(flags=tuple(names[:3]))) == 7
    assert seccomp.install_flags(profile(notify)) == 8
    assert seccomp.install_flags(profile(notify, flags=tuple(names))) == 1 | 2 | 4 | 8 | 16 | 32
    with pytest.raises(errors.InvalidArgument, match=r"flags\[0\]: unknown flag 'X'"):
        seccomp.install_flags(profile(flags=("X",)))
    with pytest.raises(errors.InvalidArgument, match="needs a rule with SCMP_ACT_NOTIFY"):
        seccomp.install_flags(profile(flags=(names[3],)))
