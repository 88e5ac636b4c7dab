import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.cli import display


def test_columns_as_docker_lays_them_out():
    shown = display.table(("ID", "NAME"), [("0123456789ab", "web"), ("1", "")])
    assert shown == "ID             NAME\n0123456789ab   web\n1\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 🐳", "plain é 🐳"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\rc\x07", "a\\nb\\rc\\x07"),
        ("\u202etxt", "\\u202etxt"),
        ("\x9b2J", "\\x9b2J"),
    ],
)
def test_terminal_escapes_do_not_act(text, shown):
    assert display.printable(text) == shown


@given(st.text())
def test_whatever_comes_the_terminal_sees_no_control_character(text):
    assert all(ord(c) >= 32 and c not in "\x7f\x9b\u202e" for c in display.printable(text))


def test_what_is_kept():
    assert display.printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


def test_shortened():
    assert display.shortened("abcdef", 6) == "abcdef"
    assert display.shortened("abcdefg", 6) == "abcde…"


def test_ago():
    assert display.ago("2024-01-01T00:00:00Z", 1704067200 * 10**9 + 300 * 10**9) == "5 minutes ago"
    assert display.ago(None, 0) == ""
