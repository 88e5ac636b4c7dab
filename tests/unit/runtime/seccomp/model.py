"""What a profile means, said in the plainest way: a slow interpreter of OCI rules to hold the compiler against."""

from __future__ import annotations

from atoll.runtime.seccomp.flags import action_value
from atoll.runtime.seccomp.tables import numbers

TABLES = {name: numbers(name) for name in ("x86_64", "x32", "i386", "aarch64", "arm")}
NAMED = {
    "SCMP_ARCH_X86_64": "x86_64",
    "SCMP_ARCH_X32": "x32",
    "SCMP_ARCH_X86": "i386",
    "SCMP_ARCH_AARCH64": "aarch64",
    "SCMP_ARCH_ARM": "arm",
}
ALLOW, ENOSYS, KILL_PROCESS = 0x7FFF0000, 0x50026, 0x80000000


def holds(arg, actual: tuple[int, ...], wide: bool) -> bool:
    cut = (1 << 64 if wide else 1 << 32) - 1
    value, got = arg.value & cut, actual[arg.index] & cut
    return {
        "SCMP_CMP_NE": got != value,
        "SCMP_CMP_LT": got < value,
        "SCMP_CMP_LE": got <= value,
        "SCMP_CMP_EQ": got == value,
        "SCMP_CMP_GE": got >= value,
        "SCMP_CMP_GT": got > value,
        "SCMP_CMP_MASKED_EQ": got & value == arg.value_two & value,
    }[arg.op]


def says_nothing(arg, wide: bool) -> bool:
    """A comparison under a mask of no bits."""
    return arg.op == "SCMP_CMP_MASKED_EQ" and not arg.value & (1 << 64 if wide else 1 << 32) - 1


def alternatives(rule):
    """A rule that names an argument twice is several rules."""
    if len({arg.index for arg in rule.args}) < len(rule.args):
        return [(arg,) for arg in rule.args]
    return [rule.args]


def possible(profile, table: str, nr: int, args: tuple[int, ...]) -> list[int]:
    """Every answer that some rule gives, the one that counts first; several only where rules contradict."""
    default = action_value(profile.default_action, profile.default_errno_ret, "default")
    named = TABLES[table]
    known = [named[name] for rule in profile.syscalls for name in rule.names if named.get(name, 1 << 20) < 0xF0000]
    unconditional, exact, other = [], [], []
    wide = table in ("x86_64", "aarch64")
    for rule in profile.syscalls:
        value = action_value(rule.action, rule.errno_ret, "rule")
        if value == default or nr not in [named.get(name) for name in rule.names]:
            continue
        for tests in alternatives(rule):
            tests = [arg for arg in tests if not says_nothing(arg, wide)]
            if all(holds(arg, args, wide) for arg in tests):
                all_equal = all(arg.op == "SCMP_CMP_EQ" for arg in tests)
                (unconditional if not tests else exact if all_equal else other).append(value)
    if unconditional:
        return unconditional[:1]
    if exact or other:
        return exact + other
    lets_through = default == ALLOW or default & 0xFFFF0000 in (0x7FFC0000, 0x7FF00000)
    private = [number for number in named.values() if number >= 0xF0000]
    if known and nr > max(known) and not lets_through:
        mentioned = {named.get(name) for rule in profile.syscalls for name in rule.names}
        if nr not in mentioned or nr not in private:
            return [ENOSYS]
    return [default]


def answer(profile, machine: str, table: str, nr: int, args: tuple[int, ...]) -> int:
    """What becomes of a call through the entry point `table` (nr without x32's bit) on a machine."""
    own = {"x86_64": "x86_64", "aarch64": "aarch64"}[machine]
    if nr & 0xFFFFFFFF == 0xFFFFFFFF:
        return ALLOW
    if table != own and table not in [NAMED.get(name) for name in profile.architectures]:
        return KILL_PROCESS
    return possible(profile, table, nr, args)[0]
