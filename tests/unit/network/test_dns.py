"""DNS messages: ours read back, hostile ones refused; names of a network."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.network.dns import message
from atoll.network.dns.message import AAAA, PTR, A, Malformed, Question
from atoll.network.dns.zone import Book, Zone


def ask(name: str, kind: int = A, *, edns: bool = False) -> bytes:
    """A query."""
    extra = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0) if edns else b""
    head = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 1 if edns else 0)
    return head + message.write_name(name) + struct.pack(">HH", kind, 1) + extra


def test_a_question_is_read() -> None:
    question = Question(ask("Web.Example", AAAA, edns=True))
    assert (question.name, question.kind, question.size, question.edns) == ("web.example", AAAA, 1232, True)


@given(st.binary(max_size=120))
def test_noise_is_refused_or_read(data: bytes) -> None:
    for read in (Question, message.records):
        try:
            read(data)
        except (Malformed, struct.error):
            continue


@given(st.binary(max_size=60))
def test_noise_behind_a_good_header_ends(data: bytes) -> None:
    try:
        message.records(struct.pack(">6H", 1, 0x8180, 1, 200, 0, 0) + data)
    except Malformed:
        return


def test_pointers_lead_back_only() -> None:
    loop = struct.pack(">6H", 1, 0x8180, 0, 1, 0, 0) + b"\xc0\x0c" + bytes(10)
    with pytest.raises(Malformed):
        message.records(loop)
    with pytest.raises(Malformed):
        Question(struct.pack(">6H", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1\0")


def test_an_answer_reads_back() -> None:
    question = Question(ask("web", edns=True))
    made = message.answer(question, [(A, 5, b"\n\0\0\1"), (A, 5, b"\n\0\0\2")])
    flags, count, found = message.records(made)
    assert (flags & 15, count, [one.data for one in found]) == (0, 2, [b"\n\0\0\1", b"\n\0\0\2"])
    older = message.aged(made, tuple((one.ttl_at, one.ttl) for one in found), 3)
    assert [one.ttl for one in message.records(older)[2]] == [2, 2]


def test_names_of_a_network() -> None:
    book, zone = Book(), Zone("app")
    book.zones["n"] = zone
    book.clients[b"\n\0\0\1"] = ("n",)
    zone.add(("web", "www"), (b"\n\0\0\2", b"\xfd" + bytes(15)))
    zone.add(("web2", "www"), (b"\n\0\0\3",))

    def look(name: str, kind: int = A) -> list[bytes] | None:
        found = book.lookup(b"\n\0\0\1", Question(ask(name, kind)))
        return None if found is None else [data for _, _, data in found]

    assert look("WEB") == look("web.app") == [b"\n\0\0\2"]
    assert look("web2", AAAA) == []  # there, without such an address: never NXDOMAIN
    assert look("else") is None
    assert {tuple(look("www") or ()) for _ in range(3)} >= {(b"\n\0\0\2", b"\n\0\0\3"), (b"\n\0\0\3", b"\n\0\0\2")}
    assert look("2.0.0.10.in-addr.arpa", PTR) == [message.write_name("web.app")]
    assert book.lookup(b"\n\0\0\x09", Question(ask("web"))) is None  # on another network
