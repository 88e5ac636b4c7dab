import pytest

from atoll.base import ids


def test_ids_are_64_hex_digits_and_differ():
    made = {ids.new_id() for _ in range(100)}
    assert len(made) == 100
    assert all(len(i) == 64 and int(i, 16) >= 0 and not i[:12].isdecimal() for i in made)


def test_short_id():
    assert ids.short_id("sha256:0123456789abcdef") == "0123456789ab"


def test_random_names_are_legal():
    assert all(ids.valid_name(ids.random_name()) for _ in range(500))


@pytest.mark.parametrize(
    ("name", "legal"),
    [("web", True), ("w", False), ("a.b-c_d", True), ("-a", False), (".a", False), ("a/b", False), ("a b", False),
     ("é1", False), ("a" * 255, True), ("a" * 256, False), ("a\n", False)],
)  # fmt: skip
def test_valid_name(name, legal):
    assert ids.valid_name(name) is legal
