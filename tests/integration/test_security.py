"""What a container must not be able to do, tried from inside; and what it is given, read back.

The programs without a compiler are in `kit/elf.py`. Reference numbers are those of the design's list of threats.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys

import pytest

from kit import elf, images
from kit.command import Atoll
from kit.registry import Registry

# capabilities(7): chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot setfcap:
# Docker's fourteen less mknod, net_raw and audit_write.
DEFAULT_CAPABILITIES = sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31))


@pytest.fixture(scope="module")
def toolbox(registry: Registry) -> str:
    """busybox with the small programs that knock at closed doors."""
    user_namespace, vsock, alg = 0x10000000, 40, 38
    extra = {
        "t/int80": elf.int80(),
        "t/x32": elf.x32(),
        "t/unshare-user": elf.syscall(272, user_namespace),
        "t/socket-vsock": elf.syscall(41, vsock, 1),
        "t/socket-alg": elf.syscall(41, alg, 5),
        "t/socket-packet": elf.syscall(41, 17, 3),
        "t/socket-unix": elf.syscall(41, 1, 1),
        "t/keyctl": elf.syscall(250, 0, 0),
        "t/add_key": elf.syscall(248),
        "t/bpf": elf.syscall(321, 0, 0),
        "t/userfaultfd": elf.syscall(323, 0),
        "t/io_uring_setup": elf.syscall(425, 1, 0),
        "t/ptrace-seize": elf.syscall(101, 0x4206, 1),
        "t/kexec_load": elf.syscall(246),
        "t/open_by_handle_at": elf.syscall(304),
        "t/mount": elf.syscall(165),
        "t/open_tree": elf.syscall(428, 0xFFFFFF9C),
        "t/perf_event_open": elf.syscall(298),
        "t/reboot": elf.syscall(169, 0xFEE1DEAD),
        "t/settimeofday": elf.syscall(164),
        "t/init_module": elf.syscall(175),
        "t/swapon": elf.syscall(167),
        "t/unknown-syscall": elf.syscall(6000),
        "t/getpid": elf.syscall(39),
    }
    return registry.push(images.busybox({path: (0o755, data) for path, data in extra.items()}), "toolbox")


def status(text: str) -> dict[str, str]:
    """/proc/PID/status as a dictionary."""
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.M))


def test_capabilities_seccomp_and_no_new_privileges(anyone: Atoll, busybox: str):
    seen = status(anyone.good("run", "--rm", busybox, "cat", "/proc/self/status"))
    assert int(seen["CapEff"], 16) == int(seen["CapPrm"], 16) == DEFAULT_CAPABILITIES
    assert int(seen["CapBnd"], 16) == DEFAULT_CAPABILITIES
    assert int(seen["CapInh"], 16) == 0, "CVE-2022-24769"
    assert int(seen["CapAmb"], 16) == 0
    assert seen["NoNewPrivs"] == "1"
    assert seen["Seccomp"] == "2"
    assert seen["Seccomp_filters"] == "1"


def test_an_ordinary_user_inside_has_no_capability(atoll: Atoll, busybox: str):
    seen = status(atoll.good("run", "--rm", "-u", "1000", busybox, "cat", "/proc/self/status"))
    assert int(seen["CapEff"], 16) == int(seen["CapPrm"], 16) == int(seen["CapAmb"], 16) == 0
    assert int(seen["CapInh"], 16) == 0
    assert seen["Groups"].split() in (["1000"], ["1000", "2000"], ["2000"])


def test_exec_has_the_same(anyone: Atoll, busybox: str):
    anyone.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    seen = status(anyone.good("exec", "web", "cat", "/proc/self/status"))
    assert int(seen["CapEff"], 16) == int(seen["CapBnd"], 16) == DEFAULT_CAPABILITIES
    assert int(seen["CapInh"], 16) == 0
    assert (seen["NoNewPrivs"], seen["Seccomp"]) == ("1", "2")


def test_the_32_bit_and_x32_doors_are_shut(anyone: Atoll, toolbox: str):
    """The filter ends or refuses them; a call that works there walks round every rule."""
    assert anyone("run", "--rm", toolbox, "/t/getpid").code == 0
    for door in ("/t/int80", "/t/x32"):
        assert anyone("run", "--rm", toolbox, door).code != 0, door


@pytest.mark.parametrize(
    "call",
    [
        *("unshare-user", "socket-vsock", "socket-alg", "socket-packet", "keyctl", "add_key", "bpf", "userfaultfd"),
        *("kexec_load", "open_by_handle_at", "mount", "open_tree", "perf_event_open", "reboot", "settimeofday"),
        *("init_module", "swapon", "io_uring_setup"),
    ],
)
def test_dangerous_calls_are_refused_by_the_filter(atoll: Atoll, toolbox: str, call: str):
    """EPERM (1), or ENOSYS (38), or EAFNOSUPPORT (97): never success, never "bad address", which is the kernel's word
    from behind the door."""
    assert atoll("run", "--rm", toolbox, f"/t/{call}").code in (1, 38, 97)


def test_unknown_calls_say_enosys(atoll: Atoll, toolbox: str):
    assert atoll("run", "--rm", toolbox, "/t/unknown-syscall").code == 38


def test_ordinary_sockets_work(atoll: Atoll, toolbox: str):
    assert atoll("run", "--rm", toolbox, "/t/socket-unix").code == 0


def test_devices_are_exactly_the_standard_ones(anyone: Atoll, busybox: str):
    out = anyone.good("run", "--rm", busybox, "sh", "-c", "cd /dev; ls -1; stat -c '%n %F %t:%T %a' null zero random")
    names = set(out.split("\n")[:-3])
    required = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "fd"}
    assert required | {"stdin", "stdout", "stderr"} <= names
    assert names <= required | {"stdin", "stdout", "stderr", "core", "console"}
    lines = out.split("\n")[-3:]
    assert lines[0].startswith("null character special file 1:3 666")
    assert lines[1].startswith("zero character special file 1:5 666")
    assert lines[2].startswith("random character special file 1:8 666")


def test_no_device_can_be_made(atoll: Atoll, busybox: str):
    result = atoll("run", "--rm", busybox, "sh", "-c", "mknod /tmp/kmsg c 1 11 || mknod /dev/sda b 254 0")
    assert result.code != 0


def test_mounts_are_private_and_expected(anyone: Atoll, busybox: str):
    out = anyone.good("run", "--rm", busybox, "cat", "/proc/self/mountinfo")
    for line in out.split("\n"):
        assert "shared:" not in line, line
        assert "master:" not in line, line
    points = [line.split()[4] for line in out.split("\n")]
    for path in ("/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"):
        assert path in points, path
    by_point = {line.split()[4]: line for line in out.split("\n")}
    assert " overlay " in by_point["/"]
    sys_options = by_point["/sys"].split()[5].split(",")
    assert "ro" in sys_options
    for path in ("/proc", "/sys", "/dev/pts", "/dev/shm"):
        options = by_point[path].split()[5].split(",")
        assert "nosuid" in options, by_point[path]
    assert not any(anyone.folder in p for p in points), "the host's paths show"


def test_masked_and_read_only_paths(anyone: Atoll, busybox: str):
    script = (
        "for f in kcore keys timer_list latency_stats sched_debug; do [ -e /proc/$f ] && wc -c < /proc/$f; done;"
        "for d in /proc/acpi /proc/scsi /sys/firmware; do [ -d $d ] && ls $d; done; true"
    )
    out = anyone.good("run", "--rm", busybox, "sh", "-c", script)
    assert set(out.split()) <= {"0"}, out
    for path in ("/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/bus/x"):
        result = anyone("run", "--rm", busybox, "sh", "-c", f"echo x > {path}")
        assert result.code != 0, path
    assert anyone("run", "--rm", busybox, "sh", "-c", "echo 1 > /proc/sys/vm/drop_caches").code != 0


def test_sysfs_cgroup_is_read_only(anyone: Atoll, busybox: str):
    """Cgroup escape through release_agent wants a writable mount."""
    out = anyone.good(
        "run", "--rm", busybox, "sh", "-c", "find /sys/fs/cgroup -writable -name 'release_agent'; id -u"
    )
    assert out == "0"
    result = anyone("run", "--rm", busybox, "sh", "-c", "mkdir /sys/fs/cgroup/x || mkdir /sys/fs/cgroup/memory/x")
    assert result.code != 0


def test_inherited_descriptors(anyone: Atoll, busybox: str):
    """CVE-2024-21626: three descriptors and the one that lists."""
    secret = os.open("/etc/passwd", os.O_RDONLY)
    try:
        os.set_inheritable(secret, True)
        out = anyone("run", "--rm", busybox, "ls", "/proc/self/fd", close_fds=False).good()
        assert out.split() == ["0", "1", "2", "3"]
        anyone.good("run", "-d", "--name", "web", busybox, "sleep", "600")
        for words in (("exec", "web"), ("exec", "-i", "web")):
            out = anyone(*words, "ls", "/proc/self/fd", close_fds=False).good()
            assert out.split() == ["0", "1", "2", "3"]
        out = anyone.good("exec", "web", "ls", "/proc/1/fd")
        assert out.split() == ["0", "1", "2"]
    finally:
        os.close(secret)


@pytest.mark.parametrize("number", [*range(3, 21)])
def test_a_directory_by_descriptor_stays_inside(atoll: Atoll, busybox: str, number: int):
    """CVE-2024-21626: -w /proc/self/fd/N."""
    result = atoll("run", "--rm", "-w", f"/proc/self/fd/{number}", busybox, "sh", "-c", "ls ../../../../etc; pwd -P")
    assert result.code != 0 or "passwd\n" not in result.out or "shadow" not in result.out, result
    assert os.path.basename(atoll.folder) not in result.out


def interpreter() -> str:
    """The interpreter that runs the command under test."""
    from kit.command import installed

    beside = os.path.join(os.path.dirname(installed()), "python3")
    return os.path.realpath(beside if os.path.exists(beside) else sys.executable)


def digest(path: str) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


OVERWRITE = (
    "n=0; for fd in 3 4 5 6 7 8 9; do [ -e /proc/self/fd/$fd ] || continue;"
    " ls -l /proc/self/fd/$fd; i=0; while [ $i -lt 30 ]; do"
    " (printf pwned >> /proc/self/fd/$fd) 2>&1 && echo OVERWROTE; i=$((i+1)); done; done; echo tried"
)


def test_the_interpreter_cannot_be_overwritten_by_run(anyone: Atoll, registry: Registry):
    """CVE-2019-5736 by run: the image's loader gets the interpreter as /proc/self/exe and keeps it open."""
    loader = elf.hostile_loader(OVERWRITE)
    image = images.busybox({"lib64/ld-linux-x86-64.so.2": (0o755, loader)})
    reference = registry.push(image, "cve-2019-5736")
    before = digest(interpreter())
    for command in ("/proc/self/exe", "/proc/1/exe", "/proc/thread-self/exe"):
        result = anyone("run", "--rm", reference, command)
        assert "OVERWROTE" not in result.out, result
        assert digest(interpreter()) == before
        assert "Traceback" not in result.err


