"""`atoll network policy create`: close containers of a network but for what is allowed."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import LIST, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.spec.networkpolicy import NetworkPolicy

COMMAND = Command(
    name="network policy create",
    usage="network policy create [OPTIONS] [NETWORK [NAME]]",
    help="Put policies of Kubernetes' kind NetworkPolicy in force, or one made of the flags",
    flags=(
        Flag(name="allow-in", kind=LIST, help="Who may come in: any|KEY=VALUE,...|CIDR[:PORT[-PORT][/PROTOCOL]]"),
        Flag(name="allow-out", kind=LIST, help="Where it may go, as with --allow-in"),
        Flag(name="deny-in", help="Nobody but those may come in"),
        Flag(name="deny-out", help="It may go nowhere else"),
        Flag(name="file", short="f", kind=LIST, help="NetworkPolicy documents, YAML or JSON (-: standard input)"),
        Flag(name="replace", help="In place of one of that name"),
        Flag(name="select", kind=LIST, help="Whom it is about: KEY=VALUE (default: all on the network)"),
    ),
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.netpolicies import create

    policies = _from_files(given) if given.texts("file") else [_from_flags(given)]
    for name in create(open_engine(), policies, replace=given.on("replace")):
        sys.stdout.write(name + "\n")
    return 0


def _from_flags(given: Given) -> NetworkPolicy:
    from atoll.engine.networks.policy_words import policy

    if len(given.args) != 2:
        raise errors.InvalidArgument(
            "give a network and a name, or --file", hint="network policy create app deny --deny-in"
        )
    return policy(
        given.args[0],
        given.args[1],
        select=given.texts("select"),
        allow_in=given.texts("allow-in"),
        allow_out=given.texts("allow-out"),
        deny_in=given.on("deny-in"),
        deny_out=given.on("deny-out"),
    )


def _from_files(given: Given) -> list[NetworkPolicy]:
    from atoll.spec import networkpolicy, yaml_text

    flags = [one for one in ("allow-in", "allow-out", "select") if given.texts(one)]
    if flags or given.on("deny-in") or given.on("deny-out") or len(given.args) > 1:
        raise errors.InvalidArgument("conflicting options: --file and a policy made of flags")
    found = []
    for path in given.texts("file"):
        documents = yaml_text.load_all(_read(path), path)
        found += [networkpolicy.parse(one, given.args[0] if given.args else "") for one in documents]
    return found


def _read(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read(1 << 20)
    try:
        with open(path, "rb") as stream:
            return stream.read(1 << 20)
    except OSError as error:
        raise errors.from_os_error(error, f"read {path}") from error
