"""The encrypted store of secrets.

Holds: `Vault` (read, write, remove, rotate), `Secret` (what may be shown of one). Does not hold: where the key comes
from (`keys.py`). ChaCha20-Poly1305 by the `cryptography` library; nothing of our own invention.

    secrets/current              the number of the generation in force
    secrets/<n>/vault.json       {"version", "source", "salt", "wrapped"}: the data key, wrapped by the user's key
    secrets/<n>/<name>.json      {"id", "name", "created", "updated", "labels", "index", "nonce", "sealed"}

Each secret is sealed with the data key under a fresh nonce, and bound to its id and name: files cannot be exchanged
for one another. A rotation makes a whole new generation, with another data key, and then lets `current` name it: a
kill at any moment leaves the old one or the new one. All of it is under one lock.
"""

from __future__ import annotations

import os
import time

from atoll.base import clock, errors, files, jsontext
from atoll.base.value import Value
from atoll.engine.secrets import keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine

MOST_BYTES = 512_000
"""Docker's 500 kB: a secret is no place for data."""
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Secret(Value):
    """What is known of a secret, but for its content. Times are RFC 3339; `index` counts its versions."""

    id: str
    name: str
    created_at: str
    updated_at: str
    labels: tuple[tuple[str, str], ...] = ()
    index: int = 1


def check_name(name: str) -> str:
    """A name that can be one. Raises InvalidArgument in Docker's words."""
    if not 1 <= len(name) <= 64 or name[0] in ".-" or name[-1] in ".-_" or not _NAME.issuperset(name):
        raise errors.InvalidArgument(
            f"invalid secret name {name!r}, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end "
            "character must be [a-zA-Z0-9]"
        )
    return name


