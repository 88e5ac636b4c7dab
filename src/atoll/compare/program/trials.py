"""The script of known ways out of containers, each as far as it is safe to go: the door is tried, nothing is
carried off.

Holds: `TRIALS`, `run`. Does not hold: what an answer means for a rung (`../wall/look.py`).

A trial is a sequence of system calls in a child that is thrown away; the answer of the last is its answer. Files are
opened and not written, sizes and pointers are such that a call which gets past its permission check then fails.
"""

from __future__ import annotations

from atoll.base.value import Value
from atoll.compare.program import records
from atoll.compare.program.calls import exit_code, exit_if_refused
from atoll.compare.program.main import AT_FDCWD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.compare.program.main import Context
    from atoll.compare.program.script import Variable

O_RDONLY, O_WRONLY = 0, 1
_NEWNS, _NEWUSER = 0x20000, 0x10000000
_MEM_NODE = 1 << 8 | 1  # /dev/mem: major 1, minor 1
_CHARACTER = 0o20600
_X32 = 0x40000000
_SESSION = -3
_EFAULT, _EINVAL, _ENOEXEC, _E2BIG, _EBADF, _ESTALE, _EOPNOTSUPP = 14, 22, 8, 7, 9, 116, 95


class Trial(Value):
    """One of them: `opened` are the answers (0 or error numbers) that mean it went past every check."""

    name: str
    reference: str
    body: Callable[[Context, Variable], None]
    opened: tuple[int, ...] = (0,)


def run(c: Context) -> None:
    """Each in turn. The command line's first number is a process of the host, the second a socket address there."""
    s = c.s
    for number, trial in enumerate(TRIALS):
        result, status, answer = s.variable(), s.variable(), s.variable()

        def body(trial: Trial = trial, result: Variable = result, status: Variable = status) -> None:
            trial.body(c, result)
            exit_if_refused(c, result, status)

        s.in_child(body, status)
        exit_code(c, status, answer)
        c.tell(records.TRIED, number, answer)


def _opens(path: bytes, flags: int) -> Callable[[Context, Variable], None]:
    return lambda c, to: c.s.call("openat", AT_FDCWD, c.s.text(path), flags, 0, to=to)


def _calls(name: str, *arguments: int) -> Callable[[Context, Variable], None]:
    return lambda c, to: c.s.call(name, *arguments, to=to)


def _leave_chroot(c: Context, to: Variable) -> None:
    """chroot(2), "This call does not change the current working directory": a second root below this one, then up
    from a directory outside it. The answer is 0 if that led to another directory than `/`."""
    s = c.s
    fd, before, after = s.variable(), s.variable(), s.variable()
    s.call("openat", AT_FDCWD, s.text(b"/"), O_RDONLY, 0, to=fd)
    s.call("fstat", fd, s.buffer)
    s.get(before, s.buffer + 8)  # st_ino
    s.call("mkdirat", AT_FDCWD, s.text(b"below"), 0o700)
    s.call("chroot", s.text(b"below"), to=to)
    s.call("unlinkat", AT_FDCWD, s.text(b"below"), 0x200)
    refused, other = s.new_label(), s.new_label()
    s.if_less(to, 0, refused)
    s.call("fchdir", fd)
    for _ in range(16):
        s.call("chdir", s.text(b".."))
    s.call("openat", AT_FDCWD, s.text(b"."), O_RDONLY, 0, to=fd)
    s.call("fstat", fd, s.buffer)
    s.get(after, s.buffer + 8)
    s.copy(to, -1)
    s.if_equal(before, after, other)
    s.copy(to, 0)
    s.label(other)
    s.label(refused)


def _node(c: Context, to: Variable) -> None:
    """A node of the host's memory, made and opened; removed at once."""
    s = c.s
    name, made = s.text(b"node"), s.new_label()
    s.call("mknodat", AT_FDCWD, name, _CHARACTER, _MEM_NODE, to=to)
    s.if_less(to, 0, made)
    s.call("openat", AT_FDCWD, name, O_RDONLY, 0, to=to)
    s.call("unlinkat", AT_FDCWD, name, 0)
    s.label(made)


def _handle(c: Context, to: Variable) -> None:
    """The root of whatever file system the working directory lies on, by its inode number alone."""
    s = c.s
    s.put(s.buffer, 8 | 1 << 32)  # struct file_handle: 8 bytes, of the type inode and generation
    s.put(s.buffer + 8, 2)
    s.call("open_by_handle_at", AT_FDCWD, s.buffer, O_RDONLY, to=to)


def _old_entry(c: Context, to: Variable) -> None:
    if c.s.has_old_call:
        c.s.old_call(20, to)  # getpid
    else:
        c.s.copy(to, -38)


