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
    from atoll.images.values import PulledImage, RegistryOptions

COMMAND = Command(
    name="pull",
    usage="pull [OPTIONS] NAME[:TAG|@DIGEST]",
    help="Download an image from a registry (or from oci:DIR, docker-archive:FILE, docker-daemon:NAME)",
    aliases=("image pull",),
    flags=(
        Flag(name="all-platforms", help="Also fetch the content for all other platforms, to push or save it"),
        Flag(name="all-tags", short="a", help="Download all tagged images of the repository"),
        Flag(name="creds", kind=TEXT, what="name:password", help="Credentials instead of those kept by login"),
        Flag(name="disable-content-trust", help="As in Docker; the policy decides", hidden=True),
        Flag(name="platform", kind=TEXT, help="Of an image for several, e.g. linux/arm64"),
        Flag(name="quiet", short="q", help="Only print the image's full name"),
        Flag(name="tls-verify", help="false: plain HTTP and unverified TLS are allowed this once"),
    ),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.registry_flags import options
    from atoll.cli.wiring import open_engine

    engine, name = open_engine(), given.args[0]
    quiet, platform = given.on("quiet"), given.text("platform")
    chosen = options(engine, given, name)
    names = [name]
    if given.on("all-tags"):
        from atoll.engine.images.tags import remote_names

        names = remote_names(engine, name, chosen)
    if not quiet and names == [name] and _has_no_tag(name):
        sys.stdout.write("Using default tag: latest\n")
    for one in names:
        image = fetch(
            engine,
            one,
            platform=platform,
            out=sys.stdout,
            quiet=quiet,
            all_platforms=given.on("all-platforms"),
            options=chosen,
        )
        sys.stdout.write(image.reference + "\n")
    return 0


def fetch(
    engine: Engine,
    reference: str,
    *,
    platform: str | None,
    out: TextIO,
    quiet: bool = False,
    all_platforms: bool = False,
    options: RegistryOptions | None = None,
) -> PulledImage:
    """Pull and show progress; the words at the end are Docker's."""
    from atoll.engine.images.pull import pull

    if not quiet:
        _announce(reference, out)
    shown = None if quiet else Display(out)
    step = shown.step if shown else None
    try:
        image = pull(
            engine, reference, progress=step, platform=platform, all_platforms=all_platforms, options=options
        )
    except BaseException:
        if shown:
            shown.close()
        raise
    if shown:
        shown.complete()
        fresh = "Downloaded newer image for" if image.fetched else "Image is up to date for"
        out.write(f"Digest: {image.target_digest}\nStatus: {fresh} {image.reference}\n")
        out.flush()
    return image


def _has_no_tag(name: str) -> bool:
    from atoll.images import places

    place = places.parse(name)
    return place.transport == places.REGISTRY and not ("@" in name or ":" in name.rpartition("/")[2])


def _announce(name: str, out: TextIO) -> None:
    """Docker's first line: the tag, and the repository without its registry."""
    from atoll.images import places

    reference = places.parse(name).reference
    if reference is not None:
        out.write(f"{reference.digest or reference.tag}: Pulling from {reference.repository}\n")


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
            self.rewrite(name, words)
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
                    self.rewrite(name, "Pull complete")
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

    def rewrite(self, name: str, words: str) -> None:
        """Show a line anew, in its place."""
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
