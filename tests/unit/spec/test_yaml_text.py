"""YAML within bounds: what it means, what it refuses, and back again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.base import errors
from atoll.spec.yaml_text import MOST_NODES, dump_all, load_all, plain

# By names that the Hypothesis of Debian knows, too: these tests also run as aarch64.
TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc"), whitelist_characters="\n\t"), max_size=20)
TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 60), 1 << 60)
    | TEXTS
    | st.sampled_from(["yes", "0644", "~", "1e3"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def test_values():
    found = load_all(
        b"a: 1\nb: [yes, 0644, 0x1f, 1e3, 1.5, ~, 2020-01-01, 12:30, '0644', \"on\", 08]\nc: &x {q: 1}\nd: *x\n"
        b"e:\n  <<: *x\n  r: 2\n---\n---\nz: |\n  text\n",
        "f",
    )
    values = [True, 420, 31, 1000.0, 1.5, None, "2020-01-01", "12:30", "0644", "on", "08"]
    assert found == [{"a": 1, "b": values, "c": {"q": 1}, "d": {"q": 1}, "e": {"q": 1, "r": 2}}, {"z": "text\n"}]


def _bomb(width: int, depth: int) -> bytes:
    lines = ["a0: &a0 [" + ",".join(["x"] * width) + "]"]
    lines += [f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * width) + "]" for n in range(1, depth)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"a: 1\na: 2\n", "f:2: key 'a' is there twice"),
        (b"a: &a [*a]", "stands for nothing yet"),
        (b"a: *b", "b"),
        (b"a: !!python/object/apply:os.system ['true']", "has no meaning here"),
        (b"a: !!python/name:os.system x", "has no meaning here"),
        (b"a: !foo 1", "has no meaning here"),
        (b"a: {", "f:"),
        (b"? [1]\n: 2", "a key that is no text"),
        (b"[" * 20_000, "nested"),
        (b"a:\n" + b"".join(b" " * n + b"- \n" for n in range(1, 300)), "f"),
        (b"\xff\xfe\xff", "not UTF-8"),
        (b"x: \x00", "f"),
        (b"<<: 3", "merges objects only"),
        (_bomb(9, 9), f"more than {MOST_NODES}"),
        (_bomb(2, 40), f"more than {MOST_NODES}"),
        (b"#" * (9 << 20), "MiB"),
    ],
)
def test_hostile_documents_are_refused(text: bytes, what: str):
    with pytest.raises(errors.InvalidArgument) as caught:
        load_all(text, "f")
    assert what in str(caught.value)


@given(TREES)
@settings(max_examples=60, deadline=None)
def test_back_again(tree: object):
    documents = [{"value": tree}, {"kind": "x"}]
    assert load_all(dump_all(documents).encode(), "f") == documents


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes):
    try:
        load_all(data, "f")
    except errors.InvalidArgument:
        pass


@given(st.text(st.sampled_from("0123456789+-._eExob~ftrueyn"), min_size=1, max_size=12))
@settings(max_examples=120, deadline=None)
def test_a_plain_scalar_is_a_text_or_a_value_of_its_own(text: str):
    value = plain(text)
    assert value is None or isinstance(value, str | int | float)
    if isinstance(value, str):
        assert value == text
