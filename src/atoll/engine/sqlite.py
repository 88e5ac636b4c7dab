"""SQLite by the C module that the standard library's `sqlite3` wraps: the same database, 10 ms less to import.

Holds: `connect`, the errors' translation. Does not hold: the schema (`store.py`).
"""

from __future__ import annotations

import sys

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _import() -> Any:
    """`_sqlite3` without `functools`, of which it wants `lru_cache` alone (4 ms); the C half of that is enough."""
    if "_sqlite3" in sys.modules or "functools" in sys.modules:
        import _sqlite3

        return _sqlite3
    try:
        from _functools import _lru_cache_wrapper  # type: ignore[import-not-found]
    except ImportError:
        import _sqlite3

        return _sqlite3

    class Functools:
        @staticmethod
        def lru_cache(maxsize: int = 128) -> Any:
            return lambda function: _lru_cache_wrapper(function, maxsize, False, tuple)

    sys.modules["functools"] = Functools  # type: ignore[assignment]
    try:
        import _sqlite3
    finally:
        del sys.modules["functools"]
    return _sqlite3


def connect(path: str, busy_seconds: float) -> Any:
    """A connection in autocommit mode: transactions are begun and ended in words. Raises AtollError."""
    driver = _import()
    try:
        # The statement cache is what wants lru_cache at run time; it must be there while connecting, too.
        return driver.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    except driver.Error as error:
        raise translate(error, path) from error


def is_error(error: BaseException) -> bool:
    """Whether an exception is SQLite's."""
    driver = sys.modules.get("_sqlite3")
    return driver is not None and isinstance(error, driver.Error)


def code_of(error: BaseException) -> int:
    """SQLite's primary result code, 0 if unknown (sqlite.org/rescode.html)."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


BUSY, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, CONSTRAINT, NOTADB = 5, 8, 10, 11, 13, 14, 19, 26


def translate(error: BaseException, path: str) -> errors.AtollError:
    """The error a person reads."""
    code = code_of(error)
    if code == BUSY:
        return errors.Unavailable(f"the store {path} is busy: {error}", hint="other commands hold it; try again")
    if code == FULL:
        return errors.Exhausted(f"cannot write the store {path}: {error}", hint="free space on that file system")
    if code in (READONLY, CANTOPEN):
        return errors.Denied(f"cannot open the store {path}: {error}", hint="is the file system read-only or full?")
    if code in (CORRUPT, NOTADB):
        return errors.Corrupt(f"the store {path} is damaged: {error}", hint="run 'atoll system check'")
    if code == IOERR:
        return errors.Exhausted(
            f"cannot read or write the store {path}: {error}", hint="is the disk full or failing?"
        )
    return errors.Internal(f"store {path}: {error}")
