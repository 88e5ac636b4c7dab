"""`atoll search`: look for images at a registry."""

from __future__ import annotations

import sys

from atoll.cli.options import LIST, NUMBER, TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.images.search import Found

COMMAND = Command(
    name="search",
    usage="search [OPTIONS] [REGISTRY/]TERM",
    help="Search Docker Hub, or the registry named, for images",
    flags=(
        Flag(name="filter", short="f", kind=LIST, what="key=value", help="stars=N, is-official=true"),
        Flag(name="format", kind=TEXT, help="'json', or a Go template"),
        Flag(name="limit", kind=NUMBER, what="number", help="At most so many (25)"),
        Flag(name="no-trunc", help="Whole descriptions"),
        Flag(name="tls-verify", help="false: plain HTTP and unverified TLS are allowed this once"),
    ),
    least=1,
    most=1,
)
_MOST = 100
_WIDTH = 45
_HEADINGS = {"StarCount": "STARS", "IsOfficial": "OFFICIAL", "IsAutomated": "AUTOMATED"}


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.registries import options
    from atoll.images.search import search

    limit = given.number("limit") or 25
    if not 1 <= limit <= _MOST:
        raise UsageError(f"Limit {limit} is outside the range of [1, {_MOST}]", "search")
    host, term = _split(given.args[0])
    insecure = host if given.has("tls-verify") and not given.on("tls-verify") else None
    found = search(host, term, options(open_engine(), insecure=insecure), limit=limit)
    _show(given, [one for one in found if all(_fits(one, rule) for rule in given.texts("filter"))])
    return 0


def _split(text: str) -> tuple[str, str]:
    """`quay.io/term` as registry and term; the rule is that of references."""
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return "docker.io", text


def _fits(one: Found, rule: str) -> bool:
    key, _, value = rule.partition("=")
    if key == "stars" and value.isdecimal():
        return one.stars >= int(value)
    if key in ("is-official", "is-automated") and value in ("true", "false", "1", "0"):
        return (one.official if key == "is-official" else one.automated) == (value in ("true", "1"))
    raise UsageError(f"invalid filter '{rule}'", "search")


def _show(given: Given, found: list[Found]) -> None:
    from atoll.cli import display

    whole = given.on("no-trunc")
    rows: list[dict[str, object]] = [
        {
            "Name": display.printable(one.name),
            "Description": display.printable(
                one.description if whole else display.shortened(one.description, _WIDTH)
            ),
            "StarCount": str(one.stars),
            "IsOfficial": "[OK]" if one.official else "",
            "IsAutomated": "[OK]" if one.automated else "",
        }
        for one in found
    ]
    columns = ("Name", "Description", "StarCount", "IsOfficial")
    sys.stdout.write(display.listed(given.text("format"), rows, columns, _HEADINGS))
