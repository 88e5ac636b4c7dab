import pytest

from atoll.base.rollback import Rollback


def test_undoes_in_reverse_on_failure_and_keeps_the_first_error():
    order = []

    def bad():
        order.append("bad")
        raise OSError("undo failed")

    with pytest.raises(ValueError, match="cause") as caught, Rollback() as undo:
        undo.push(order.append, 1)
        undo.push(bad)
        undo.push(order.append, 3)
        raise ValueError("cause")
    assert order == [3, "bad", 1]
    assert any("undo failed" in note for note in caught.value.__notes__)


def test_release_keeps_everything():
    order = []
    with Rollback() as undo:
        undo.push(order.append, 1)
        undo.release()
    assert order == []


def test_without_release_it_undoes_and_a_failed_undo_is_raised():
    def bad():
        raise OSError("x")

    with pytest.raises(OSError, match="x"), Rollback() as undo:
        undo.push(bad)


def test_runs_on_keyboard_interrupt():
    order = []
    with pytest.raises(KeyboardInterrupt), Rollback() as undo:
        undo.push(order.append, 1)
        raise KeyboardInterrupt
    assert order == [1]
