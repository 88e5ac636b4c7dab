"""`run -it` and `exec -it` on a real terminal."""

from __future__ import annotations

import time

import pytest

from kit.command import Atoll
from kit.terminal import Terminal


def test_a_session_from_prompt_to_code(anyone: Atoll, busybox: str):
    anyone.good("pull", "-q", busybox)
    with Terminal(anyone, "run", "--rm", "-it", busybox, "sh") as term:
        term.expect(r"[#$] ")
        term.line("tty; echo two$((1+1))")
        term.expect("/dev/(pts/0|console)")
        term.expect("two2")
        term.line("exit 7")
        assert term.wait() == 7
        assert term.restored()


def test_debian_with_a_terminal(anyone: Atoll, debian: str):
    anyone.good("pull", "-q", debian)
    with Terminal(anyone, "run", "--rm", "-it", debian) as term:
        term.expect(r"root@[0-9a-f]{12}:/# ")
        term.line("stty -a | head -1; cat /etc/debian_version")
        term.expect("rows 24; columns 80")
        term.expect(r"\n12")
        term.line("exit")
        assert term.wait() == 0


def test_size_follows(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    script = "sleep 0.5; stty size; trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.1; done"
    with Terminal(atoll, "run", "--rm", "-it", busybox, "sh", "-c", script, rows=33, columns=101) as term:
        term.expect("33 101")
        term.expect("ready")
        term.resize(44, 120)
        term.expect("44 120")
        assert term.wait() == 0


def test_keys_reach_the_program(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    script = "trap 'exit 130' INT; echo ready; while :; do sleep 0.1; done"
    with Terminal(atoll, "run", "--rm", "-it", busybox, "sh", "-c", script) as term:
        term.expect("ready")
        term.type("\x03")
        assert term.wait() == 130


def test_end_of_input(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    with Terminal(atoll, "run", "--rm", "-it", busybox, "cat") as term:
        term.line("line")
        term.expect("line\r\nline")
        term.type("\x04")
        assert term.wait() == 0


def test_detach_keys_leave_it_running(anyone: Atoll, busybox: str):
    anyone.good("pull", "-q", busybox)
    with Terminal(anyone, "run", "-it", "--name", "web", busybox, "sh") as term:
        term.expect(r"[#$] ")
        term.type("\x10\x11")
        assert term.wait() == 0
        assert term.restored()
    assert anyone.state("web")["Running"] is True
    assert anyone.good("exec", "web", "echo", "alive") == "alive"


def test_the_first_detach_key_alone_is_a_key(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    with Terminal(atoll, "run", "--rm", "-it", busybox, "sh", "-c", "stty raw; head -c 2 | od -An -tx1") as term:
        time.sleep(1)
        term.type("\x10")
        term.type("a")
        term.expect("10 61")
        assert term.wait() == 0


def test_exec_with_a_terminal(anyone: Atoll, busybox: str):
    anyone.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    with Terminal(anyone, "exec", "-it", "web", "sh", rows=20, columns=70) as term:
        term.expect(r"[#$] ")
        term.line("stty size; ps | grep -c sleep")
        term.expect("20 70")
        term.line("exit 3")
        assert term.wait() == 3
        assert term.restored()
    assert anyone.state("web")["Running"] is True


@pytest.mark.parametrize("words", [("run", "--rm", "-it"), ("run", "--rm", "-t", "-i")])
def test_it_without_a_terminal_is_refused(atoll: Atoll, busybox: str, words: tuple[str, ...]):
    atoll.good("pull", "-q", busybox)
    result = atoll(*words, busybox, "true", stdin="")
    result.failed(result.code, "not a tty|terminal")
    assert result.code in (1, 125)
    assert atoll.all() == []


def test_t_alone_gives_a_terminal_inside(atoll: Atoll, busybox: str):
    """Docker allows -t without -i and without a terminal outside."""
    result = atoll("run", "--rm", "-t", busybox, "tty")
    assert result.code == 0, result
    assert result.out in ("/dev/pts/0\n", "/dev/console\n")


def test_detached_with_a_terminal(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "-t", "--name", "web", busybox, "sh", "-c", "tty; sleep 600")
    for _ in range(100):
        if "/dev/" in atoll.good("logs", "web"):
            break
        time.sleep(0.05)
    assert "/dev/" in atoll.good("logs", "web")
    assert atoll.state("web")["Running"] is True


def test_a_hang_up_ends_the_command(atoll: Atoll, busybox: str):
    """The terminal's window is closed: the command ends, and the container can be removed."""
    atoll.good("pull", "-q", busybox)
    with Terminal(atoll, "run", "-it", "--name", "web", busybox, "sh") as term:
        term.expect(r"[#$] ")
        term.hang_up()
        term.child.wait(15)
    atoll.good("rm", "-f", "web")
