"""`atoll push`: an image to a registry, or to a layout, an archive, a daemon."""

from __future__ import annotations

import sys

from atoll.base import ids
from atoll.cli.options import TEXT, Command, Flag
from atoll.cli.pull import Display

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.engine.engine import Engine
    from atoll.images.values import Progress, RegistryOptions

COMMAND = Command(
    name="push",
    usage="push [OPTIONS] NAME[:TAG] [DESTINATION]",
    help="Upload an image to a registry (or to oci:DIR, docker-archive:FILE, docker-daemon:NAME)",
    aliases=("image push",),
    flags=(
        Flag(name="all-tags", short="a", help="Push all tags of an image to the repository"),
        Flag(name="creds", kind=TEXT, what="name:password", help="Credentials instead of those kept by login"),
        Flag(name="digestfile", kind=TEXT, what="file", help="Write the pushed digest there"),
        Flag(name="platform", kind=TEXT, help="Push one platform's manifest, not the whole index"),
        Flag(name="quiet", short="q", help="Only print the full name"),
        Flag(name="tls-verify", help="false: plain HTTP and unverified TLS are allowed this once"),
        Flag(name="disable-content-trust", help="As in Docker; 'atoll image sign' signs", hidden=True),
    ),
    least=1,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.registry_flags import options
    from atoll.cli.wiring import open_engine

    engine, name = open_engine(), given.args[0]
    destination = given.args[1] if len(given.args) > 1 else None
    chosen = options(engine, given, destination or name)
    names = _tags(engine, name) if given.on("all-tags") else [name]
    digest = ""
    for one in names:
        digest = _push(engine, one, destination, given, chosen)
    path = given.text("digestfile")
    if path:
        from atoll.base import files

        files.write_atomic(path, digest, mode=0o644)
    return 0


def _push(engine: Engine, name: str, destination: str | None, given: Given, chosen: RegistryOptions) -> str:
    from atoll.engine.images.push import push
    from atoll.images import places

    out, quiet = sys.stdout, given.on("quiet")
    place = places.parse(destination or name)
    reference = place.reference
    if not quiet and place.transport == places.REGISTRY and reference is not None:
        out.write(f"The push refers to repository [{reference.name}]\n")
    shown = Uploads(out)
    try:
        pushed = push(
            engine,
            name,
            destination,
            progress=None if quiet else shown.step,
            options=chosen,
            platform=given.text("platform"),
        )
    finally:
        shown.close()
    if quiet:
        out.write((reference.full if reference is not None else str(place)) + "\n")
    else:
        tag = (reference.tag if reference is not None else None) or place.at or "image"
        out.write(f"{tag}: digest: {pushed.digest} size: {pushed.size}\n")
    return pushed.digest


def _tags(engine: Engine, name: str) -> list[str]:
    """All names here of the repository."""
    from atoll.base import errors
    from atoll.spec import reference as references

    wanted = references.parse(name)
    if ":" in name.rpartition("/")[2]:
        raise errors.InvalidArgument("tag can't be used with --all-tags/-a")
    parsed = [references.parse(tag.reference) for tag in engine.store.tags() if tag.tag is not None]
    found = [one.full for one in parsed if one.name == wanted.name]
    if not found:
        raise errors.NotFound(f"An image does not exist locally with the tag: {wanted.familiar_name}")
    return found


class Uploads(Display):
    """Progress of a push, in Docker's words."""

    def step(self, progress: Progress) -> None:
        """One report."""
        if progress.digest is None:
            return
        name = ids.short_id(progress.digest)
        words = {
            "exists": "Layer already exists",
            "pushed": "Pushed",
            "mounted": f"Mounted from {progress.origin}",
        }.get(progress.what)
        if self.live:
            from atoll.base import units

            size = units.show_size(progress.total or 0)
            self.rewrite(name, words or f"Pushing {units.show_size(progress.current)}/{size}")
        elif words:
            self.lines[name] = words
            self.out.write(f"{name}: {words}\n")
