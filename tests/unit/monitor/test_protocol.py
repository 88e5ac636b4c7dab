"""Framing: whatever the cuts, the same frames come out; whatever is broken is refused, never stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.monitor import protocol
from atoll.monitor.protocol import CONTROL, DATA_MAX, FrameReader, Malformed, check_version, control, frame

FRAMES = st.lists(st.tuples(st.sampled_from([0, 1, 2, CONTROL]), st.binary(max_size=300)), max_size=12)


@given(FRAMES, st.lists(st.integers(1, 40), min_size=1, max_size=50))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(frames, cuts):
    wire = b"".join(frame(*one) for one in frames)
    reader, got, position = FrameReader(), [], 0
    for turn in range(len(wire)):
        if position >= len(wire):
            break
        size = cuts[turn % len(cuts)]
        got += reader.feed(wire[position : position + size])
        position += size
    assert got == frames
    assert not reader.partial


@given(st.binary(min_size=8, max_size=400))
def test_arbitrary_bytes_are_frames_or_malformed_and_never_more(noise):
    reader = FrameReader()
    try:
        frames = reader.feed(noise)
    except Malformed:
        return
    assert sum(8 + len(payload) for _, payload in frames) <= len(noise)
    assert all(stream in (0, 1, 2, CONTROL) for stream, _ in frames)


def test_the_header_is_dockers():
    assert frame(1, b"hello") == b"\x01\0\0\0\0\0\0\x05hello"


@pytest.mark.parametrize(
    "header",
    [
        b"\x03\0\0\0\0\0\0\x01",  # no such stream
        b"\x01\x01\0\0\0\0\0\x01",  # its zeros are not
        b"\x01\0\0\0" + (DATA_MAX + 1).to_bytes(4, "big"),
        b"\x08\0\0\0" + (protocol.CONTROL_MAX + 1).to_bytes(4, "big"),
        b"\x08\0\0\0\xff\xff\xff\xff",
    ],
)
def test_a_header_beyond_the_rules_is_refused_before_its_payload(header):
    with pytest.raises(Malformed):
        FrameReader().feed(header)


def test_the_first_frame_may_be_large():
    reader = FrameReader(protocol.REQUEST_MAX)
    assert reader.feed(frame(CONTROL, b"x" * (1 << 20)))[0][1] == b"x" * (1 << 20)


@given(st.binary(max_size=100))
def test_control_is_an_object_or_malformed(payload):
    try:
        assert isinstance(protocol.parse_control(payload), dict)
    except Malformed:
        pass


def test_control_nested_beyond_reason_is_malformed():
    with pytest.raises(Malformed):
        protocol.parse_control(b"[" * 60000)


def test_control_round_trip():
    stream, payload = FrameReader().feed(control({"do": "resize", "rows": 3}))[0]
    assert (stream, protocol.parse_control(payload)) == (CONTROL, {"do": "resize", "rows": 3})


def test_a_newer_protocol_is_refused_by_name_and_an_older_is_read():
    check_version({"v": protocol.VERSION})
    with pytest.raises(errors.Unsupported, match="version 99"):
        check_version({"v": 99})
    for wrong in ({}, {"v": "1"}, {"v": 0}, {"v": True}, {"v": None}):
        with pytest.raises(Malformed):
            check_version(wrong)
