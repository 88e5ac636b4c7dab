"""The default profile in the kernel: children that try the closed doors, and programs that must go on working.

Threats 21 of the design: x32, int 0x80, socketcall, io_uring, AF_ALG, AF_VSOCK, userfaultfd, keyctl, clone3 flags.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import shutil
import signal
import struct
import subprocess
import sys

import pytest

from atoll.linux import process
from atoll.linux import seccomp as kernel
from atoll.runtime import seccomp
from atoll.spec.runtime import Seccomp, SeccompArg, SyscallRule

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers and machine code are x86-64's")

# What the engine gives a container by default.
_NAMES = "CHOWN DAC_OVERRIDE FSETID FOWNER SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL"
CAPABILITIES = frozenset("CAP_" + name for name in _NAMES.split())
WORKED = 0

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(number: int, *args: object) -> int:
    """A raw system call: 0 if it worked, else its errno."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    ctypes.set_errno(0)
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *wide) == -1 else WORKED


def machine_code(code: bytes, *args: int) -> int:
    """Run machine code that returns a system call's result: 0 if it worked, else the errno."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_int] * 4)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    result = function(*args)
    return -result if result < 0 else WORKED


def int80(number: int, *args: int) -> int:
    """A 32-bit call from a 64-bit process."""
    # push rbx; mov eax, edi; mov ebx, esi; xchg ecx, edx; int 0x80; cdqe; pop rbx; ret
    padded = [*args, 0, 0, 0][:3]
    return machine_code(bytes.fromhex("53 89f8 89f3 87d1 cd80 4898 5b c3"), number, *padded)


def attempt(profile: Seccomp | None, what, *args: object, no_new_privs: bool = True) -> int:
    """What comes of `what(*args)` in a child under a profile: its (errno) result, or minus the signal."""
    program = seccomp.compile(profile) if profile else b""
    child = os.fork()
    if child == 0:
        try:
            if no_new_privs:
                process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
            if program:
                kernel.seccomp_set_mode_filter(program, seccomp.install_flags(profile))
            os._exit(what(*args))
        except OSError as error:
            os._exit(error.errno or 255)
        finally:
            os._exit(254)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(scope="module")
def default():
    return seccomp.default_profile(CAPABILITIES)


both_ways = pytest.mark.parametrize(
    "no_new_privs",
    [True, pytest.param(False, marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_ADMIN"))],
)

CLONE_NEWUSER, SIGCHLD = 0x10000000, 17
CLOSED = {
    "AF_ALG": (97, 41, (38, 5, 0)),
    "AF_VSOCK": (97, 41, (40, 1, 0)),
    "AF_VSOCK by socketpair": (97, 53, (40, 1, 0, 0)),
    "AF_ALG with rubbish above": (97, 41, ((1 << 32) + 38, 5, 0)),
    "AF_PACKET without NET_RAW": (97, 41, (17, 3, 0)),
    "io_uring_setup": (1, 425, (8, 0)),
    "io_uring_enter": (1, 426, (0, 0, 0, 0)),
    "userfaultfd": (1, 323, (0,)),
    "keyctl": (1, 250, (0, 0)),
    "add_key": (1, 248, (0, 0, 0, 0, 0)),
    "request_key": (1, 249, (0, 0, 0, 0)),
    "bpf": (1, 321, (0, 0, 0)),
    "perf_event_open": (1, 298, (0, 0, 0, 0, 0)),
    "unshare": (1, 272, (CLONE_NEWUSER,)),
    "setns": (1, 308, (0, 0)),
    "clone with a user namespace": (1, 56, (CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)),
    "clone with a mount namespace": (1, 56, (0x20000 | SIGCHLD, 0, 0, 0, 0)),
    "clone3": (38, 435, (0, 0)),
    "mount": (1, 165, (0, 0, 0, 0, 0)),
    "fsopen": (1, 430, (0, 0)),
    "open_tree": (1, 428, (0, 0, 0)),
    "pivot_root": (1, 155, (0, 0)),
    "kexec_load": (1, 246, (0, 0, 0, 0)),
    "init_module": (1, 175, (0, 0, 0)),
    "open_by_handle_at": (1, 304, (0, 0, 0)),
    "modify_ldt": (1, 154, (0, 0, 0)),
    "vmsplice": (1, 278, (0, 0, 0, 0)),
    "personality without address randomisation": (1, 135, (0x40000,)),
    "a call of Linux 6.19 (listns)": (38, 470, (0, 0, 0, 0)),
    "a call of the far future": (38, 4000, ()),
}


@both_ways
@pytest.mark.parametrize("door", CLOSED)
def test_closed(default, door, no_new_privs):
    wanted, number, args = CLOSED[door]
    assert attempt(default, call, number, *args, no_new_privs=no_new_privs) == wanted


@both_ways
def test_open(default, no_new_privs):
    for number, args in [(41, (1, 1, 0)), (41, (2, 1, 0)), (41, (10, 2, 0)), (41, (16, 3, 0)), (135, (0xFFFFFFFF,))]:
        assert attempt(default, call, number, *args, no_new_privs=no_new_privs) == WORKED
    assert attempt(default, os.getpid, no_new_privs=no_new_privs) != 254


@both_ways
def test_x32_is_killed(default, no_new_privs):
    assert attempt(default, call, 0x40000000 | 39, no_new_privs=no_new_privs) == -signal.SIGSYS
    assert attempt(default, call, 0x40000000 | 41, 38, 5, 0, no_new_privs=no_new_privs) == -signal.SIGSYS


def test_x32_numbers_without_the_bit_read_enosys(default):
    assert attempt(default, call, 520, 0, 0, 0) == errno.ENOSYS


@both_ways
def test_int_80_is_killed(default, no_new_privs):
    if attempt(None, int80, 20) != WORKED:
        pytest.skip("this kernel has no 32-bit entry")
    assert attempt(default, int80, 20, no_new_privs=no_new_privs) == -signal.SIGSYS


def socketcall(family: int) -> int:
    """socket(family, SOCK_SEQPACKET or SOCK_DGRAM) through socketcall(2), its arguments below 4 GiB."""
    map_32bit = 0x40
    page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | map_32bit)
    page.write(struct.pack("<III", family, 5 if family == 38 else 1, 0))
    return int80(102, 1, ctypes.addressof(ctypes.c_char.from_buffer(page)))


def test_socketcall_does_not_walk_round(default):
    """CVE-2026-31431: with the 32-bit entry open, socketcall reaches any family; the default has it shut."""
    if attempt(None, int80, 20) != WORKED:
        pytest.skip("this kernel has no 32-bit entry")
    opened = seccomp.default_profile(CAPABILITIES, allow_32bit=True)
    assert attempt(opened, int80, 20) == WORKED
    assert attempt(opened, socketcall, 1) == WORKED
    for family in (1, 38, 40):
        assert attempt(default, socketcall, family) == -signal.SIGSYS
    # A profile that opens i386 but lists no socketcall: sockets by the call of their own only.
    strict = opened.replace(
        syscalls=tuple(
            rule.replace(names=tuple(name for name in rule.names if name != "socketcall")) for rule in opened.syscalls
        )
    )
    assert attempt(strict, socketcall, 38) == errno.EAFNOSUPPORT
    assert attempt(strict, socketcall, 1) == errno.EAFNOSUPPORT
    assert attempt(strict, int80, 359, 1, 1, 0) == WORKED
    assert attempt(strict, int80, 359, 38, 5, 0) == errno.EAFNOSUPPORT


def elf32(code: bytes) -> bytes:
    """A static i386 program."""
    base = 0x08048000
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    size = 84 + len(code)
    return header + struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 0x1000) + code


def test_a_32_bit_program_ends_at_once_and_visibly(default, tmp_path):
    file = tmp_path / "exit7"
    file.write_bytes(elf32(bytes.fromhex("b801000000 bb07000000 cd80")))  # mov eax, 1 (exit); mov ebx, 7; int 0x80
    file.chmod(0o755)

    def execute() -> int:
        os.execv(file, [str(file)])

    if attempt(None, execute) != 7:
        pytest.skip("this kernel runs no 32-bit programs")
    assert attempt(default, execute) == -signal.SIGSYS
    assert seccomp.shut_out(default, file.read_bytes()[:20]) == "SCMP_ARCH_X86"
    opened = seccomp.default_profile(CAPABILITIES, allow_32bit=True)
    assert attempt(opened, execute) == 7
    assert seccomp.shut_out(opened, file.read_bytes()[:20]) is None
    with open("/bin/true", "rb") as native:
        assert seccomp.shut_out(default, native.read(20)) is None
    assert seccomp.shut_out(default, b"#!/bin/sh\n") is None
    assert attempt(seccomp.default_profile(CAPABILITIES, docker=True), execute) == 7


def test_threads_still_start(default):
    """glibc asks for clone3 first and must fall back to clone."""
    code = "import threading; t = threading.Thread(target=print, args=('ran',)); t.start(); t.join()"
    assert under(default, ["/usr/bin/python3", "-c", code]) == "ran\n"


def test_without_no_new_privs_and_capabilities_the_kernel_refuses(default):
    def unprivileged() -> int:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        kernel.seccomp_set_mode_filter(seccomp.compile(default))
        return WORKED

    assert attempt(None, unprivileged, no_new_privs=False) == errno.EACCES
    assert attempt(None, unprivileged, no_new_privs=True) == WORKED


def test_bad_programs_are_refused_by_the_kernel_or_before():
    def install(program: bytes) -> int:
        kernel.seccomp_set_mode_filter(program)
        return WORKED

    ret = struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)
    assert attempt(None, install, ret) == WORKED
    for bad in (b"", b"1234567", struct.pack("<HBBI", 0x20, 0, 0, 64) + ret, struct.pack("<HBBI", 5, 0, 0, 9) + ret):
        assert attempt(None, install, bad) == errno.EINVAL
    assert attempt(None, install, ret * 4097) == errno.EINVAL


def test_what_the_kernel_says_of_itself():
    assert kernel.seccomp_get_action_avail(0x7FFF0000)
    assert kernel.seccomp_get_action_avail(0x80000000)
    assert not kernel.seccomp_get_action_avail(0x12345678)
    assert kernel.seccomp_flag_avail(kernel.SECCOMP_FILTER_FLAG_NEW_LISTENER)
    assert not kernel.seccomp_flag_avail(1 << 30)
    sizes = kernel.seccomp_get_notif_sizes()
    assert sizes[0] >= 80
    assert sizes[1] >= 24
    assert sizes[2] >= 64


def test_flags_are_accepted():
    names = [f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW")]
    profile = seccomp.default_profile(CAPABILITIES).replace(flags=tuple(names))
    assert attempt(profile, call, 39) == WORKED
    flagged = profile.replace(
        flags=(*names, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
        syscalls=(*profile.syscalls, SyscallRule(names=("pivot_root",), action="SCMP_ACT_NOTIFY")),
    )
    if kernel.seccomp_flag_avail(kernel.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV):
        assert attempt(flagged, call, 39) == WORKED


def test_notification(tmp_path):
    """A supervisor answers three calls: a value, an errno, and letting it proceed."""
    masked = SeccompArg(index=1, op="SCMP_CMP_MASKED_EQ", value=0o777, value_two=0o711)
    profile = Seccomp(
        default_action="SCMP_ACT_ALLOW",
        syscalls=(SyscallRule(names=("mkdir", "mkdirat"), action="SCMP_ACT_NOTIFY", args=(masked,)),),
    )
    program, flags = seccomp.compile(profile), seccomp.install_flags(profile)
    assert flags == kernel.SECCOMP_FILTER_FLAG_NEW_LISTENER
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        listener = kernel.seccomp_set_mode_filter(program, flags)
        os.write(there, struct.pack("<i", listener))
        path = ctypes.c_char_p(os.fsencode(tmp_path / "made"))
        results = [libc.syscall(83, path, 0o711), call(83, path, 0o711), call(83, path, 0o711), call(83, path, 0o700)]
        os._exit(0 if results == [42, errno.EDQUOT, 0, errno.EEXIST] else 1)
    try:
        (number,) = struct.unpack("<i", os.read(here, 4))
        pidfd = os.pidfd_open(child)
        listener = libc.syscall(ctypes.c_long(438), pidfd, number, 0)
        assert listener >= 0
        for answer in ({"value": 42}, {"error": errno.EDQUOT}, {"proceed": True}):
            asked = kernel.notif_recv(listener)
            assert (asked.pid, asked.nr, asked.arch, asked.args[1]) == (child, 83, 0xC000003E, 0o711)
            assert kernel.notif_id_valid(listener, asked.id)
            kernel.notif_send(listener, asked.id, **answer)
            assert not kernel.notif_id_valid(listener, asked.id)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        child = 0
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def under(profile: Seccomp, command: list[str], *, cwd: str = "/", stdin: str = "") -> str:
    """What a command prints under a profile; it must end well."""
    program = seccomp.compile(profile)

    def confine() -> None:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        kernel.seccomp_set_mode_filter(program)

    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": cwd, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, input=stdin, timeout=60, preexec_fn=confine
    )
    assert done.returncode == 0, (command, done.returncode, done.stderr)
    return done.stdout


# What each needs, and what it does.
SCRIPTS = {
    "busybox": (
        "busybox",
        """busybox sh -c 'busybox ls / | busybox wc -l; busybox sleep 0.01; busybox find /etc | busybox head'""",
    ),
    "bash": ("bash", "for i in 1 2 3; do (echo $i) & done; wait; ulimit -a | sort | tail -1; time true"),
    "coreutils": (
        "dd",
        """cp -a /etc/debian_version . && mv debian_version x && chown $(id -u) x; touch -d yesterday x; stat x
        dd if=/dev/zero of=y bs=1M count=1; df .; nice true; timeout 5 true; sync; mkfifo f""",
    ),
    "dpkg": ("dpkg", "dpkg --list | tail -3; dpkg --audit; dpkg-query -W dpkg"),
    "apt": ("apt-get", "apt-get --simulate install dpkg; apt-cache policy dpkg; apt-config dump | tail -3"),
    "python": (
        "python3",
        """/usr/bin/python3 -c 'if 1:
        import asyncio, multiprocessing, ssl, subprocess, tempfile
        with multiprocessing.Pool(2) as pool:
            assert pool.map(abs, [-1, -2]) == [1, 2]
        subprocess.run(["true"], check=True)
        asyncio.run(asyncio.sleep(0.01))'""",
    ),
    "perl": (
        "perl",
        """perl -MIO::Socket::INET -e '
        $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die;
        if (fork) { wait } else { exec "true" }
        print $s->sockport'""",
    ),
    "git": (
        "git",
        """git init -q r && cd r && git config user.email a@b && git config user.name n
        echo 1 > f && git add f && git commit -qm m && git gc -q && git clone -q . ../s && git log --oneline""",
    ),
    "node": (
        "node",
        """node -e 'const {Worker} = require("worker_threads");
        require("fs").readFile("/etc/passwd", () => {
            require("child_process").execSync("true");
            new Worker("process.exit(0)", {eval: true});
        })'""",
    ),
    "java": ("java", "java -Xmx64m -XX:-UsePerfData -version"),  # whose data would stay in /tmp
    "go programs": ("runc", "runc --version; runc features"),
    "gcc": ("gcc", "printf 'int main(void){return 0;}' > a.c && gcc -O1 -o a a.c && ./a"),
    "tar": ("xz", "tar -czf t.tgz -C /etc init.d; tar -tzf t.tgz | wc -l; xz -k -T2 t.tgz"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_common_programs_work(default, name, tmp_path):
    needs, script = SCRIPTS[name]
    if not shutil.which(needs, path="/usr/sbin:/usr/bin:/sbin:/bin"):
        pytest.skip(f"{needs} is not installed")
    under(default, ["/bin/bash", "-euo", "pipefail", "-c", script], cwd=str(tmp_path))


def test_a_debugger_works(default):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    under(default, ["/bin/sh", "-c", "strace -f -o /dev/null true"])


def test_this_interpreter_works(default):
    assert under(default, [sys.executable, "-c", "print(6 * 7)"]) == "42\n"
