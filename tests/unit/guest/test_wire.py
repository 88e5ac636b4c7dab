import pytest

from atoll.base import errors
from atoll.guest import wire


def test_frames_come_out_however_the_stream_is_cut(rng):
    sent = [wire.frame(wire.OUTPUT, number, b"x" * rng.randrange(0, 500), 1 + number % 2) for number in range(50)]
    stream, reader, found = b"".join(sent), wire.FrameReader(guest=True), []
    while stream:
        count = rng.randint(1, 700)
        found += reader.feed(stream[:count])
        stream = stream[count:]
    assert [wire.frame(kind, session, payload, where) for kind, where, session, payload in found] == sent


@pytest.mark.parametrize(
    "header",
    [
        wire.HEADER.pack(wire.RUN, 0, 0, 1),
        wire.HEADER.pack(wire.HALT, 0, 0, 0),
        wire.HEADER.pack(0, 0, 0, 0),
        wire.HEADER.pack(200, 0, 0, 0),
        wire.HEADER.pack(wire.OUTPUT, 3, 0, 0),
        wire.HEADER.pack(wire.OUTPUT, 1, wire.SESSIONS_MAX, 0),
        wire.HEADER.pack(wire.OUTPUT, 1, 0, wire.DATA_MAX + 1),
        wire.HEADER.pack(wire.ENDED, 0, 0, 0xFFFFFFFF),
    ],
)
def test_a_guest_that_lies_is_noticed_at_the_header(header):
    with pytest.raises(wire.Malformed):
        wire.FrameReader(guest=True).feed(header)


def test_noise_never_faults_and_never_grows(rng):
    for _ in range(200):
        reader = wire.FrameReader(guest=True)
        try:
            for _ in range(20):
                reader.feed(rng.randbytes(rng.randint(1, 4096)))
        except wire.Malformed:
            continue
        assert len(reader._buffer) <= wire.WORD_MAX + 8192


def test_what_a_guest_tells_of_an_error_cannot_steer_a_terminal():
    told = wire.parse_error(b'{"error":{"kind":"denied","message":"a\\u001b]0;x\\u0007b","hint":"c\\nd"}}')
    assert isinstance(told, errors.Denied)
    assert (told.message, told.hint) == ("a?]0;x?b", "c?d")
    assert len(wire.parse_error(b'{"error":{"message":"' + b"x" * 50_000 + b'"}}').message) == 4096


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"1", b"\xff", b"[" * 60_000])
def test_words_that_are_no_objects(payload):
    with pytest.raises(wire.Malformed):
        wire.parse(payload)
