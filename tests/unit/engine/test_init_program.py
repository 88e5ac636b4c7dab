"""Which programs can be a container's --init."""

import os
import signal
import subprocess

import pytest

from atoll.base import errors
from atoll.engine.containers.init_program import find, is_static, own
from kit import elf


def test_a_static_program_and_others(tmp_path):
    assert is_static(elf.syscall(39))
    with open(os.path.realpath("/bin/ls"), "rb") as stream:
        assert not is_static(stream.read(4096))
    for content in (b"", b"#!/bin/sh\n", b"\x7fELF\x01" + bytes(60), b"\x7fELF\x02" + b"\xff" * 70):
        assert not is_static(content)


def test_the_first_that_runs_anywhere(tmp_path):
    good, plain = str(tmp_path / "good"), str(tmp_path / "plain")
    for path in (good, plain):
        with open(path, "wb") as stream:
            stream.write(elf.syscall(39))
    os.chmod(good, 0o755)
    assert find(("/no/such", "/bin/ls", plain, good)) == good
    assert find(("/bin/ls",)) is None


def test_our_own_is_made_once_and_mended(tmp_path):
    path = own(str(tmp_path), "x86_64")
    with open(path, "rb") as stream:
        assert is_static(stream.read())
    before = os.stat(path)
    assert own(str(tmp_path), "x86_64") == path
    assert os.stat(path).st_ino == before.st_ino
    assert before.st_mode & 0o777 == 0o555
    os.chmod(path, 0o755)
    with open(path, "r+b") as stream:
        stream.write(b"garbage")
    own(str(tmp_path), "x86_64")
    with open(path, "rb") as stream:
        assert is_static(stream.read())
    with pytest.raises(errors.Unsupported, match="catatonit"):
        own(str(tmp_path), "riscv64")


# -- what our own does, on both machines


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def init(request, tmp_path_factory):
    """The words that run it."""
    emulator = () if os.uname().machine == request.param else (f"/usr/bin/qemu-{request.param}-static",)
    return (*emulator, own(str(tmp_path_factory.mktemp("init")), request.param))


def run(init, *words, **how):
    return subprocess.run([*init, "--", *words], capture_output=True, text=True, timeout=20, **how)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("sh", "-c", "exit 9"), 9),
        (("sh", "-c", "kill -9 $$"), 137),
        (("/bin/true",), 0),
        (("nosuch",), 127),
        (("/no/such",), 127),
        (("/etc",), 126),
        (("/etc/passwd",), 126),
    ],
)
def test_exit_codes(init, words, code):
    result = run(init, *words)
    assert result.returncode == code
    assert (f"init: cannot execute {words[0]}" in result.stderr) is (code in (126, 127))


def test_without_a_program(init):
    assert subprocess.run([*init], capture_output=True, timeout=20).returncode == 127


def test_the_way_to_a_program(init, tmp_path):
    for name, content, mode in (("bad", "#!/no/interpreter\n", 0o755), ("closed", "#!/bin/sh\n", 0o644)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").write_text(content)
        (tmp_path / name / "tool").chmod(mode)
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "tool").write_text("#!/bin/sh\necho $0 $1 $NOTE\n")
    (tmp_path / "good" / "tool").chmod(0o755)
    way = f"/no/such:/etc/passwd:{tmp_path}/closed:{tmp_path}/bad:{tmp_path}/good"
    result = run(init, "tool", "word", env={"A": "1", "PATH": way, "NOTE": "said"})
    assert result.stdout == f"{tmp_path}/good/tool word said\n"
    here = run(init, "tool", env={"PATH": "/no/such::"}, cwd=tmp_path / "good")
    assert here.stdout == "tool\n"
    assert run(init, "true", env={}).returncode == 0
    assert run(init, "tool", env={"PATH": f"{tmp_path}/closed"}).returncode in (
        0,
        126,
    )  # root may not execute it either
    assert run(init, "true", env={"PATH": "x" * 20_000}).returncode == 127
    assert run(init, "true", env={"PATH": "x" * 8190}).returncode == 127


def test_signals_are_passed_on(init):
    script = "trap 'echo usr1' USR1; trap 'echo term; exit 6' TERM; echo ready; while :; do sleep 0.02; done"
    child = subprocess.Popen([*init, "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGUSR1)
    assert child.stdout.readline() == "usr1\n"
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "term\n"
    assert child.wait(10) == 6
    child.stdout.close()


def test_the_child_has_the_signals_as_they_were(init):
    before = subprocess.run(["grep", "SigBlk", "/proc/self/status"], capture_output=True, text=True).stdout
    assert run(init, "grep", "SigBlk", "/proc/self/status").stdout == before
