"""login and logout: credentials tried at the registry, then kept where Docker keeps them.

Holds: `login`, `logout`. Does not hold: files and helpers (`images/credentials.py`), the token flow
(`images/tokens.py`). Nothing is kept that the registry did not accept.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.images.values import Credentials, RegistryOptions


class LoggedIn(Value):
    """Where the credentials went: a file's path, or a helper's name."""

    host: str
    kept_in: str
    plain: bool


def host_of(server: str | None) -> str:
    """The registry that a person means: nothing, a host, or a URL as old instructions have it."""
    from atoll.spec import reference as references

    if not server:
        return references.DEFAULT_REGISTRY
    bare = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if bare in ("index.docker.io", "registry-1.docker.io", "docker.io"):
        return references.DEFAULT_REGISTRY
    return references.parse(f"{bare}/x").registry if "." in bare or ":" in bare or bare == "localhost" else bare


def login(engine: Engine, host: str, credentials: Credentials, options: RegistryOptions | None = None) -> LoggedIn:
    """Try them, keep them. Raises Denied ("unauthorized: …") when the registry does not accept them, Unavailable."""
    from atoll.engine.images.registries import options as options_of
    from atoll.images import credentials as kept

    accepted = _try(host, credentials, options or options_of(engine))
    path = kept.file_to_write(engine.environ)
    where = kept.keep(host, accepted, path)
    return LoggedIn(host=host, kept_in=where, plain=where == path)


def _try(host: str, credentials: Credentials, options: RegistryOptions) -> Credentials:
    """The credentials to keep: those given, or the identity token that the registry gave for them."""
    from atoll.images import auth, tokens
    from atoll.images.registry import Registry

    registry = Registry(host, options.replace(credentials=credentials))
    try:
        base = registry.settled()
        response = registry.transport.exchange("GET", f"{base}/v2/", {})
        if response.status == 200:
            registry.discard(response)
            return credentials
        challenge = auth.parse_challenge(response.headers.all("WWW-Authenticate"))
        if response.status != 401 or challenge is None:
            raise registry.refused(response, "", "login")
        registry.discard(response)
        if challenge.scheme == "bearer":
            try:
                secure = base.startswith("https")
                found = tokens.fetch(registry, challenge, (), credentials, secure=secure, offline=True)
            except errors.Denied as error:
                raise _unauthorized(host) from error
            authorization = f"Bearer {found.token}"
            if found.identity:
                credentials = credentials.replace(identity_token=found.identity, password="")
        else:
            authorization = auth.basic(credentials)
        response = registry.transport.exchange("GET", f"{base}/v2/", {"Authorization": authorization})
        status = response.status
        if status in (401, 403):
            registry.discard(response)
            raise _unauthorized(host)
        if status != 200:
            raise registry.refused(response, "", "login")
        registry.discard(response)
        return credentials
    finally:
        registry.close()


def _unauthorized(host: str) -> errors.Denied:
    return errors.Denied(
        f"login to {host}: unauthorized: incorrect username or password",
        hint="some registries want a token in place of the password",
    )


def logout(engine: Engine, host: str) -> tuple[bool, list[str]]:
    """Forget them: whether there were any, and the other files that still have some."""
    from atoll.images import credentials as kept

    path = kept.file_to_write(engine.environ)
    there = kept.forget(host, path)
    return there, kept.known(host, [one for one in kept.usual_files(engine.environ) if one != path])


def current_user(engine: Engine, host: str) -> str | None:
    """Who is logged in there; None for nobody."""
    from atoll.images import credentials as kept

    found = kept.find(host, "", kept.usual_files(engine.environ))
    return found.username or "<token>" if found else None