def test_the_interpreter_cannot_be_overwritten_by_exec(atoll: Atoll, registry: Registry):
    """CVE-2019-5736 by exec: a program inside watches for the newcomer's /proc/PID/exe and tries to write it."""
    watcher = (
        "while :; do for p in /proc/[0-9]*; do"
        " case $(readlink $p/exe) in /bin/busybox|'') ;; *)"
        " echo saw $(readlink $p/exe); (printf pwned >> $p/exe) 2>/dev/null && echo OVERWROTE;; esac; done; done"
    )
    loader = elf.hostile_loader(OVERWRITE)
    image = images.busybox(
        {"lib64/ld-linux-x86-64.so.2": (0o755, loader), "bin/evil": (0o755, b"#!/proc/self/exe\n")}
    )
    reference = registry.push(image, "cve-2019-5736-exec")
    before = digest(interpreter())
    atoll.good("run", "-d", "--name", "web", reference, "sh", "-c", watcher)
    for command in ("true", "/proc/self/exe", "/bin/evil"):
        for _ in range(5):
            result = atoll("exec", "web", command)
            assert "OVERWROTE" not in result.out, result
    assert "OVERWROTE" not in atoll.good("logs", "web")
    assert digest(interpreter()) == before


def test_the_newcomer_cannot_be_traced_or_read(atoll: Atoll, busybox: str):
    """Not dumpable until execve: its memory, environment and files are out of reach from inside."""
    watcher = (
        "while :; do for p in /proc/[0-9]*; do case $p in /proc/1) ;; *)"
        " grep -aqs ATOLL $p/environ && echo READ-ENV $p; ls $p/map_files >/dev/null 2>&1;"
        " case $(readlink $p/root 2>/dev/null) in /|'') ;; *) echo ROOT $(readlink $p/root);; esac;; esac; done; done"
    )
    atoll.good("run", "-d", "--name", "web", busybox, "sh", "-c", watcher)
    for _ in range(10):
        atoll.good("exec", "web", "true")
    out = atoll.good("logs", "web")
    assert "READ-ENV" not in out
    assert "ROOT" not in out


