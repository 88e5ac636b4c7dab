"""`atoll manifest annotate`: say more of one entry of a manifest list."""

from __future__ import annotations

from atoll.cli.options import LIST, TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given

COMMAND = Command(
    name="manifest annotate",
    usage="manifest annotate [OPTIONS] LIST MANIFEST",
    help="Set platform and annotations of an entry of a manifest list",
    flags=(
        Flag(name="annotation", kind=LIST, what="key=value", help="An annotation of the entry"),
        Flag(name="arch", kind=TEXT, help="Architecture"),
        Flag(name="os", kind=TEXT, help="Operating system"),
        Flag(name="os-features", kind=LIST, help="Features of the operating system"),
        Flag(name="os-version", kind=TEXT, help="Version of the operating system"),
        Flag(name="variant", kind=TEXT, help="Variant of the architecture"),
    ),
    least=2,
    most=2,
)
_PLATFORM = {"arch": "architecture", "os": "os", "os-version": "os.version", "variant": "variant"}


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.manifests import annotate

    changes: dict[str, Any] = {key: given.text(flag) for flag, key in _PLATFORM.items() if given.text(flag)}
    features = [one for text in given.texts("os-features") for one in text.split(",") if one]
    if features:
        changes["os.features"] = features
    pairs = {}
    for text in given.texts("annotation"):
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"invalid annotation '{text}': key=value", "manifest annotate")
        pairs[key] = value
    annotate(open_engine(), given.args[0], given.args[1], changes, pairs)
    return 0
