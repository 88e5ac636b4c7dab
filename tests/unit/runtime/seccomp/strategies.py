"""Random profiles and calls, drawn so that they meet: few names, and argument values around the same edges."""

from __future__ import annotations

from hypothesis import strategies as st

from atoll.spec.runtime import Seccomp, SeccompArg, SyscallRule

MACHINES = {"x86_64": ("x86_64", "x32", "i386"), "aarch64": ("aarch64", "arm")}
# Present everywhere, absent somewhere, renumbered on x32, above the rest, unknown. None of i386's multiplexed ones.
NAMES = (
    "read write open openat ioctl readv clone personality mmap mmap2 fstatat64 arch_prctl set_tls statx clone3 "
    "getrandom file_setattr no_such_call"
).split()
ACTIONS = ("ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "TRAP", "LOG", "TRACE")
_EDGES = (
    0,
    1,
    2,
    5,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 32,
    (1 << 32) + 5,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)

values = st.one_of(st.sampled_from(_EDGES), st.integers(0, 9), st.integers(0, (1 << 64) - 1))
actions = st.sampled_from([f"SCMP_ACT_{name}" for name in ACTIONS])
architectures = st.lists(
    st.sampled_from(["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
    unique=True,
).map(tuple)


@st.composite
def arguments(draw):
    op = draw(st.sampled_from(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]))
    # Few indexes, so that rules meet on one argument and rules with a repeated one occur.
    return SeccompArg(
        index=draw(st.sampled_from([0, 0, 1, 5])),
        op=f"SCMP_CMP_{op}",
        value=draw(values),
        value_two=draw(values) if op == "MASKED_EQ" else 0,
    )


def rules(action=actions):
    return st.builds(
        SyscallRule,
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(tuple),
        action=action,
        errno_ret=st.none(),
        args=st.one_of(st.just(()), st.lists(arguments(), max_size=3).map(tuple)),
    )


def profiles(action=actions):
    return st.builds(
        Seccomp,
        default_action=actions,
        architectures=architectures,
        syscalls=st.lists(rules(action), max_size=8).map(tuple),
    )


def calls():
    """(name, distance from its number, arguments)"""
    return st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from([0, 0, 0, 1, -1]), st.tuples(*[values] * 6)),
        min_size=1,
        max_size=12,
    )
