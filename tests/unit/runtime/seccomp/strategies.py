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
EDGES = (
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

values = st.one_of(st.sampled_from(EDGES), st.integers(0, 9), st.integers(0, (1 << 64) - 1))
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


def rules(names, action=actions):
    return st.builds(
        SyscallRule,
        names=st.lists(st.sampled_from(names), min_size=1, max_size=3).map(tuple),
        action=action,
        errno_ret=st.none(),
        args=st.one_of(*[st.lists(arguments(), min_size=n, max_size=n).map(tuple) for n in (1, 1, 1, 2, 3, 0)]),
    )


@st.composite
def cases(draw, action=actions):
    """A profile over a few names, and calls of those names with arguments around the values of its rules.

    Calls are (name, distance from its number, arguments).
    """
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    profile = Seccomp(
        default_action=draw(actions),
        architectures=draw(architectures),
        syscalls=tuple(draw(st.lists(rules(names, action), min_size=1, max_size=7))),
    )
    edges = sorted({edge for rule in profile.syscalls for arg in rule.args for edge in (arg.value, arg.value_two)})
    near = st.sampled_from(edges or [0]).flatmap(
        lambda edge: st.sampled_from([edge, edge, edge + 1, edge - 1, edge ^ 1 << 32, edge & 0xFFFFFFFF, edge << 32])
    )
    value = st.one_of(near, near, near, values).map(lambda number: number & (1 << 64) - 1)
    call = st.tuples(
        st.sampled_from([*names, *names, *NAMES]), st.sampled_from([0, 0, 0, 0, 1, -1]), st.tuples(*[value] * 6)
    )
    return profile, draw(st.lists(call, min_size=4, max_size=12))
