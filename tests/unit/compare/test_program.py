"""The program that runs inside: on this machine's processor, and on the other by emulation."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess

import pytest

from atoll.base import errors
from atoll.compare.program import image, records, timed
from atoll.compare.program.calls import NOT_TRIED, UNTRIED
from atoll.compare.program.script import Script
from atoll.compare.program.trials import TRIALS
from atoll.compare.wall.calls import reached
from atoll.engine.containers.init_program import is_static
from atoll.runtime.seccomp.tables import numbers


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def probe(request, tmp_path_factory):
    """The words that run it."""
    path = tmp_path_factory.mktemp("probe") / "probe"
    path.write_bytes(image(request.param))
    path.chmod(0o755)
    emulator = () if os.uname().machine == request.param else (f"/usr/bin/qemu-{request.param}-static",)
    return (*emulator, str(path))


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    path = tmp_path_factory.mktemp("native") / "probe"
    path.write_bytes(image(os.uname().machine))
    path.chmod(0o755)
    return (str(path),)


def run(probe, *words, cwd="/"):
    done = subprocess.run([*probe, *words], capture_output=True, timeout=60, cwd=cwd)
    return done.returncode, records.parse(done.stdout)


def test_it_runs_anywhere_and_is_the_same_each_time():
    for machine in ("x86_64", "aarch64"):
        made = image(machine)
        assert is_static(made[:4096])
        assert made == image(machine)
    with pytest.raises(errors.Unsupported, match="riscv64"):
        image("riscv64")


def test_it_begins(probe):
    assert run(probe, "b") == (0, [records.Record(kind=records.BEGUN, number=0, value=0)])
    assert run(probe) == (2, [])
    assert run(probe, "z") == (2, [])


def test_every_measure_gives_a_time_and_leaves_no_file(probe, tmp_path):
    mask = sum(1 << one.bit for one in timed.MEASURES)
    code, found = run(probe, "t", str(mask), "2", cwd=tmp_path)
    assert code == 0
    told = [one.number for one in found if one.kind == records.TIMED]
    assert told == [one.bit for one in timed.MEASURES] * 2
    assert all(one.value > 0 for one in found if one.kind == records.TIMED)
    assert os.listdir(tmp_path) == []


def test_a_measure_alone_is_told_alone(probe, tmp_path):
    for one in (timed.READ, timed.ECHO, timed.CALL):
        _, found = run(probe, "t", str(1 << one.bit), "1", cwd=tmp_path)
        assert [record.number for record in found if record.kind == records.TIMED] == [one.bit]


def test_a_neighbour_ends_by_itself(native, tmp_path):
    code, found = run(native, "n", str(1 << timed.FORK.bit), "3", str(50_000_000), cwd=tmp_path)
    assert code == 0
    assert [one.kind for one in found] == [records.READY]


def test_it_stays_until_it_is_told_to_end(probe):
    child = subprocess.Popen([*probe, "w"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert records.parse(child.stdout.read(records.SIZE))[0].kind == records.READY
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 0
    child.stdout.close()


def test_it_serves(native):
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    (address,) = struct.unpack("<Q", struct.pack("<H", 2) + struct.pack(">H", port) + b"\x7f\0\0\1")
    child = subprocess.Popen([*native, "s", str(address)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert records.parse(child.stdout.read(records.SIZE))[0].kind == records.READY
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
            peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert peer.makefile("rb").read().endswith(b"\r\n\r\nyes")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        for word in (b"E", b"Echo"):
            peer.sendall(word)
            assert peer.recv(100) == word
    assert run(native, "s", str(address))[0] == 3  # taken
    child.kill()
    child.wait(20)
    child.stdout.close()


def test_files_are_read_as_they_are(probe, tmp_path):
    (tmp_path / "one").write_bytes(b"x" * 70_000)
    (tmp_path / "empty").write_bytes(b"")
    code, found = run(probe, "f", "0", f"{tmp_path}/one", f"{tmp_path}/none", f"{tmp_path}/empty", str(tmp_path))
    names, *read = found
    assert code == 0
    assert names.kind == records.NAMES
    assert names.content.startswith(b"Linux\0")
    assert [(one.number, one.value) for one in read] == [(0, 65536), (1, -2), (2, 0), (3, -21)]
    assert read[0].content == b"x" * 65536


def test_every_number_is_tried_and_nothing_is_refused_here(native):
    table = numbers(os.uname().machine)
    _, found = run(native, "c", "0", "120")
    (record,) = found
    assert (record.kind, record.number, record.value) == (records.CALLS, 0, 360)
    first = {name: number for name, number in table.items() if number < 120}
    sorted_out = reached(record.content, first)
    here = {"read", "write", "openat", "getpid"} & set(first)
    assert here <= set(sorted_out.passed)
    if os.path.exists("/proc/self/status") and "Seccomp:\t0" in open("/proc/self/status").read():
        assert sorted_out.refused == ()
    for name in UNTRIED:
        if table.get(name, 999) < 120:
            assert record.content[3 * table[name] + 2] == NOT_TRIED


def test_a_filter_is_seen_by_number(native, tmp_path):
    """Under a filter that refuses two calls, and answers a third as if there were none."""
    from atoll.linux import process, seccomp
    from atoll.runtime.seccomp import compile
    from atoll.spec.runtime import Seccomp, SyscallRule

    profile = Seccomp(
        default_action="SCMP_ACT_ALLOW",
        syscalls=(
            SyscallRule(names=("getppid", "reboot"), action="SCMP_ACT_ERRNO", errno_ret=1),
            SyscallRule(names=("getpgid",), action="SCMP_ACT_ERRNO", errno_ret=38),
        ),
    )
    program = compile(profile)

    def confine():
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.seccomp_set_mode_filter(program)

    done = subprocess.run([*native, "c", "0", "480"], stdout=subprocess.PIPE, timeout=60, preexec_fn=confine)
    (record,) = records.parse(done.stdout)
    sorted_out = reached(record.content, numbers(os.uname().machine))
    assert sorted_out.refused == tuple(
        sorted(("getppid", "reboot"), key=lambda name: numbers(os.uname().machine)[name])
    )
    assert "getpgid" in sorted_out.absent
    assert {"getpid", "clone", "exit_group", "kexec_load"} <= set(sorted_out.passed)


def test_the_ways_out_answer_each(native, tmp_path):
    code, found = run(native, "e", str(os.getpid()), "0", cwd=tmp_path)
    assert code == 0
    assert [one.number for one in found] == list(range(len(TRIALS)))
    answers = {TRIALS[one.number].name: one.value for one in found}
    assert answers["see a process of the host"] == 0
    assert answers["leave a chroot by a second one"] != 0
    assert os.listdir(tmp_path) == []


def test_what_is_no_record_is_skipped():
    one = struct.pack("<QQQq", records.MAGIC, records.TIMED, 3, 77)
    found = [records.Record(kind=records.TIMED, number=3, value=77)]
    assert records.parse(b"a warning\n" + one + b"\nmore\n" + one[:20]) == found
    names = struct.pack("<QQQq", records.MAGIC, records.NAMES, 0, 5)
    assert records.parse(names + b"abcde" + one)[0].content == b"abcde"
    assert records.parse(names + b"abc") == []
    with pytest.raises(errors.Corrupt):
        records.parse(struct.pack("<QQQq", records.MAGIC, records.FILE, 0, 1 << 40))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_scripts_reckon(machine, tmp_path):
    """Loops, comparisons with signs, bytes, and going back to where a part was called from."""
    s = Script(machine)
    total, count, back, at = s.variable(), s.variable(), s.variable(), s.variable()
    double, after, begin = s.new_label(), s.new_label(), s.new_label()
    s.go(begin)
    s.label(double)
    s.add(total, total)
    s.go_to(back)
    s.label(begin)
    s.copy(count, -3)
    s.repeat(4, lambda: s.add(total, 5))  # 20
    loop = s.label()
    s.copy(back, after)
    s.go(double)
    s.label(after)
    s.add(count, 1)
    s.if_less(count, 0, loop)  # three times: 160
    s.subtract(total, 33)
    s.keep(total, 0x7F)  # 127
    s.copy(at, s.buffer)
    s.put(at, total, byte=True)
    s.get(count, s.text(b"A"), byte=True)  # 65
    s.get(total, at, byte=True)
    s.subtract(total, count)
    s.call("exit_group", total)
    path = tmp_path / "script"
    path.write_bytes(s.image())
    path.chmod(0o755)
    emulator = [] if os.uname().machine == machine else [f"/usr/bin/qemu-{machine}-static"]
    assert subprocess.run([*emulator, str(path)], timeout=60).returncode == 127 - 65
