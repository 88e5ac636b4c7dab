"""Guests that mean harm: whatever one says, in whatever pieces, its keeper ends it or goes on, and stays small."""

import json
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.guest import keeper, wire
from kit.agent import Guest

WORDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMED = st.dictionaries(
    st.sampled_from(["code", "signal", "oom", "error", "v", "taken", "is"]),
    WORDS | st.dictionaries(st.sampled_from(["kind", "message", "hint"]), WORDS, max_size=3),
    max_size=3,
)
PAYLOADS = st.binary(max_size=300) | (WORDS | NAMED).map(lambda word: json.dumps(word).encode())
HEADERS = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 65535), st.integers(0, 2**32 - 1))
FRAMES = st.builds(
    lambda kind, session, payload, stream: wire.frame(kind, session, payload, stream),
    st.sampled_from(sorted(wire.TO_HOST)),
    st.sampled_from([0, 0, 0, 1, 1023]),
    PAYLOADS,
    st.integers(0, 2),
)


@given(data=st.binary(max_size=2000) | HEADERS.map(lambda header: wire.HEADER.pack(*header)), cuts=st.data())
def test_the_reader_takes_frames_or_says_malformed_and_holds_one_frame_at_most(data, cuts):
    reader = wire.FrameReader(guest=True)
    try:
        while data:
            count = cuts.draw(st.integers(1, len(data)))
            for kind, stream, session, payload in reader.feed(data[:count]):
                assert kind in wire.TO_HOST
                assert stream <= 2
                assert session < wire.SESSIONS_MAX
                assert len(payload) <= wire.WORD_MAX
            data = data[count:]
            assert len(reader._buffer) <= wire.HEADER.size + wire.WORD_MAX
    except wire.Malformed:
        pass


@given(payload=PAYLOADS)
def test_words_are_objects_or_malformed(payload):
    for parse in (wire.parse, wire.parse_credit, wire.parse_error):
        try:
            found = parse(payload)
        except wire.Malformed:
            continue
        if parse is wire.parse_error:
            assert (found.message + (found.hint or "")).isprintable()


@pytest.mark.parametrize("begun", [False, True])
@settings(max_examples=40, deadline=None)
@given(frames=st.lists(FRAMES, max_size=12))
def test_a_keeper_ends_by_a_code_of_its_own_whatever_it_hears(begun, frames):
    """99 is the code of a fault that nobody expected (`kit/agent.py`)."""
    guest = Guest()
    try:
        if begun:
            guest.begin()
        guest.say(*frames)
        code = guest.finish()
    finally:
        os.close(guest.out)
    assert 0 <= code <= 255
    assert code != 99


def test_a_guest_that_floods_and_takes_nothing_is_ended_before_what_it_is_owed_fills_our_memory(monkeypatch):
    monkeypatch.setattr(keeper, "QUEUE_MAX", 1 << 16)
    guest = Guest()
    guest.begin()
    crumbs = wire.frame(wire.OUTPUT, 0, b"x", 1) * 4000

    def flood() -> None:
        for _ in range(200):
            guest.say(crumbs)

    sender = threading.Thread(target=flood, daemon=True)
    sender.start()
    while os.read(guest.out, 1 << 16):
        pass
    sender.join(30)
    assert not sender.is_alive()
    assert guest.finish() == 137
    os.close(guest.out)


def test_terminal_data_without_end_is_held_at_the_window():
    """Nobody reads what it writes: it is told so by getting no credit, and what it sends all the same ends it."""
    guest = Guest()
    guest.begin()
    for _ in range(64):
        guest.say(wire.frame(wire.OUTPUT, 0, bytes(wire.DATA_MAX), 1))
    assert guest.finish() == 137
    os.close(guest.out)
