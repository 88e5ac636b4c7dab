"""From OCI rules to one decision per system-call number, for one architecture.

Holds: `Test`, `Decision`, `resolve`, and i386's multiplexers. Does not hold: BPF (`bpf.py`), the layout of a filter
(`compiler.py`).

How rules of one call combine, as libseccomp does it for runc and crun:
    1. a rule whose action is the default one says nothing and is left out;
    2. a rule without arguments decides the call, whatever other rules say; of two such the first;
    3. else any rule may match (OR) and a rule matches if all its arguments do (AND); where rules with different
       actions overlap, those that only compare for equality come first, then the order of the profile;
    4. a rule that names one argument twice counts as one rule for each of its arguments (runc's reading).
Names that no table knows are skipped, as runc does: profiles list calls of newer kernels and other machines.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.runtime.seccomp.flags import action_value
from atoll.runtime.seccomp.tables import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.seccomp.arches import Arch
    from atoll.spec.runtime import Seccomp, SeccompArg, SyscallRule

    Test = tuple[int, str, int, int]  # argument, operator ("EQ"), value (the mask of MASKED_EQ), its datum
    Branch = tuple[tuple[Test, ...], int]  # all tests hold → what the filter returns
    Decision = int | tuple[Branch, ...]  # the same for all arguments, or the first branch that matches

_PRIVATE = 0x0F0000  # __ARM_NR_BASE, arch/arm/include/uapi/asm/unistd.h
_OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")

# Calls that i386 also makes through socketcall(2) and ipc(2), with their number there (linux/net.h, linux/ipc.h).
_SOCKETCALL = (
    "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown "
    "setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
).split()
_IPC = {
    "semop": 1,
    "semget": 2,
    "semctl": 3,
    "semtimedop": 4,
    "msgsnd": 11,
    "msgrcv": 12,
    "msgget": 13,
    "msgctl": 14,
    "shmat": 21,
    "shmdt": 22,
    "shmget": 23,
    "shmctl": 24,
}
# From the strictest answer to the most permissive, the kernel's own order of precedence among filters.
_LAXITY = (0x80000000, 0x00000000, 0x00030000, 0x00050000, 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000)


class Resolved:
    """Decisions by number for one architecture; `highest` is the largest number the profile names, -1 if none.

    arm's private calls (0x0f0000 and up) do not count for it: what lies between is as unknown as what lies above.
    """

    def __init__(self) -> None:
        self.always: dict[int, int] = {}
        self.branches: dict[int, list[Branch]] = {}
        self.highest = -1

    def decisions(self) -> dict[int, Decision]:
        """One decision for each number that has a rule."""
        found: dict[int, Decision] = {}
        for number, branches in self.branches.items():
            exact = [b for b in branches if all(test[1] == "EQ" for test in b[0])]
            found[number] = (*exact, *[b for b in branches if b not in exact])
        found.update(self.always)
        return found


def resolve(seccomp: Seccomp, arch: Arch, default: int) -> Resolved:
    """What a profile says of each number. Raises InvalidArgument with the JSON path of a rule that is wrong."""
    table = numbers(arch.table)
    result = Resolved()
    private: set[int] = set()
    for index, rule in enumerate(seccomp.syscalls):
        path = f"linux.seccomp.syscalls[{index}]"
        value = action_value(rule.action, rule.errno_ret, path)
        alternatives = _alternatives(rule, path, arch.wide)
        for name in rule.names:
            _refuse_unusable(name, rule, path)
            number = table.get(name)
            if number is not None:
                if number < _PRIVATE:
                    result.highest = max(result.highest, number)
                else:
                    private.add(number)
                if value != default:
                    _add(result, number, alternatives, value)
            if arch.table == "i386" and value != default:
                _add_multiplexed(result, table, name, alternatives, value, default)
    for number in private - result.branches.keys():
        result.always.setdefault(number, default)  # named, so not newer than the profile
    return result


def _refuse_unusable(name: str, rule: SyscallRule, path: str) -> None:
    if not name:
        raise errors.InvalidArgument(f"{path}.names: an empty name")
    if name == "write" and rule.action == "SCMP_ACT_NOTIFY":
        # The init reports by write(2) after the filter is in force and before a supervisor can answer (as runc).
        raise errors.InvalidArgument(f"{path}: SCMP_ACT_NOTIFY cannot be used for write")


def _alternatives(rule: SyscallRule, path: str, wide: bool) -> list[tuple[Test, ...]]:
    """The sets of tests of which one must hold; one empty set where the rule has no arguments."""
    tests = [_test(arg, f"{path}.args[{index}]", wide) for index, arg in enumerate(rule.args)]
    repeated = len({test[0] for test in tests}) < len(tests)
    alternatives = [(test,) for test in tests] if repeated else [tuple(tests)]
    # A mask of no bits says nothing, and a rule of nothing else is one without arguments (so libseccomp).
    return [tuple([test for test in tests if test[1:3] != ("MASKED_EQ", 0)]) for tests in alternatives]


def _test(arg: SeccompArg, path: str, wide: bool) -> Test:
    operator = arg.op.removeprefix("SCMP_CMP_")
    if operator not in _OPERATORS:
        raise errors.InvalidArgument(f"{path}: unknown operator {arg.op!r}")
    if not 0 <= arg.index <= 5:
        raise errors.InvalidArgument(f"{path}: a system call has arguments 0 to 5, not {arg.index}")
    if not (0 <= arg.value < 1 << 64 and 0 <= arg.value_two < 1 << 64):
        raise errors.InvalidArgument(f"{path}: values are unsigned numbers of 64 bits")
    cut = 0xFFFFFFFFFFFFFFFF if wide else 0xFFFFFFFF
    datum = arg.value_two & arg.value if operator == "MASKED_EQ" else 0
    return (arg.index, operator, arg.value & cut, datum & cut)


def _add(result: Resolved, number: int, alternatives: list[tuple[Test, ...]], value: int) -> None:
    for tests in alternatives:
        if tests:
            branch = (tests, value)
            known = result.branches.setdefault(number, [])
            if branch not in known:
                known.append(branch)
        else:
            result.always.setdefault(number, value)


def _add_multiplexed(
    result: Resolved,
    table: dict[str, int],
    name: str,
    alternatives: list[tuple[Test, ...]],
    value: int,
    default: int,
) -> None:
    """The same rule for socketcall(2) or ipc(2) with this call's number.

    The call's own arguments lie in memory there, where no filter looks. So a rule with arguments holds for all of
    them if it forbids more than the default, and for none if it permits more: never looser than it was written.
    (libseccomp drops the arguments in both cases, which is how socketcall walked round a rule on AF_ALG.)
    """
    if name in _SOCKETCALL:
        entry, call = table["socketcall"], _SOCKETCALL.index(name) + 1
    elif name in _IPC:
        entry, call = table["ipc"], _IPC[name]
    else:
        return
    if alternatives != [()] and _laxity(value) > _laxity(default):
        return
    _add(result, entry, [((0, "EQ", call, 0),)], value)


def _laxity(value: int) -> int:
    return _LAXITY.index(value & 0xFFFF0000)
