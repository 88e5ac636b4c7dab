from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import clock, errors, suggest, units


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("1b", 1), ("64k", 65536), ("64K", 65536), ("6m", 6 << 20), ("6MB", 6 << 20), ("6MiB", 6 << 20),
     ("1.5g", 3 << 29), ("0", 0), ("1 m", 1 << 20)],
)  # fmt: skip
def test_sizes(text, size):
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "1x", "1mm", "1e3", "0x10", "1.2.3", "9" * 50, "9999999p", "１", "."]
)
def test_wrong_sizes(text):
    with pytest.raises(errors.InvalidArgument):
        units.parse_size(text)


@given(st.text(max_size=50))
def test_any_text_is_a_size_or_refused(text):
    try:
        assert 0 <= units.parse_size(text) < 1 << 63
    except errors.InvalidArgument:
        pass


@given(st.text(max_size=50))
def test_any_text_is_a_span_or_refused(text):
    try:
        assert units.parse_span(text) >= 0
    except errors.InvalidArgument:
        pass


def test_spans():
    assert units.parse_span("1h30m") == 5400 * 10**9
    assert units.parse_span("250ms") == 250_000_000
    assert units.parse_span("1.5s") == 1_500_000_000


@pytest.mark.parametrize(("text", "nano"), [("1", 10**9), ("0.5", 5 * 10**8), (".25", 25 * 10**7), ("1.", 10**9)])
def test_cpus(text, nano):
    assert units.parse_nano_cpus(text) == nano


@pytest.mark.parametrize("text", ["", ".", "x", "-1", "1e9", "nan", "1.0000000001", "٣"])
def test_wrong_cpus(text):
    with pytest.raises(errors.InvalidArgument):
        units.parse_nano_cpus(text)


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (4262304, "4.26MB"), (123456789, "123MB"),
                        (999_999, "1MB"), (1_234_000_000, "1.23GB")],
)  # fmt: skip
def test_shown_sizes(size, shown):
    assert units.show_size(size) == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (150, "2 minutes"),
     (3600, "About an hour"), (7200, "2 hours"), (47 * 3600, "47 hours"), (72 * 3600, "3 days"),
     (15 * 86400, "2 weeks"), (90 * 86400, "3 months"), (800 * 86400, "2 years")],
)  # fmt: skip
def test_spans_in_words(seconds, words):
    assert units.show_span(seconds) == words


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_times_go_there_and_back(ns):
    assert clock.parse(clock.rfc3339(ns)) == ns
    assert clock.parse(clock.rfc3339_fixed(ns)) == ns


def test_zones_and_relative_times():
    assert clock.parse("2024-05-01T12:00:00+02:00") == clock.parse("2024-05-01T10:00:00Z")
    assert clock.since("10m", 10**12) == 10**12 - 600 * 10**9
    assert clock.since("1714557600.5", 0) == 1714557600_500_000_000


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text):
    try:
        clock.since(text, 10**18)
    except errors.InvalidArgument:
        pass


def test_guesses():
    known = ["--detach", "--name", "--network", "--memory"]
    assert suggest.nearest("--detatch", known) == "--detach"
    assert suggest.nearest("--netwrok", known) == "--network"
    assert suggest.nearest("--xyzzy", known) is None
    assert suggest.nearest("--mem", known) == "--memory"