def _x32_entry(c: Context, to: Variable) -> None:
    if c.s.has_old_call:
        c.s.call(c.s.numbers["getpid"] | _X32, to=to)
    else:
        c.s.copy(to, -38)


def _host_process(c: Context, to: Variable) -> None:
    c.s.call("kill", c.numbers[0], 0, to=to)


def _host_service(c: Context, to: Variable) -> None:
    s = c.s
    fd, address = s.variable(), s.variable(2)
    s.copy(address, c.numbers[1])
    s.call("socket", 2, 1, 0, to=fd)
    s.call("connect", fd, int(address), 16, to=to)


TRIALS: tuple[Trial, ...] = (
    Trial(name="leave a chroot by a second one", reference="chroot(2)", body=_leave_chroot),
    Trial(name="see a process of the host", reference="threats 36", body=_host_process),
    Trial(name="reach a service on the host's loopback", reference="threats 41", body=_host_service),
    Trial(name="read the machine's memory, /dev/mem", reference="threats 25", body=_opens(b"/dev/mem", O_RDONLY)),
    Trial(
        name="read the kernel's memory, /proc/kcore", reference="threats 24", body=_opens(b"/proc/kcore", O_RDONLY)
    ),
    Trial(name="make and open a device node", reference="threats 25", body=_node),
    Trial(
        name="write /proc/sysrq-trigger",
        reference="CVE-2025-52881",
        body=_opens(b"/proc/sysrq-trigger", O_WRONLY),
    ),
    Trial(
        name="write kernel.core_pattern",
        reference="CVE-2025-52881",
        body=_opens(b"/proc/sys/kernel/core_pattern", O_WRONLY),
    ),
    Trial(
        name="write the helper for new devices",
        reference="threats 24",
        body=_opens(b"/sys/kernel/uevent_helper", O_WRONLY),
    ),
    Trial(
        name="write a cgroup's release_agent",
        reference="threats 23",
        body=_opens(b"/sys/fs/cgroup/memory/release_agent", O_WRONLY),
    ),
    Trial(name="read the kernel's log", reference="threats 24", body=_calls("syslog", 10)),
    Trial(name="mount", reference="threats 23", body=lambda c, to: c.s.call("fsopen", c.s.text(b"tmpfs"), 0, to=to)),
    Trial(name="make a mount namespace", reference="threats 21", body=_calls("unshare", _NEWNS)),
    Trial(name="make a user namespace", reference="threats 21", body=_calls("unshare", _NEWUSER)),
    Trial(
        name="open files by handle (shocker)",
        reference="open_by_handle_at(2)",
        body=_handle,
        opened=(0, _ESTALE, _EBADF, _EINVAL, _EOPNOTSUPP),
    ),
    Trial(
        name="load a kernel module",
        reference="threats 21",
        body=_calls("init_module", 0, 0, 0),
        opened=(0, _ENOEXEC, _EFAULT),
    ),
    Trial(name="reboot", reference="threats 21", body=_calls("reboot", 0, 0, 0), opened=(0, _EINVAL)),
    Trial(name="set the clock", reference="threats 21", body=_calls("settimeofday", 0, 0)),
    Trial(name="AF_ALG sockets", reference="CVE-2026-31431", body=_calls("socket", 38, 5, 0)),
    Trial(name="AF_VSOCK sockets", reference="CVE-2026-31431", body=_calls("socket", 40, 1, 0)),
    Trial(name="raw sockets", reference="threats 42", body=_calls("socket", 2, 3, 1)),
    Trial(name="packet sockets", reference="threats 42", body=_calls("socket", 17, 3, 0)),
    Trial(name="the 32-bit entry, int 0x80", reference="CVE-2026-31431", body=_old_entry),
    Trial(name="the x32 entry", reference="CVE-2026-31431", body=_x32_entry),
    Trial(name="io_uring", reference="threats 21", body=_calls("io_uring_setup", 1, 0), opened=(0, _EFAULT, _EINVAL)),
    Trial(name="userfaultfd", reference="threats 21", body=_calls("userfaultfd", 0)),
    Trial(name="keyrings", reference="threats 21", body=_calls("keyctl", 0, _SESSION, 0)),
    Trial(
        name="bpf",
        reference="threats 21",
        body=lambda c, to: c.s.call("bpf", 0, c.s.buffer, 72, to=to),
        opened=(0, _EINVAL, _EFAULT, _E2BIG),
    ),
    Trial(
        name="perf events",
        reference="threats 21",
        body=_calls("perf_event_open", 0, 0, -1, -1, 0),
        opened=(0, _EFAULT, _EINVAL),
    ),
)
