import pytest

from atoll.base.value import Value, fields, is_required


class Point(Value):
    x: int
    y: int = 0


class Named(Point):
    name: str = "p"


def test_defaults_equality_hash_and_repr():
    assert Point(x=1) == Point(x=1, y=0)
    assert hash(Point(x=1)) == hash(Point(x=1, y=0))
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Named(x=1)
    assert repr(Point(x=1)) == "Point(x=1, y=0)"


def test_fields_are_inherited_in_order():
    assert fields(Named) == ("x", "y", "name")
    assert Named(x=1, name="q").y == 0
    assert is_required(Named, "x")
    assert not is_required(Named, "y")


def test_frozen_and_slotted():
    point = Point(x=1)
    with pytest.raises(AttributeError, match="immutable"):
        point.x = 2
    with pytest.raises(AttributeError, match="immutable"):
        del point.x
    with pytest.raises(AttributeError):
        point.z = 2
    assert not hasattr(point, "__dict__")


def test_replace_makes_a_copy():
    point = Point(x=1)
    assert point.replace(y=5) == Point(x=1, y=5)
    assert point.y == 0


@pytest.mark.parametrize(("given", "word"), [({}, "needs x"), ({"x": 1, "q": 2}, "no field q")])
def test_wrong_fields_are_named(given, word):
    with pytest.raises(TypeError, match=word):
        Point(**given)
