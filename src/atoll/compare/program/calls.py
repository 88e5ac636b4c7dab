"""The script that counts system calls: what becomes of every number, without doing what could hurt.

Holds: `probe`, `UNTRIED`. Does not hold: how the answers are read (`../wall/calls.py`).

Each number is tried in children that are thrown away:

1. Under a filter of our own that answers every call but exit_group(2) with SECCOMP_RET_TRACE and has no tracer: the
   kernel then answers ENOSYS *without carrying the call out*, unless a filter that was there before refuses it,
   because of all filters' answers the sternest counts (seccomp(2)), and an error is sterner. So ENOSYS means: every
   filter lets it pass. Twice, with all arguments 0 and all 1, since filters look at arguments.
2. If it passes, and is not among `UNTRIED`: really, with every argument -1, which no call of Linux takes as a request
   to do harm, and a timer that ends the child if it waits. ENOSYS now means: this kernel has no such call.
"""

from __future__ import annotations

from struct import pack

from atoll.compare.program import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.program.main import Context
    from atoll.compare.program.script import Variable

UNTRIED = (
    # They end, multiply or leave the process.
    "exit exit_group fork vfork clone rt_sigreturn "
    # Signals: -1 is everybody.
    "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal "
    # The machine, its terminals, disks, accounting, modules and next kernel.
    "reboot vhangup sync acct swapon swapoff init_module finit_module delete_module kexec_load kexec_file_load "
    # -1 among the flags asks for a new object that stays.
    "msgget semget shmget"
).split()
"""Never carried out; they count as there if every filter lets them pass."""
SIGNALLED, NOT_TRIED = 254, 255
"""Instead of an error number: a signal ended the child (the timer, too), nothing was tried."""
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_RET_ALLOW, _RET_TRACE = 0x7FFF0000, 0x7FF00000
_WAIT_NS = 150_000


def _program(exit_group: int) -> bytes:
    """Load the number; exit_group passes; the rest is traced (bpf: code, jump if true, if false, constant)."""
    lines = ((0x20, 0, 0, 0), (0x15, 0, 1, exit_group), (0x06, 0, 0, _RET_ALLOW), (0x06, 0, 0, _RET_TRACE))
    return b"".join([pack("<HBBI", *line) for line in lines])


def probe(c: Context) -> None:
    """For each number of a range three bytes: what both trials under the filter and the real one answered."""
    s = c.s
    number, end, answer, at, size = (s.variable() for _ in range(5))
    s.copy(number, c.numbers[0])
    s.copy(end, c.numbers[1])
    at = s.variable()
    s.copy(at, s.buffer)
    again = s.label()
    for argument in (0, 1):
        _child(c, number, argument, answer, filtered=True)
        s.put(at, answer, byte=True)
        s.add(at, 1)
    _real(c, number, answer, at)
    s.put(at, answer, byte=True)
    s.add(at, 1)
    s.add(number, 1)
    s.if_less(number, end, again)
    s.copy(size, at)
    s.subtract(size, s.buffer)
    c.tell(records.CALLS, c.numbers[0], size)
    s.call("write", 1, s.buffer, size)


def _real(c: Context, number: Variable, answer: Variable, at: Variable) -> None:
    """The last two answers lie before `at`."""
    s = c.s
    done, passed, earlier, byte = s.new_label(), s.new_label(), s.variable(), s.variable()
    enosys = 38
    for back in (1, 2):
        s.copy(earlier, at)
        s.subtract(earlier, back)
        s.get(byte, earlier, byte=True)
        s.if_equal(byte, enosys, passed)
    s.copy(answer, NOT_TRIED)
    s.go(done)
    s.label(passed)
    s.copy(answer, NOT_TRIED)
    for name in UNTRIED:
        if name in s.numbers:
            s.if_equal(number, s.numbers[name], done)
    _child(c, number, -1, answer, filtered=False)
    s.label(done)


def _child(c: Context, number: Variable, argument: int, answer: Variable, *, filtered: bool) -> None:
    """One trial; its error number, or 0, is the child's exit code."""
    s = c.s
    result, status, timer = s.variable(), s.variable(), s.variable(4)

    def body() -> None:
        if filtered:
            program = s.variable(2)
            s.copy(program, 4)  # struct sock_fprog: how many lines, where
            s.copy(c.word(program, 1), s.text(_program(s.numbers["exit_group"])))
            s.call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
            s.call("prctl", _SET_SECCOMP, _FILTER, int(program), 0, 0)
        else:
            s.copy(c.word(timer, 3), _WAIT_NS)  # microseconds until SIGALRM
            s.call("setitimer", 0, int(timer), 0)
        s.call(number, *[argument] * 6, to=result)
        exit_if_refused(c, result, status)

    s.in_child(body, status)
    exit_code(c, status, answer)


def exit_if_refused(c: Context, result: Variable, status: Variable) -> None:
    """In a child: end with the number of the error that a call gave; go on if it gave none."""
    s = c.s
    fine = s.new_label()
    s.if_less(result, -4095, fine)
    s.if_less(-1, result, fine)
    s.copy(status, 0)
    s.subtract(status, result)
    s.call("exit_group", status)
    s.label(fine)


def exit_code(c: Context, status: Variable, answer: Variable) -> None:
    """The exit code of a wait status, `SIGNALLED` if a signal ended it."""
    s = c.s
    done, signal = s.new_label(), s.variable()
    s.copy(signal, status)
    s.keep(signal, 0x7F)
    s.copy(answer, SIGNALLED)
    s.if_less(0, signal, done)
    s.get(answer, int(status) + 1, byte=True)  # the second byte, as both machines are little-endian
    s.label(done)
