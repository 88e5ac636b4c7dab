"""The environment of a container's process: Docker's defaults, the image's, the user's. Pure."""

from __future__ import annotations

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def given(entries: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """What `-e` asks for: `KEY=value` as it is, `KEY` with the value it has here; a `KEY` that has none here stays
    without `=`, which takes it away from the image's. Raises InvalidArgument."""
    out = []
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not name:
            raise errors.InvalidArgument(f"invalid environment variable: '{entry}'", hint="write KEY=value or KEY")
        if "\0" in entry:
            raise errors.InvalidArgument(f"invalid environment variable: '{name}' holds a NUL character")
        if any(c.isspace() for c in name):
            raise errors.InvalidArgument(f"invalid environment variable: '{name}' has a blank in its name")
        if equals:
            out.append(f"{name}={value}")
        else:
            out.append(f"{name}={environ[name]}" if name in environ else name)
    return out


def merge(base: Iterable[str], over: Iterable[str]) -> tuple[str, ...]:
    """`base` with the entries of `over` in place of those of the same name, or behind; an entry without `=` takes
    its name away."""
    variables: dict[str, str | None] = {}
    for entry in (*base, *over):
        name, equals, _ = entry.partition("=")
        variables[name] = entry if equals else None
    return tuple([entry for entry in variables.values() if entry is not None])
