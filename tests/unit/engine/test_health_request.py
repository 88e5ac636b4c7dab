"""Flags over the image's HEALTHCHECK, and what an image's author may have written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.engine.containers.health_request import merge
from atoll.engine.requests import Health
from atoll.spec.image import Healthcheck

IMAGE = Healthcheck(test=("CMD", "check"), interval=5 * 10**9, retries=7)


def test_nothing_asked_is_what_the_image_says():
    assert merge(None, IMAGE) == Health(test=("CMD", "check"), interval=5 * 10**9, retries=7)
    assert merge(None, None) is None


def test_a_flag_goes_over_the_image_and_leaves_the_rest():
    assert merge(Health(interval=10**9), IMAGE) == Health(test=("CMD", "check"), interval=10**9, retries=7)
    assert merge(Health(test=("CMD-SHELL", "x")), IMAGE).test == ("CMD-SHELL", "x")


def test_none_switches_it_off():
    assert merge(Health(test=("NONE",)), IMAGE) is None
    assert merge(None, Healthcheck(test=("NONE",))) is None
    assert merge(Health(interval=10**9), None) is None


@pytest.mark.parametrize("words", [(), ("CMD",), ("CMD-SHELL",), ("CMD-SHELL", "a", "b"), ("EXEC", "x"), ("",)])
def test_a_test_of_no_known_kind_counts_as_none(words):
    assert merge(None, Healthcheck(test=words)) is None


def test_defaults_are_dockers():
    assert Health(test=("CMD", "x")).filled() == Health(
        test=("CMD", "x"), interval=30 * 10**9, timeout=30 * 10**9, start_interval=5 * 10**9, retries=3
    )


@given(st.lists(st.text(max_size=4), max_size=3), st.integers(-(1 << 63), (1 << 63) - 1), st.integers())
def test_no_image_makes_an_impossible_check(words, span, retries):
    health = merge(None, Healthcheck(test=tuple(words), interval=span, timeout=span, retries=retries))
    if health is not None:
        assert health.interval == 0 or health.interval >= 10**6
        assert 0 <= health.retries < 1 << 31
        assert health.test[0] in ("CMD", "CMD-SHELL")
