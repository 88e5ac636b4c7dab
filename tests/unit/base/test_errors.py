import errno

import pytest

from atoll.base import errors


def test_message_and_hint_read_as_one_sentence():
    error = errors.NotFound("no image x", hint="pull it")
    assert str(error) == "no image x (pull it)"
    assert str(errors.NotFound("no image x")) == "no image x"


@pytest.mark.parametrize("kind", sorted(errors.KINDS))
def test_every_kind_crosses_a_process_boundary(kind):
    error = errors.KINDS[kind]("what", hint="how")
    back = errors.from_json(error.to_json())
    assert type(back) is type(error)
    assert (back.message, back.hint, back.kind) == ("what", "how", kind)


@pytest.mark.parametrize("wire", [None, 3, [], {}, {"kind": "nonsense", "message": 5}])
def test_a_malformed_error_is_internal(wire):
    assert errors.from_json(wire).kind == "internal"


def test_all_subclasses_are_in_the_table():
    assert set(errors.KINDS.values()) == set(errors.AtollError.__subclasses__())


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOENT, "not-found"), (errno.ENOSPC, "exhausted"), (errno.EPERM, "denied"), (9999, "internal")],
)
def test_from_os_error_says_what_where_and_why(code, kind):
    error = errors.from_os_error(OSError(code, "why", "/where"), "try it")
    assert error.kind == kind
    assert error.message == "cannot try it: /where why"
    assert (error.hint is not None) == (code == errno.ENOSPC)
