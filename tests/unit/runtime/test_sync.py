import pytest

from atoll.base import errors
from atoll.runtime import sync


def test_a_message_and_its_end():
    ours, theirs = sync.pair()
    sync.send(theirs, {"at": "ready"})
    assert sync.receive(ours) == ({"at": "ready"}, None)
    theirs.close()
    assert sync.receive(ours) == (None, None)
    ours.close()


def test_the_last_word_is_heard_though_ours_was_never_read():
    ours, theirs = sync.pair()
    sync.send(ours, {"go": "joined"})
    sync.send(theirs, {"error": errors.NotFound("no such mount").to_json()})
    theirs.close()
    with pytest.raises(errors.NotFound, match="no such mount"):
        sync.receive(ours)
    assert sync.receive(ours) == (None, None)
    ours.close()


def test_out_of_step_is_a_fault():
    ours, theirs = sync.pair()
    sync.send(theirs, {"at": "elsewhere"})
    with pytest.raises(errors.Internal, match="out of step"):
        sync.expect(ours, "at", "ready")
    theirs.close()
    with pytest.raises(errors.Internal):
        sync.expect(ours, "at", "ready")
    ours.close()
