"""`atoll manifest push`: a manifest list to its registry, with what it names."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="manifest push",
    usage="manifest push [OPTIONS] LIST [DESTINATION]",
    help="Push a manifest list and the images that it names",
    flags=(
        Flag(name="all", help="As in Podman: what the list names is always pushed", hidden=True),
        Flag(name="creds", kind=TEXT, what="name:password", help="Credentials instead of those kept by login"),
        Flag(name="digestfile", kind=TEXT, what="file", help="Write the pushed digest there"),
        Flag(name="format", kind=TEXT, help="oci (default) or v2s2: Docker's manifest list"),
        Flag(name="insecure", help="As --tls-verify=false"),
        Flag(name="purge", short="p", help="Forget the list here afterwards"),
        Flag(name="tls-verify", help="false: plain HTTP and unverified TLS are allowed this once"),
    ),
    least=1,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.registry_flags import options
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.manifests import push

    kind = given.text("format") or "oci"
    if kind not in ("oci", "v2s2"):
        raise errors.InvalidArgument(f"unknown format {kind!r}", hint="oci or v2s2")
    engine, name = open_engine(), given.args[0]
    destination = given.args[1].removeprefix("docker://") if len(given.args) > 1 else None
    chosen = options(engine, given, destination or name)
    digest = push(engine, name, destination, purge=given.on("purge"), docker=kind == "v2s2", options=chosen)
    path = given.text("digestfile")
    if path:
        from atoll.base import files

        files.write_atomic(path, digest, mode=0o644)
    sys.stdout.write(digest + "\n")
    return 0
