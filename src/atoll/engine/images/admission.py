"""Admission: the policy asked when an image is pulled, and again when it is run under another policy.

Holds: which policy counts, `checker` (for `pull`), `judge_again` (for `run`), what is remembered in between. Does not
hold: the judgement (`trust/judge.py`), the quick look whether anything changed (`resolve.py:check_admitted`).

An admission is remembered with the policy's fingerprint and the signatures that were found, so that a changed policy
judges the same proof again without a network. An image that came neither by `pull` nor by `load` (but by `import` or
a build of one's own) has no admission: it was made here, and no policy of transports speaks about it.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.engine.images.resolve import fingerprint, policy_text
from atoll.spec import digest as digests
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.store import ImageRow
    from atoll.images.places import Place
    from atoll.images.source import Document, Source
    from atoll.spec.reference import Reference
    from atoll.trust.evidence import Evidence
    from atoll.trust.policy import Policy


_ANYTHING = [{"type": "insecureAcceptAnything"}]
_PLAIN = (
    {"default": _ANYTHING},
    {"default": _ANYTHING, "transports": {"docker-daemon": {"": _ANYTHING}}},
)


class Admission:
    """One pull's: `check` is given to it, `remember` is called with its row in place."""

    def __init__(self, engine: Engine, place: Place, reference: Reference, source: Source) -> None:
        self.engine = engine
        self.place = place
        self.reference = reference
        self.source = source
        self._text, self._path = policy_text(engine)
        self._policy = None if accepts_plainly(self._text) else load(self._text, self._path)
        self._evidence: list[Evidence] = []

    def check(self, target: Document, manifest: Document) -> None:
        """Judge the documents whose bytes will be used. Raises Denied."""
        if self._policy is None:
            return
        from atoll.trust import policy

        names = _scopes(self.place.transport, self.reference, self.place.path, self.place.at)
        requirements = self._policy.requirements(self.place.transport, names)
        if all(one.kind == policy.ACCEPT for one in requirements):
            return
        from atoll.trust import judge

        wanted = (target.digest, manifest.digest)

        def evidence() -> list[Evidence]:
            if not self._evidence:
                self._evidence = self._collected(wanted, {one.kind for one in requirements})
            return self._evidence

        subject = judge.Subject(reference=self.reference, digests=wanted)
        judge.judge(requirements, subject, evidence, self._path or "the default")

    def _collected(self, wanted: tuple[str, ...], kinds: set[str]) -> list[Evidence]:
        """What there is of the kinds of signatures that are asked for."""
        from atoll.trust import policy

        found: list[Evidence] = []
        if policy.SIGSTORE in kinds:
            from atoll.engine.images.signatures import collect

            found += collect(self.source, wanted)
        if policy.GPG in kinds and self.place.transport == "docker":
            from atoll.engine.images.registries import options
            from atoll.images import lookaside
            from atoll.trust.evidence import GPG, Evidence

            engine = self.engine
            store = lookaside.Settings(
                uid=engine.uid, environ=engine.environ, folder=engine.config.trust_registries_d
            )
            messages = lookaside.collect(self.reference, wanted, options(engine), store)
            found += [Evidence(kind=GPG, payload=one, signature=b"") for one in messages]
        return found

    def remember(self, image: str) -> None:
        """Under which policy this image was let in, and by what."""
        values = (
            image,
            self.reference.full,
            f"{self.place.transport} {os.path.abspath(self.place.path) if self.place.path else ''}".strip(),
            fingerprint(self._text),
            jsontext.dumps([one.to_json() for one in self._evidence]),
        )
        known = self.engine.store.read(
            "SELECT * FROM admissions WHERE image = ? AND reference = ?", image, self.reference.full
        )
        if known != [values]:
            self.engine.store.write(
                lambda connection: connection.execute(
                    "INSERT OR REPLACE INTO admissions VALUES (?, ?, ?, ?, ?)", values
                )
            )


def accepts_plainly(text: bytes) -> bool:
    """Whether there is no policy, or the one that distributions ship: told without loading what judges."""
    try:
        return not text or jsontext.loads(text) in _PLAIN
    except ValueError:
        return False  # `load` says what is wrong


def load(text: bytes, path: str) -> Policy:
    """The policy in force. Without a file everything is accepted, as Docker does. Raises InvalidArgument."""
    from atoll.trust import policy

    return policy.parse(text, path) if path else policy.ANYTHING


def complete_fingerprint(text: bytes) -> str:
    """Of a policy that names files: their content belongs to it."""
    parts = [text]
    for path in sorted(_paths(jsontext.loads(text))):
        try:
            parts.append(path.encode() + b"\0" + files.read_bytes(path))
        except OSError as error:
            parts.append(path.encode() + b"\0" + str(error.errno).encode())
    return digests.of(b"\0".join(parts))


def _paths(document: Any) -> set[str]:
    if isinstance(document, list):
        return set().union(*[_paths(one) for one in document])
    if not isinstance(document, dict):
        return set()
    found: set[str] = set()
    for key, value in document.items():
        if key.endswith(("Path", "Paths")):
            found |= {one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)}
        else:
            found |= _paths(value)
    return found


def judge_again(engine: Engine, row: ImageRow) -> None:
    """An image that was pulled under another policy: the present one judges the proof that was kept. One name under
    which it is admitted is enough. Raises Denied."""
    text, path = policy_text(engine)
    current = load(text, path)
    problem: errors.AtollError | None = None
    for reference, transport, kept in engine.store.read(
        "SELECT reference, transport, evidence FROM admissions WHERE image = ?", row.id
    ):
        try:
            _judge_kept(current, row, references.parse(reference), transport, kept, path)
        except (errors.Denied, errors.Corrupt) as error:
            problem = error
            continue
        _readmit(engine, row.id, reference, fingerprint(text))
        return
    if problem is not None:
        raise errors.Denied(
            problem.message, hint="it was pulled under another policy; pull it again to look for new signatures"
        )


def _readmit(engine: Engine, image: str, reference: str, present: str) -> None:
    values = (present, image, reference)
    engine.store.write(
        lambda connection: connection.execute(
            "UPDATE admissions SET policy = ? WHERE image = ? AND reference = ?", values
        )
    )


def _judge_kept(current: Policy, row: ImageRow, reference: Reference, where: str, kept: str, path: str) -> None:
    from atoll.trust import evidence as proofs
    from atoll.trust import judge

    transport, _, folder = where.partition(" ")
    names = _scopes(transport, reference, folder, "")
    subject = judge.Subject(reference=reference, digests=(row.target, row.manifest))

    def evidence() -> list[Evidence]:
        return [proofs.from_json(one) for one in jsontext.loads(kept)]

    judge.judge(current.requirements(transport, names), subject, evidence, path or "the default")


def _scopes(transport: str, reference: Reference, path: str, at: str) -> list[str]:
    from atoll.trust import policy

    if transport == "docker":
        return policy.scopes_of(reference)
    if transport in ("oci", "oci-archive"):
        return policy.path_scopes(os.path.realpath(path), at)
    return []
