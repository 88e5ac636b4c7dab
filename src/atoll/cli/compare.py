"""`atoll compare`: what each strength of isolation costs and buys on this host."""

from __future__ import annotations

import os
import sys

from atoll.cli.options import LIST, NUMBER, TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.cli.options import Given
    from atoll.compare.values import Comparison

FORMATS = ("table", "json", "markdown", "html")
COMMAND = Command(
    name="compare",
    usage="compare [OPTIONS] [IMAGE]",
    help="Run an image (without one: an empty one) at each strength of isolation that works here, and tell\n"
    "what each costs and keeps out. Nothing of it stays.",
    flags=(
        Flag(name="for", kind=TEXT, help='Say what fits, from the measurements: "web server, 200 copies"'),
        Flag(name="format", kind=TEXT, help="table, json, markdown, or html (one page, with plots)"),
        Flag(name="from", kind=TEXT, what="file", help="Measure nothing: show what was kept by --format json"),
        Flag(
            name="only",
            kind=LIST,
            help="Only this: start, inside, memory, disk, noise, survival, wall (again for more)",
        ),
        Flag(name="output", short="o", kind=TEXT, what="file", help="Write to this file instead of standard output"),
        Flag(name="quick", help="Few samples and no neighbours: an answer in a minute"),
        Flag(name="quiet", short="q", help="No progress on standard error"),
        Flag(
            name="rung", kind=LIST, help="Only this rung or engine: process, container, vm, docker … (again for more)"
        ),
        Flag(name="runtimes", help="Beside them every other engine that is found: docker, podman, ctr, crun, runc"),
        Flag(name="samples", kind=NUMBER, what="int", help="Samples of each measurement (default 10, quick 3)"),
        Flag(name="spread", help="Show in the table, below each median, the least and the most"),
        Flag(name="table", kind=TEXT, what="file", help="Write a short table between the marks in this file"),
    ),
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    style = given.text("format") or "table"
    if style not in FORMATS:
        raise UsageError(f"unknown format {style!r}: {', '.join(FORMATS)}", "compare")
    kept = given.text("from")
    found = _read(kept) if kept is not None else _measured(given)
    text = _rendered(found, style, given.on("spread"))
    wanted = given.text("for")
    if wanted is not None:
        from atoll.compare.report import sizing

        answer = sizing.render(found, sizing.parse(wanted))
        text = answer if style == "table" and not given.has("format") else text
    where = given.text("output")
    if where is None:
        sys.stdout.write(text)
    else:
        _write(where, text)
    marks = given.text("table")
    if marks is not None:
        from atoll.compare.report import markdown

        with open(marks, encoding="utf-8") as file:
            document = file.read()
        _write(marks, markdown.between_marks(document, found))
    return 0


def _write(path: str, text: str) -> None:
    from atoll.base import errors, files

    try:
        files.write_atomic(path, text, mode=0o644)
    except OSError as error:
        raise errors.from_os_error(error, f"write {path}") from error


def _read(path: str) -> Comparison:
    from atoll.base import errors, files, jsontext
    from atoll.compare.values import from_json

    try:
        return from_json(jsontext.loads(files.read_text(path)))
    except OSError as error:
        raise errors.from_os_error(error, f"read {path}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.InvalidArgument(f"{path} is not what 'atoll compare --format json' writes: {error}") from None


def _measured(given: Given) -> Comparison:
    import signal

    from atoll.cli.wiring import open_engine
    from atoll.compare.compare import SUBJECTS, Options, compare
    from atoll.compare.rungs.every import RUNGS, RUNTIMES

    only, rungs = given.texts("only"), given.texts("rung")
    for value, known, what in ((only, tuple(SUBJECTS), "subject"), (rungs, (*RUNGS, *RUNTIMES), "rung")):
        for one in value:
            if one not in known:
                raise UsageError(f"unknown {what} {one!r}: {', '.join(known)}", "compare")
    samples = given.number("samples")
    if samples is not None and not 1 <= samples <= 1000:
        raise UsageError("--samples is from 1 to 1000", "compare")
    options = Options(
        image=given.args[0] if given.args else None,
        only=only,
        rungs=rungs,
        runtimes=given.on("runtimes"),
        quick=given.on("quick"),
        samples=samples or (3 if given.on("quick") else 10),
    )
    # What it has made is taken away on the way out, so that every polite end is the same as an interrupt.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    return compare(open_engine(), options, _progress(given.on("quiet")))


def _progress(quiet: bool) -> Callable[[str], None]:
    """A line that is written over on a terminal, else nothing but where a new subject begins."""
    if quiet:
        return lambda _: None
    terminal = os.isatty(2)
    last = [""]

    def say(text: str) -> None:
        subject = text.partition(":")[0]
        if terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
        elif subject != last[0]:
            sys.stderr.write(f"{subject}\n")
        last[0] = subject
        sys.stderr.flush()

    return say


def _rendered(found: Comparison, style: str, spreads: bool) -> str:
    from atoll.base import jsontext
    from atoll.cli.display import printable

    if style == "json":
        return jsontext.pretty(found.to_json()) + "\n"
    if style == "markdown":
        from atoll.compare.report import markdown

        return printable(markdown.render(found), keep="\n")
    if style == "html":
        from atoll.compare.report import page

        return page.render(found)
    from atoll.compare.report import text

    if os.isatty(2):
        sys.stderr.write("\r\x1b[K")
    import shutil

    width = shutil.get_terminal_size((text.WIDTH, 24)).columns if os.isatty(1) else text.WIDTH
    return printable(text.render(found, spreads=spreads, width=width), keep="\n")