class Vault:
    """The secrets of one store. Use it as a block: it holds the lock on them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._root = engine.paths.data + "/secrets"
        self._lock = files.FileLock(self._root + "/lock")
        self._data_key: bytes | None = None

    def __enter__(self) -> Vault:
        try:
            os.mkdir(self._root, 0o700)
        except FileExistsError:
            pass
        self._lock.acquire()
        return self

    def __exit__(self, *how: object) -> None:
        self._lock.release()

    # --- what there is ------------------------------------------------------------------------------------------

    def list(self) -> list[Secret]:
        """All, by name."""
        try:
            names = sorted(os.listdir(self._place()))
        except FileNotFoundError:
            return []
        return [
            _shown(self._document(name[:-5])) for name in names if name.endswith(".json") and name != "vault.json"
        ]

    def find(self, name: str) -> Secret:
        """By name, id, or the unique beginning of an id. Raises NotFound."""
        return _shown(self._find(name))

    def read(self, name: str) -> tuple[Secret, bytes]:
        """A secret and its content. Raises NotFound, Denied (the wrong key), Corrupt."""
        document = self._find(name)
        return _shown(document), self._opened(document, self._key())

    # --- changes ------------------------------------------------------------------------------------------------

    def write(
        self, name: str, content: bytes, *, labels: tuple[tuple[str, str], ...] = (), replace: bool = False
    ) -> Secret:
        """Keep a secret. Raises Conflict for a name that is taken, unless it is to be replaced; InvalidArgument."""
        check_name(name)
        if not content or len(content) > MOST_BYTES:
            raise errors.InvalidArgument(f"secret data must be larger than 0 and less than {MOST_BYTES} bytes")
        now = clock.rfc3339(time.time_ns())
        document: dict[str, Any] = {"id": os.urandom(13).hex()[:25], "name": name, "created": now, "index": 0}
        try:
            before = self._document(name)
        except errors.NotFound:
            pass
        else:
            if not replace:
                raise errors.Conflict(
                    f"rpc error: secret {name} already exists", hint="--replace gives it another value"
                )
            document = before
        document.update(updated=now, labels=dict(labels) or document.get("labels") or {}, index=document["index"] + 1)
        key = self._key(make=True)
        _sweep(self._place())
        self._seal(document, content, key, self._place())
        return _shown(document)

    def remove(self, name: str) -> Secret:
        """Forget a secret. Raises NotFound."""
        document = self._find(name)
        _sweep(self._place())
        os.unlink(f"{self._place()}/{document['name']}.json")
        return _shown(document)

    def rotate(self, source: str) -> int:
        """Another data key, wrapped by the key that `source` names, and everything sealed anew; how many secrets. The
        old generation goes at the end. Raises what reading does, and what the new key does."""
        old = self._generation()
        documents = [self._document(secret.name) for secret in self.list()]
        contents = [self._opened(document, self._key()) for document in documents] if documents else []
        place = f"{self._root}/{old + 1}"
        files.remove_tree(place)
        key = self._new_generation(place, source)
        for document, content in zip(documents, contents, strict=True):
            self._seal(document, content, key, place)
        files.sync_directory(place)
        files.write_atomic(f"{self._root}/current", str(old + 1), sync=True)
        self._data_key = key
        files.remove_tree(f"{self._root}/{old}")
        return len(documents)

    # --- files --------------------------------------------------------------------------------------------------

    def _generation(self) -> int:
        try:
            return int(files.read_text(f"{self._root}/current"))
        except FileNotFoundError:
            return 0
        except ValueError:
            raise errors.Corrupt(f"{self._root}/current does not hold a number") from None

    def _place(self) -> str:
        return f"{self._root}/{self._generation()}"

    def _document(self, name: str) -> dict[str, Any]:
        path = f"{self._place()}/{name}.json"
        try:
            document = jsontext.loads(files.read_bytes(path))
            if not isinstance(document, dict) or document["name"] != name:
                raise ValueError("it is of another name")
            return document
        except FileNotFoundError:
            raise errors.NotFound(f"secret {name} not found") from None
        except (ValueError, KeyError) as error:
            raise errors.Corrupt(f"{path} is damaged: {error}") from None

    def _find(self, name: str) -> dict[str, Any]:
        if not name or not _NAME.issuperset(name) or name == "vault":
            raise errors.NotFound(f"secret {name!r} not found")
        try:
            return self._document(name)
        except errors.NotFound:
            found = [secret for secret in self.list() if secret.id.startswith(name)]
            if len(found) > 1:
                raise errors.InvalidArgument(f"secret {name} is ambiguous ({len(found)} secrets found)") from None
            if not found:
                raise
            return self._document(found[0].name)

    # --- sealing ------------------------------------------------------------------------------------------------

    def _key(self, *, make: bool = False) -> bytes:
        if self._data_key is None:
            place = self._place()
            if make and not os.path.exists(f"{place}/vault.json"):
                files.remove_tree(place)
                self._data_key = self._new_generation(place, keys.source_of(self._engine))
            else:
                self._data_key = self._unwrapped(place)
        return self._data_key

    def _new_generation(self, place: str, source: str) -> bytes:
        salt, key = os.urandom(32), os.urandom(32)
        wrapping = keys.wrapping_key(self._engine, source, salt, make=True)
        nonce = os.urandom(12)
        wrapped = nonce + _cipher(wrapping).encrypt(nonce, key, salt)
        os.mkdir(place, 0o700)
        document = {"version": 1, "source": source, "salt": salt.hex(), "wrapped": wrapped.hex()}
        files.write_atomic(f"{place}/vault.json", jsontext.dumps(document), sync=True)
        return key

    def _unwrapped(self, place: str) -> bytes:
        try:
            document = jsontext.loads(files.read_bytes(f"{place}/vault.json"))
            salt, wrapped = bytes.fromhex(document["salt"]), bytes.fromhex(document["wrapped"])
            source = str(document["source"])
        except FileNotFoundError:
            raise errors.NotFound("there are no secrets") from None
        except (ValueError, KeyError, TypeError) as error:
            raise errors.Corrupt(f"{place}/vault.json is damaged: {error}") from None
        wrapping = keys.wrapping_key(self._engine, source, salt)
        key = _decrypt(wrapping, wrapped[:12], wrapped[12:], salt)
        if key is None:
            raise errors.Denied(f"the secrets do not open with the key from {source}", hint="is it the right one?")
        return key

    def _seal(self, document: dict[str, Any], content: bytes, key: bytes, place: str) -> None:
        nonce = os.urandom(12)
        sealed = _cipher(key).encrypt(nonce, content, _bound(document))
        whole = {**document, "nonce": nonce.hex(), "sealed": sealed.hex()}
        files.write_atomic(f"{place}/{document['name']}.json", jsontext.dumps(whole), sync=True)

    def _opened(self, document: dict[str, Any], key: bytes) -> bytes:
        try:
            nonce, sealed = bytes.fromhex(document["nonce"]), bytes.fromhex(document["sealed"])
        except (ValueError, KeyError, TypeError):
            raise errors.Corrupt(f"the secret {document['name']} is damaged") from None
        content = _decrypt(key, nonce, sealed, _bound(document))
        if content is None:
            raise errors.Corrupt(f"the secret {document['name']} was changed: its seal does not fit")
        return content


def _bound(document: dict[str, Any]) -> bytes:
    return f"{document['id']}\n{document['name']}\n{document['index']}".encode()


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key)


def _decrypt(key: bytes, nonce: bytes, sealed: bytes, bound: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag

    try:
        opened: bytes = _cipher(key).decrypt(nonce, sealed, bound)
        return opened
    except (InvalidTag, ValueError):
        return None


def _shown(document: dict[str, Any]) -> Secret:
    return Secret(
        id=str(document["id"]),
        name=str(document["name"]),
        created_at=str(document["created"]),
        updated_at=str(document["updated"]),
        labels=tuple((str(k), str(v)) for k, v in dict(document.get("labels") or {}).items()),
        index=int(document["index"]),
    )


def _sweep(place: str) -> None:
    """Remove what commands that were killed had half written (`files.write_atomic`, which names its process)."""
    for name in os.listdir(place):
        if name.endswith(".tmp") and not os.path.exists(f"/proc/{name.split('.')[-2]}"):
            files.unlink_if_present(f"{place}/{name}")
