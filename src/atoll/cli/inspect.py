"""`atoll inspect`: all that is known of a container or image, as JSON in Docker's shape."""

from __future__ import annotations

import sys

from atoll.base import errors, jsontext
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.engine import Engine

COMMAND = Command(
    name="inspect",
    usage="inspect [OPTIONS] NAME|ID [NAME|ID...]",
    help="Show all that is known of containers or images",
    flags=(
        Flag(name="format", short="f", kind=TEXT, help="A Go template, or json"),
        Flag(name="security", help="Explain in sentences what containers may do"),
        Flag(name="size", short="s", help="Count what containers take on disk, too"),
        Flag(name="type", kind=TEXT, help="container or image"),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine

    kind, style, engine = given.text("type"), given.text("format"), open_engine()
    if kind not in (None, "container", "image"):
        raise errors.InvalidArgument(f"{kind!r} is not a valid value for --type", hint="container or image")
    if given.on("security"):
        return _security(engine, given.args)
    found: list[Any] = []
    code = 0
    for name in given.args:
        try:
            one = _look(engine, name, kind)
            if given.on("size") and "HostConfig" in one:
                _count(engine, one)
            found.append(one)
        except errors.NotFound as error:
            sys.stderr.write(f"atoll: {error}\n")
            code = 1
    if style is None:
        sys.stdout.write(jsontext.pretty(found) + "\n")
    else:
        from atoll.cli.template import render

        for one in found:
            sys.stdout.write((jsontext.dumps(one) if style == "json" else render(style, one)) + "\n")
    return code


def _security(engine: Engine, names: list[str]) -> int:
    from atoll.cli.display import printable
    from atoll.cli.each import for_each
    from atoll.engine.audit.security import explain

    return for_each(names, lambda name: "\n".join([printable(line) for line in explain(engine, name)]))


def _count(engine: Engine, document: Any) -> None:
    from atoll.engine.containers.size import sizes

    document["SizeRw"], document["SizeRootFs"] = sizes(engine, engine.store.container(document["Id"]))


def _look(engine: Engine, name: str, kind: str | None) -> Any:
    if kind != "image":
        try:
            return engine.inspect_container(name)
        except errors.NotFound:
            if kind == "container":
                raise
    try:
        return engine.inspect_image(name)
    except (errors.NotFound, errors.InvalidArgument):
        if kind == "image":
            raise
    raise errors.NotFound(f"no such object: {name}", hint="'atoll ps -a' and 'atoll images' list what there is")
