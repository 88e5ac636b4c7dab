"""JSON without the start-up cost of the `json` package (which imports `re`, 9 ms of every command).

Holds: `loads` and `dumps` on the C scanner and encoder that `json` itself is built on, with `json` as the
fallback wherever they are absent or differ. Does not hold: streaming, custom types.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\n\r"


class _Context:
    """What the C scanner asks its `json.JSONDecoder` for."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(name: str) -> float:
        raise ValueError(f"{name} is not JSON (RFC 8259, section 6)")


def _refuse(value: object) -> object:
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


_scan: Any = None
_encode: Any = None
try:
    import _json

    _scan = _json.make_scanner(_Context)  # type: ignore[arg-type]
    _encode = _json.make_encoder(None, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, False)
    if "".join(_encode({"a": [1, None, "é"]}, 0)) != '{"a":[1,null,"\\u00e9"]}':
        raise ImportError("the C encoder differs")
except (ImportError, TypeError, AttributeError):  # another interpreter, or a changed private interface
    _scan = _encode = None


def loads(text: str | bytes | bytearray) -> Any:
    """Parse one JSON document. Raises ValueError with the position on anything else (also on bad UTF-8)."""
    if not isinstance(text, str):
        text = bytes(text).decode("utf-8")
    if _scan is None:
        import json

        return json.loads(text, parse_constant=_Context.parse_constant)
    start, end = 0, len(text)
    while start < end and text[start] in _SPACE:
        start += 1
    try:
        value, stop = _scan(text, start)
    except StopIteration as stopped:
        raise ValueError(f"not JSON at character {stopped.value}") from None
    except SystemError:
        # Python 3.11's scanner finds its exception in json.decoder only if something has loaded that.
        import json

        return json.loads(text)  # raises the ValueError
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if text[stop:].strip(_SPACE):
        raise ValueError(f"more text after the JSON document at character {stop}")
    return value


def dumps(value: Any) -> str:
    """Compact ASCII JSON; keys stay in their order. Raises TypeError or ValueError for what JSON cannot hold."""
    if isinstance(value, str | int | float | bool) or value is None or _encode is None:
        import json

        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return "".join(_encode(value, 0))


def pretty(value: Any) -> str:
    """Indented JSON for people, as `docker inspect` prints it."""
    import json

    return json.dumps(value, indent=4, ensure_ascii=False)