def test_root_cannot_be_left(anyone: Atoll, busybox: str):
    script = (
        "cd /; for i in 1 2 3 4 5 6 7 8; do cd ..; done; pwd -P; ls -d proc/1/root/etc; cat /proc/1/root/etc/passwd"
    )
    out = anyone.good("run", "--rm", busybox, "sh", "-c", script)
    assert out.startswith("/\n")
    assert "postgres" not in out
    # chroot(2) out of a chroot is stopped by pivot_root: there is nothing above.
    again = "mkdir /c; chroot /c /bin/true; cd ../../../../..; ls / | sort | head -1"
    assert anyone.good("run", "--rm", busybox, "sh", "-c", again) == "bin"


def test_the_hosts_processes_and_messages_are_out_of_sight(anyone: Atoll, busybox: str):
    out = anyone.good("run", "--rm", busybox, "ls", "/proc")
    numbers = [name for name in out.split() if name.isdigit()]
    assert len(numbers) <= 2
    assert anyone("run", "--rm", busybox, "dmesg").code != 0


def test_ipc_and_host_name_are_its_own(anyone: Atoll, busybox: str):
    inside = anyone.good(
        "run", "--rm", busybox, "sh", "-c", "for n in ipc uts pid mnt net cgroup; do readlink /proc/self/ns/$n; done"
    )
    outside = [os.readlink(f"/proc/self/ns/{n}") for n in ("ipc", "uts", "pid", "mnt", "net", "cgroup")]
    assert not set(inside.split("\n")) & set(outside)


