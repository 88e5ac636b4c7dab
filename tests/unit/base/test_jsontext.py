import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import jsontext

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(documents)
def test_agrees_with_the_json_package(value):
    written = jsontext.dumps(value)
    assert json.loads(written) == value
    assert jsontext.loads(written) == value
    assert jsontext.loads(json.dumps(value, indent=2, ensure_ascii=False).encode()) == value


@given(st.text())
def test_accepts_exactly_what_the_json_package_accepts(text):
    try:
        expected = json.loads(text, parse_constant=lambda name: pytest.fail(name) if False else _refuse(name))
    except (ValueError, RecursionError):
        with pytest.raises(ValueError):
            jsontext.loads(text)
    else:
        assert jsontext.loads(text) == expected


def _refuse(name):
    raise ValueError(name)


@pytest.mark.parametrize("text", ["", "  ", "{", "[1,]", '{"a":1} x', "NaN", "[Infinity]", b"\xff", "[" * 100000])
def test_refuses_by_value_error(text):
    with pytest.raises(ValueError):
        jsontext.loads(text)


@pytest.mark.parametrize("value", [object(), {"a": {1}}, float("nan")])
def test_refuses_to_write_what_is_not_json(value):
    with pytest.raises((TypeError, ValueError)):
        jsontext.dumps(value)


def test_the_fallback_gives_the_same(monkeypatch):
    monkeypatch.setattr(jsontext, "_scan", None)
    monkeypatch.setattr(jsontext, "_encode", None)
    assert jsontext.loads(' {"a": [1, "é"]} ') == {"a": [1, "é"]}
    assert jsontext.dumps({"a": [1, "é"]}) == '{"a":[1,"\\u00e9"]}'
    with pytest.raises(ValueError):
        jsontext.loads("[NaN]")
