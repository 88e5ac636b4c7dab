"""`atoll login`: keep credentials for a registry, once it has accepted them."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="login",
    usage="login [OPTIONS] [SERVER]",
    help="Log in to a registry (without SERVER: Docker Hub)",
    flags=(
        Flag(name="get-login", help="Only print who is logged in"),
        Flag(
            name="password", short="p", kind=TEXT, help="The password or token; others can see it: --password-stdin"
        ),
        Flag(name="password-stdin", help="Take the password from stdin"),
        Flag(name="tls-verify", help="false: plain HTTP and unverified TLS are allowed this once"),
        Flag(name="username", short="u", kind=TEXT, help="The name"),
    ),
    least=0,
    most=1,
)
_MOST = 1 << 16


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.login import current_user, host_of, login
    from atoll.engine.images.registries import options
    from atoll.images.values import Credentials

    engine, host = open_engine(), host_of(given.args[0] if given.args else None)
    if given.on("get-login"):
        user = current_user(engine, host)
        if user is None:
            raise errors.NotFound(f"not logged into {host}")
        sys.stdout.write(user + "\n")
        return 0
    username, password = _ask(given)
    insecure = host if given.has("tls-verify") and not given.on("tls-verify") else None
    done = login(engine, host, Credentials(username=username, password=password), options(engine, insecure=insecure))
    if done.plain:
        sys.stderr.write(
            f"\nWARNING! Your credentials are stored unencrypted in '{done.kept_in}'.\n"
            "Configure a credential helper (credsStore) to remove this warning.\n\n"
        )
    sys.stdout.write("Login Succeeded\n")
    return 0


def _ask(given: Given) -> tuple[str, str]:
    """Name and password, from flags, stdin or the terminal."""
    username, password = given.text("username"), given.text("password")
    if given.on("password-stdin"):
        if password is not None:
            raise UsageError("--password and --password-stdin are mutually exclusive", "login")
        if not username:
            raise UsageError("Must provide --username with --password-stdin", "login")
        content = sys.stdin.buffer.read(_MOST + 1)
        if len(content) > _MOST:
            raise UsageError("the password on stdin is too long", "login")
        password = content.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
    elif password is not None:
        sys.stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    if username and password:
        return username, password
    if not sys.stdin.isatty():
        raise errors.InvalidArgument(
            "cannot ask for the name and password: stdin is not a terminal",
            hint="use --username and --password-stdin",
        )
    import getpass

    username = username or input("Username: ").strip()
    password = password or getpass.getpass("Password: ")
    if not username or not password:
        raise errors.InvalidArgument("a name and a password are needed")
    return username, password
