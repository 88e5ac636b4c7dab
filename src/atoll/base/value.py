"""`Value`: frozen, slotted, keyword-only records that cost nothing to import.

Holds: the metaclass that turns annotations into slots. Does not hold: validation, JSON.
The standard `dataclasses` module would do the same for 16 ms of every start (it imports `inspect`), more than
the whole of Atoll's hot path may take; type checkers treat a `Value` as a frozen dataclass (PEP 681).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_):  # noqa: ANN003, ANN201 - never seen by a type checker
        return lambda cls: cls


_REQUIRED = object()


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=True)
class _ValueType(type):
    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _ValueType:
        inherited: dict[str, Any] = {}
        for base in bases:
            inherited.update(getattr(base, "_fields", {}))
        own: dict[str, Any] = {}
        for field in namespace.get("__annotations__", ()):
            own[field] = namespace.pop(field, _REQUIRED)
        namespace["__slots__"] = tuple(own)
        namespace["_fields"] = found = {**inherited, **own}
        namespace["_defaults"] = {field: one for field, one in found.items() if one is not _REQUIRED}
        return super().__new__(mcs, name, bases, namespace)


class Value(metaclass=_ValueType):
    """Base of all records. Subclasses annotate fields; a class attribute is the default (immutable ones only).

    Instances compare and hash by content, cannot be changed, and are copied with `replace`.
    Raises TypeError on an unknown or missing field.
    """

    def __init__(self, **given: Any) -> None:
        put = object.__setattr__
        # One merge and one loop: a container takes some hundred of these in each of three processes.
        values = {**self._defaults, **given}  # type: ignore[attr-defined]
        declared = self._fields  # type: ignore[attr-defined]
        if len(values) != len(declared) or not given.keys() <= declared.keys():
            for field, default in declared.items():
                if field not in given and default is _REQUIRED:
                    raise TypeError(f"{type(self).__name__} needs {field}")
            raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(given.keys() - declared.keys()))}")
        for field, value in values.items():
            put(self, field, value)

    def __setattr__(self, field: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot set {field}")

    def __delattr__(self, field: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot delete {field}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, field) == getattr(other, field) for field in fields(self))

    def __hash__(self) -> int:
        return hash((type(self), *[getattr(self, field) for field in fields(self)]))

    def __repr__(self) -> str:
        shown = ", ".join(f"{field}={getattr(self, field)!r}" for field in fields(self))
        return f"{type(self).__name__}({shown})"

    def __copy__(self) -> Self:
        return self

    def replace(self, **changes: Any) -> Self:
        """The same record with some fields changed."""
        current = {field: getattr(self, field) for field in fields(self)}
        return type(self)(**{**current, **changes})


def fields(value: Value | type[Value]) -> tuple[str, ...]:
    """The names of a record's fields, in the order they were declared."""
    return tuple(value._fields)  # type: ignore[union-attr]


def is_required(cls: type[Value], field: str) -> bool:
    """Whether a field has no default."""
    return cls._fields[field] is _REQUIRED  # type: ignore[attr-defined]
