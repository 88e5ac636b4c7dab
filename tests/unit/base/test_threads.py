"""Gates and threads without `threading`."""

from __future__ import annotations

import _thread
import subprocess
import sys
import time

import pytest

from atoll.base import threads


def test_a_gate_is_closed_until_it_is_opened_and_stays_open() -> None:
    gate = threads.Gate()
    assert not gate.is_open
    assert not gate.wait(0)
    assert not gate.wait(0.01)
    gate.open()
    gate.open()
    assert gate.is_open
    assert gate.wait(0)
    assert gate.wait()


def test_all_who_wait_come_through() -> None:
    gate, through = threads.Gate(), []
    ends = [threads.start(lambda: through.append(gate.wait(20))) for _ in range(20)]
    time.sleep(0.01)
    assert not through
    openers = [threads.start(gate.open) for _ in range(5)]
    assert all(one.wait(20) for one in (*ends, *openers))
    assert through == [True] * 20


def test_a_thread_gets_its_arguments_and_tells_its_end() -> None:
    seen: list[object] = []
    assert threads.start(lambda *words: seen.extend(words), 1, "two").wait(20)
    assert seen == [1, "two"]


def test_the_gate_of_a_thread_that_failed_opens_too() -> None:
    code = """
import sys
sys.unraisablehook = lambda _: None
from atoll.base import threads
def fail():
    raise ValueError
print(threads.start(fail).wait(20), "threading" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_each_keeps_the_order_and_the_number() -> None:
    running, most = [], []

    def work(number: int) -> int:
        running.append(number)
        most.append(len(running))
        time.sleep(0.002)
        running.remove(number)
        return -number

    assert threads.each(range(30), work, at_once=3, stop=lambda: None) == [-n for n in range(30)]
    assert 1 < max(most) <= 3
    assert threads.each((), work, at_once=3, stop=lambda: None) == []


def test_the_first_failure_stops_the_others() -> None:
    stopped, begun = threads.Gate(), []

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise ValueError("the first")
        assert stopped.wait(20)
        raise ValueError("because of it")

    with pytest.raises(ValueError, match="the first"):
        threads.each(range(10), work, at_once=2, stop=stopped.open)
    assert sorted(begun) == [0, 1]


def test_an_interrupt_stops_all() -> None:
    stopped, ended = threads.Gate(), []

    def work(number: int) -> None:
        if number == 1:
            _thread.interrupt_main()
        assert stopped.wait(20)
        ended.append(number)

    with pytest.raises(KeyboardInterrupt):
        threads.each(range(5), work, at_once=2, stop=stopped.open)
    assert sorted(ended) == [0, 1]


def test_a_waiter_that_was_interrupted_with_the_lock_in_its_hands_holds_up_nobody() -> None:
    gate = threads.Gate()
    waiting = threads.start(gate.wait)
    gate.open()
    gate._closed.acquire()  # what an interrupt between taking it and giving it back leaves
    assert gate.wait()
    assert waiting.wait(10)
    assert not threads.Gate().wait(0.01)
