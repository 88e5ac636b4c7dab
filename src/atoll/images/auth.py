"""The challenge a registry answers with, and the header for a name and password (RFC 9110, 11.6.1; RFC 7617).

Holds: parsing WWW-Authenticate. Does not hold: where credentials are kept (`credentials.py`), tokens (`tokens.py`).
"""

from __future__ import annotations

from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.images.values import Credentials


class Challenge(Value):
    """What a 401 asks for: `scheme` is "bearer" or "basic"."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def basic(credentials: Credentials) -> str:
    """The value of an Authorization header."""
    import base64

    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")


def parse_challenge(headers: Sequence[str]) -> Challenge | None:
    """The first challenge that Atoll can answer, bearer before basic; None if there is none."""
    found: list[Challenge] = []
    for header in headers:
        scheme, _, rest = header.strip().partition(" ")
        values = _parameters(rest)
        if scheme.lower() == "bearer" and values.get("realm"):
            found.append(
                Challenge(
                    scheme="bearer",
                    realm=values["realm"],
                    service=values.get("service", ""),
                    scope=values.get("scope", ""),
                )
            )
        elif scheme.lower() == "basic":
            found.append(Challenge(scheme="basic", realm=values.get("realm", "")))
    found.sort(key=lambda challenge: challenge.scheme != "bearer")
    return found[0] if found else None


def _parameters(text: str) -> dict[str, str]:
    """`key="value, with commas", key=token` pairs."""
    values: dict[str, str] = {}
    position = 0
    while position < len(text):
        equals = text.find("=", position)
        if equals < 0:
            break
        key = text[position:equals].strip(" ,\t").lower()
        position = equals + 1
        if text[position : position + 1] == '"':
            value, position = _quoted(text, position + 1)
        else:
            comma = text.find(",", position)
            end = comma if comma >= 0 else len(text)
            value, position = text[position:end].strip(), end
        values.setdefault(key, value)
    return values


def _quoted(text: str, position: int) -> tuple[str, int]:
    out = []
    while position < len(text) and text[position] != '"':
        if text[position] == "\\" and position + 1 < len(text):
            position += 1
        out.append(text[position])
        position += 1
    return "".join(out), position + 1
