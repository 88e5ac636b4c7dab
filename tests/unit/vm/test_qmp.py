import socket
import threading

import pytest

from atoll.base import errors
from atoll.vm.qmp import LINE_MAX, Control


def control(answers: bytes, *, seconds: float = 0.3, close: bool = True) -> Control:
    ours, theirs = socket.socketpair()
    threading.Thread(target=lambda: (theirs.sendall(answers), theirs.close() if close else None), daemon=True).start()
    one = Control(ours, seconds)
    one.kept = theirs  # type: ignore[attr-defined]
    return one


def test_an_answer_after_events():
    one = control(b'{"event":"A"}\r\n{"event":"B"}\n{"return":{"status":"ok"}}\n', close=False)
    assert one.ask("query-status") == {"status": "ok"}


def test_a_refusal_in_words_fit_to_be_shown():
    one = control(b'{"error":{"class":"X","desc":"no \\u001b[31m such"}}\n', close=False)
    with pytest.raises(errors.Unavailable, match=r"no \?\[31m such"):
        one.ask("x")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\n",
        b"[1]\n",
        b'"x"\n',
        b"[" * 100_000 + b"\n",
        b"x" * (2 * LINE_MAX),
        b'{"event":"flood"}\n' * 10_000,
    ],
)
def test_a_vmm_that_lies_floods_or_goes(said):
    with pytest.raises(errors.Unavailable):
        control(said, seconds=5).ask("x")


def test_one_that_never_answers():
    with pytest.raises(errors.Timeout):
        control(b'{"event":"A"}\n', close=False).ask("x")


def test_a_wait_ends_with_any_word_that_is_not_expected():
    one = control(b'{"return":{"status":"active"}}\n{"return":{"status":"failed"}}\n', close=False)
    with pytest.raises(errors.Unavailable, match="failed"):
        one.wait_for("query-migrate", "status", "completed", ("active",), 1)
