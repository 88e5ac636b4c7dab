"""Bearer tokens for a registry: distribution's token flow, by name and password or by identity token (OAuth 2).

Holds: `fetch`. Does not hold: when one is needed (`registry.py`), where credentials are kept (`credentials.py`).
The realm is where the registry says, which may be somebody else: it must be over TLS if the registry is, and may not
lie at a private address if the registry is public. The scope asked for is ours, never what the registry names.
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.images import auth
from atoll.images import url as urls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.images.http import Response
    from atoll.images.registry import Registry
    from atoll.images.url import Url
    from atoll.images.values import Credentials

CLIENT = "atoll"


class Token(Value):
    """A bearer token, and the identity token if one was asked for and given. Never printed."""

    token: str
    identity: str | None = None

    def __repr__(self) -> str:
        return "Token(…)"


def fetch(
    registry: Registry,
    challenge: auth.Challenge,
    scopes: tuple[str, ...],
    credentials: Credentials | None,
    *,
    secure: bool,
    offline: bool = False,
) -> Token:
    """A token for these scopes. `offline` asks for an identity token too (login). Raises Denied when the name or
    password is wrong or the realm is not acceptable, Corrupt for an answer without a token, Unavailable."""
    realm = _realm(registry, challenge.realm, secure=secure)
    pairs = [("service", challenge.service)] if challenge.service else []
    pairs += [("scope", scope) for scope in scopes]
    if credentials is not None and credentials.identity_token:
        response = _exchange_identity(registry, challenge, pairs, credentials.identity_token)
    else:
        if offline:
            pairs += [("offline_token", "true"), ("client_id", CLIENT)]
        if credentials is not None and credentials.username:
            pairs.append(("account", credentials.username))
        headers = {"Authorization": auth.basic(credentials)} if credentials else {}
        response = registry.transport.exchange("GET", urls.query(challenge.realm, pairs), headers)
    if response.status in (400, 401, 403):
        registry.discard(response)
        if credentials is not None:
            raise errors.Denied(
                f"registry {registry.host}: the name or password is wrong",
                hint=f"log in again: atoll login {registry.host}",
            )
        repository = scopes[0].partition(":")[2].rpartition(":")[0] if scopes else ""
        raise registry.no_access(repository)
    if response.status != 200:
        raise registry.refused(response, "", "token")
    return _parse(registry, realm, registry.read(response))


def _realm(registry: Registry, realm: str, *, secure: bool) -> Url:
    place = registry.transport.split(realm)
    if place.scheme == "http" and secure:
        raise errors.Denied(f"registry {registry.host} wants credentials sent to {place.host} over plain http")
    return place


def _exchange_identity(
    registry: Registry, challenge: auth.Challenge, pairs: list[tuple[str, str]], identity: str
) -> Response:
    """OAuth 2 (RFC 6749, 6; distribution's oauth.md)."""
    form = [("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", identity)]
    form += [(key, value) for key, value in pairs if key != "scope"]
    scopes = " ".join([value for key, value in pairs if key == "scope"])
    if scopes:
        form.append(("scope", scopes))
    body = urls.query("", form)[1:].encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    # Not followed: the body holds the credential.
    return registry.transport.exchange("POST", challenge.realm, kind, body, follow=False)


def _parse(registry: Registry, realm: Url, body: bytes) -> Token:
    try:
        answer: dict[str, Any] = jsontext.loads(body)
        token = answer.get("token") or answer["access_token"]
        identity = answer.get("refresh_token")
    except (ValueError, KeyError, AttributeError):
        raise errors.Corrupt(f"registry {registry.host}: the answer of {realm.host} holds no token") from None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
        raise errors.Corrupt(f"registry {registry.host}: the token of {realm.host} is malformed")
    return Token(token=token, identity=identity if isinstance(identity, str) and identity else None)