@pytest.mark.parametrize("words", [("run", "--rm", "-i"), ("run", "--rm", "-it")])
def test_the_users_own_terminal_is_never_handed_in(atoll: Atoll, busybox: str, words: tuple[str, ...]):
    """TIOCSTI would type into it, and escapes would go round us: inside is a pipe, or a terminal of its own."""
    from kit.terminal import Terminal

    atoll.good("pull", "-q", busybox)
    with Terminal(
        atoll, *words, busybox, "sh", "-c", "readlink /proc/self/fd/0; readlink /proc/self/fd/1; echo done"
    ) as term:
        term.expect("done")
        assert term.wait() == 0
        wanted = ("/dev/pts/0", "/dev/console") if "-it" in words else ("pipe:", "socket:")
        for line in term.seen.split()[:2]:
            assert line.startswith(wanted) or (line.endswith(".fifo") and "-it" not in words), term.seen


def test_set_user_id_programs_gain_nothing(atoll: Atoll, registry: Registry):
    with open("/usr/bin/busybox" if os.path.exists("/usr/bin/busybox") else "/bin/busybox", "rb") as stream:
        content = stream.read()
    reference = registry.push(images.busybox({"bin/suid-id": (0o4755, content)}), "suid")
    out = atoll(
        "run", "--rm", "-u", "1000", reference, "sh", "-c", "cp /bin/suid-id /tmp/id; /bin/suid-id id -u; id -u"
    )
    assert "0" not in out.out.split(), out


def test_control_characters_in_names_do_not_reach_the_terminal(atoll: Atoll, registry: Registry):
    reference = registry.push(images.busybox(Cmd=["sleep", "\x1b]0;owned\x07"]), "escape")
    atoll("run", "--name", "web", reference)
    assert "\x1b" not in atoll.good("ps", "-a")
    atoll.good("rm", "-f", "web")


def test_dockers_own_defaults_by_one_setting(atoll: Atoll, busybox: str):
    """All fourteen capabilities, and privileges may be gained, as there."""
    with open(atoll.config, "w") as stream:
        stream.write('[defaults]\nsecurity = "docker"\n')
    seen = atoll("run", "--rm", busybox, "cat", "/proc/self/status")
    with open(atoll.config, "w"):
        pass
    facts = status(seen.good())
    assert int(facts["CapEff"], 16) == DEFAULT_CAPABILITIES | 1 << 13 | 1 << 27 | 1 << 29
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("0", "2")


def test_the_sources_of_a_container_are_the_owners_only(anyone: Atoll, busybox: str):
    """Others of the machine may not read stores, sockets and logs."""
    anyone.good("run", "-d", "--name", "web", "-e", "PASSWORD=hidden", busybox, "sleep", "600")
    for root in (anyone.data, anyone.run_root):
        reachable = os.stat(root).st_mode & 0o007
        if reachable & 1:
            for name in os.listdir(root):
                mode = os.lstat(os.path.join(root, name)).st_mode
                assert not mode & 0o006 or name in ("snapshots",), (root, name, oct(mode))
