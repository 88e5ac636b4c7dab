import errno
import os
import select
import struct

import pytest

from atoll.linux import process, seccomp, signals
from unit.linux.clones import in_clone


def test_clone3_gives_a_pidfd_that_becomes_readable_at_the_end():
    pid, pidfd = process.clone3(0)
    if pid == 0:
        os._exit(7)
    assert select.select([pidfd], [], [], 20)[0]
    assert os.waitid(os.P_PIDFD, pidfd, os.WEXITED).si_status == 7
    with pytest.raises(ProcessLookupError):
        process.pidfd_send_signal(pidfd, 0)
    os.close(pidfd)


def test_clone3_into_namespaces_of_an_ordinary_user():
    flags = process.CLONE_NEWUSER | process.CLONE_NEWPID | process.CLONE_NEWUTS
    assert in_clone(lambda: os.getpid(), flags) == "1"
    assert in_clone(lambda: (process.sethostname("inside"), os.uname().nodename)[1], flags) == "inside"
    assert os.uname().nodename != "inside"


def refuse(numbers):
    """A filter that answers ENOSYS to some system calls, as an older kernel or another engine's profile would."""
    load = struct.pack("HBBI", 0x20, 0, 0, 0)
    jumps = b"".join(
        struct.pack("HBBI", 0x15, 0, 1, n) + struct.pack("HBBI", 0x06, 0, 0, 0x50000 | errno.ENOSYS) for n in numbers
    )
    process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.seccomp_set_mode_filter(load + jumps + struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))


def test_clone3_falls_back_to_clone():
    def body():
        refuse([435])
        pid, pidfd = process.clone3(process.CLONE_NEWUSER)
        if pid == 0:
            os._exit(9)
        status = os.waitid(os.P_PIDFD, pidfd, os.WEXITED).si_status
        try:
            process.clone3(0, cgroup_fd=0)
        except OSError as error:
            return f"{status} {errno.errorcode[error.errno]}"

    assert in_clone(body) == "9 ENOSYS"


def test_start_time_names_a_process_and_copes_with_odd_names():
    mine = process.start_time(os.getpid())
    assert mine == process.start_time(os.getpid()) > 0

    def body():
        process.set_name("a) R 1 (b")
        return process.start_time(os.getpid()) >= mine

    assert in_clone(body) == "True"
    with pytest.raises(FileNotFoundError):
        process.start_time(1 << 30)


def test_execveat_replaces_the_program():
    reader, writer = os.pipe()
    pid, pidfd = process.clone3(0)
    if pid == 0:
        try:
            os.dup2(writer, 1)
            fd = os.open("/bin/sh", os.O_PATH | os.O_CLOEXEC)
            process.execveat(fd, ["sh", "-c", 'echo "$0 $MARK"; ls /proc/self/fd | wc -l'], {"MARK": "é"})
        finally:
            os._exit(1)
    os.close(writer)
    os.waitpid(pid, 0)
    os.close(pidfd)
    assert os.read(reader, 4096).decode().splitlines()[0] == "sh é"
    os.close(reader)


def test_close_range_leaves_only_the_standard_descriptors_at_exec():
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    pid, pidfd = process.clone3(0)
    if pid == 0:
        try:
            os.dup2(writer, 1)
            process.close_range(3, flags=process.CLOSE_RANGE_CLOEXEC)
            os.execv("/bin/sh", ["sh", "-c", "exec ls /proc/self/fd"])
        finally:
            os._exit(1)
    os.close(writer)
    os.waitpid(pid, 0)
    os.close(pidfd)
    assert set(os.read(reader, 100).decode().split()) == {"0", "1", "2", "3"}  # 3 is the listing itself
    os.close(reader)


def test_pidfd_open_of_nobody():
    with pytest.raises(ProcessLookupError):
        process.pidfd_open((1 << 22) - 3)


def test_reset_all_restores_ignored_and_blocked_signals():
    import signal

    def body():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        signals.ignore(signals.SIGHUP)
        signals.reset_all()
        with open("/proc/self/status") as file:
            fields = dict(line.split(":\t", 1) for line in file if ":\t" in line)
        return int(fields["SigBlk"], 16), int(fields["SigIgn"], 16)

    assert in_clone(body) == "(0, 0)"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9),
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigterm", 15),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX", 64),
        ("RTMAX-1", 63),
    ],
)
def test_signal_names(text, number):
    assert signals.number_of(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "SIG", "NOPE", "RTMIN-1", "RTMIN+31", "9.5", "-9", "²"])
def test_no_such_signal(text):
    with pytest.raises(ValueError):
        signals.number_of(text)


def test_signal_numbers_agree_with_the_standard_library():
    import signal

    for name, number in signals.NUMBERS.items():
        if hasattr(signal, f"SIG{name}"):
            assert getattr(signal, f"SIG{name}") == number
    assert signals.name_of(15) == "SIGTERM"
    assert signals.name_of(40) == "SIG40"
