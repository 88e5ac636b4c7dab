"""`--env-file`: files of environment variables, as Docker reads them.

A line is `KEY=value`, or `KEY` to take the value it has here; the value is taken as it stands, quotes and all. Empty
lines and those that begin with `#` are passed over.
"""

from __future__ import annotations

from atoll.base import errors, files


def variables(paths: tuple[str, ...]) -> tuple[str, ...]:
    """The entries of the files, in order. Raises NotFound and other kinds for a file that cannot be read,
    InvalidArgument for a line that is wrong."""
    found: list[str] = []
    for path in paths:
        try:
            text = files.read_bytes(path).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise errors.InvalidArgument(f"environment file {path} is not UTF-8") from None
        except OSError as error:
            raise errors.from_os_error(error, "read the environment file") from error
        found += [entry for number, line in enumerate(text.splitlines(), 1) if (entry := _entry(line, path, number))]
    return tuple(found)


def _entry(line: str, path: str, number: int) -> str | None:
    line = line.lstrip()
    if not line or line.startswith("#"):
        return None
    key, equals, value = line.partition("=")
    if not key.strip():
        raise errors.InvalidArgument(f"environment file {path}, line {number}: no variable name")
    if any(c.isspace() for c in (key if equals else key.strip())):
        raise errors.InvalidArgument(f"environment file {path}, line {number}: variable '{key}' contains whitespaces")
    return f"{key}={value}" if equals else key.strip()
