"""Mount options by name: what each means, and that the last word counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.runtime import mount_options as mo

RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, STRICT, NODIRATIME = 1, 2, 4, 8, 0x10, 0x20, 0x80


def test_attributes():
    parsed = mo.parse(("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"))
    assert parsed.set == RDONLY | NOSUID | NODEV | NOEXEC | NOATIME | NODIRATIME
    assert not parsed.bind
    assert parsed.data == ()


@pytest.mark.parametrize(("words", "on", "off"), [(("ro", "rw"), 0, RDONLY), (("rw", "ro"), RDONLY, 0)])
def test_the_last_word_counts(words, on, off):
    parsed = mo.parse(words)
    assert parsed.set & RDONLY == on
    assert parsed.clear & RDONLY == off


def test_times_exclude_one_another():
    assert mo.parse(("noatime", "strictatime")).set == STRICT
    assert mo.parse(("strictatime", "relatime")).set == 0


def test_recursive_attributes_are_kept_apart():
    parsed = mo.parse(("rbind", "rro", "rnosuid", "rdev"))
    assert (parsed.bind, parsed.recursive) == (True, True)
    assert parsed.set_recursive == RDONLY | NOSUID
    assert parsed.clear_recursive == NODEV
    assert parsed.set == 0


def test_a_word_of_its_own_is_not_a_recursive_one():
    assert mo.parse(("relatime",)).set_recursive == 0
    assert mo.parse(("rw",)).clear == RDONLY


@pytest.mark.parametrize(
    ("word", "flag", "recursive"),
    [
        ("private", 1 << 18, False),
        ("rslave", 1 << 19, True),
        ("rshared", 1 << 20, True),
        ("unbindable", 1 << 17, False),
    ],
)
def test_propagation(word, flag, recursive):
    parsed = mo.parse(("bind", word))
    assert (parsed.propagation, parsed.propagation_recursive) == (flag, recursive)


def test_the_rest_goes_to_the_file_system():
    parsed = mo.parse(("size=64k", "mode=755", "newinstance", "sync", "defaults", "x-systemd.automount", "async"))
    assert parsed.data == (("size", "64k"), ("mode", "755"), ("newinstance", None), ("sync", None))


def test_special_words():
    parsed = mo.parse(("tmpcopyup", "ridmap"))
    assert parsed.tmpcopyup
    assert parsed.idmap == "ridmap"


@given(st.lists(st.sampled_from([*mo._ATTRIBUTES, *[f"r{name}" for name in mo._ATTRIBUTES]])))
def test_nothing_is_both_set_and_cleared(words):
    parsed = mo.parse(tuple(words))
    atime = 0x70  # its three bits are one field: clearing all of it is how a value is set
    assert parsed.set & parsed.clear & ~atime == 0
    assert parsed.set_recursive & parsed.clear_recursive & ~atime == 0


def test_every_name_that_features_lists_is_understood():
    for name in mo.names():
        assert mo.parse((name,)).data == () or name in mo._SUPERBLOCK
