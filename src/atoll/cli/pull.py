"""`atoll pull`: an image from a registry, with a line a layer on a terminal."""

from __future__ import annotations

import os
import sys

from atoll.base import ids
from atoll.cli.options import TEXT, Command, Flag
from atoll.images.values import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from atoll.cli.options import Given
    from atoll.engine.engine import Engine
    from atoll.images.values import PulledImage

COMMAND = Command(
    name="pull",
    usage="pull [OPTIONS] NAME[:TAG|@DIGEST]",
    help="Download an image from a registry",
    aliases=("image pull",),
    flags=(
        Flag(name="platform", kind=TEXT, help="Of an image for several, e.g. linux/arm64"),
        Flag(name="quiet", short="q", help="Only print the image's full name"),
    ),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine

    engine, reference = open_engine(), given.args[0]
    quiet = given.on("quiet")
    image = fetch(engine, reference, platform=given.text("platform"), out=sys.stdout, quiet=quiet)
    sys.stdout.write(image.reference + "\n")
    return 0


def fetch(engine: Engine, reference: str, *, platform: str | None, out: TextIO, quiet: bool = False) -> PulledImage:
    """Pull and show progress; the words at the end are Docker's."""
    if quiet:
        return engine.pull(reference, progress=None, platform=platform)
    shown = Display(out)
    try:
        image = engine.pull(reference, progress=shown.step, platform=platform)
    except BaseException:
        shown.close()
        raise
    shown.complete()
    fresh = "Downloaded newer image for" if image.fetched else "Image is up to date for"
    out.write(f"Digest: {image.target_digest}\nStatus: {fresh} {image.reference}\n")
    out.flush()
    return image


class Display:
    """Progress on a terminal (a line a layer, rewritten in place) or elsewhere (a line when something is done)."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.live = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.lines: dict[str, str] = {}
        self._last: dict[str, int] = {}
        self._coming: dict[str, bool] = {}

    def step(self, progress: Progress) -> None:
        """One report of the pull."""
        if progress.digest is None:
            return
        name = ids.short_id(progress.digest)
        if progress.what == "download":
            self._coming[name] = not progress.total or progress.current < progress.total
        elif progress.what == "unpack" and self._coming.get(name):
            return  # it is unpacked while it comes; the download is what takes the time
        words = _words(progress)
        if self.live:
            if not self._worth_showing(name, progress):
                return
            self._rewrite(name, words)
        elif progress.what == "exists":
            self.lines[name] = words
            self.out.write(f"{name}: {words}\n")
        else:
            self.lines[name] = words

    def complete(self) -> None:
        """All layers that were fetched are there."""
        for name, words in list(self.lines.items()):
            if words != _words(Progress(what="exists")):
                if self.live:
                    self._rewrite(name, "Pull complete")
                else:
                    self.out.write(f"{name}: Pull complete\n")
        self.close()

    def close(self) -> None:
        """Leave the cursor below what was shown."""
        self.out.flush()

    def _worth_showing(self, name: str, progress: Progress) -> bool:
        percent = 100 * progress.current // progress.total if progress.total else 0
        key = hash((progress.what, percent))
        if self._last.get(name) == key:
            return False
        self._last[name] = key
        return True

    def _rewrite(self, name: str, words: str) -> None:
        order = list(self.lines)
        if name not in self.lines:
            self.lines[name] = words
            self.out.write(f"{name}: {words}\n")
        else:
            self.lines[name] = words
            up = len(order) - order.index(name)
            self.out.write(f"\x1b[{up}A\r\x1b[K{name}: {words}\x1b[{up}B\r")
        self.out.flush()


def _words(progress: Progress) -> str:
    if progress.what == "download" and progress.total:
        from atoll.base import units

        done = progress.current / progress.total
        bar = "=" * int(done * 40) + ">"
        return f"Downloading [{bar[:40]:<40}] {units.show_size(progress.current)}/{units.show_size(progress.total)}"
    return {
        "waiting": "Waiting for another pull",
        "exists": "Already exists",
        "download": "Downloading",
        "verify": "Verifying checksum",
        "unpack": "Extracting",
        "done": "Pull complete",
    }.get(progress.what, progress.what)
