"""A registry's repository as a source of images: its mirrors first, in their order, then the registry itself.

Holds: `Repository`, `endpoints`. Does not hold: requests (`registry.py`), settings (`settings.py`). A mirror that
lacks something, refuses, lies or is away is passed over, its failures kept as notes for the message at the end. What
is asked for by digest cannot be forged by one; which of two images a tag means, a mirror decides, so that one that
must not is told `pull = "digests"`.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.images import settings
from atoll.images.registry import Registry
from atoll.images.values import RegistryOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from atoll.images.source import Document
    from atoll.spec.reference import Reference

    T = TypeVar("T")

# What the next place may do better; anything else (the user's interrupt, a full disk) ends the pull.
_PASSED_OVER = (errors.Unavailable, errors.NotFound, errors.Denied, errors.Corrupt)


class Endpoint(Value):
    """A place to ask: host, repository there, and for what ("all", "digests", "tags")."""

    host: str
    repository: str
    insecure: bool = False
    mirror: bool = False
    pull: str = "all"

    def serves(self, at: str) -> bool:
        """Whether it is to be asked for a digest or a tag."""
        return self.pull == "all" or (self.pull == "digests") == (":" in at)


def endpoints(reference: Reference, options: RegistryOptions) -> list[Endpoint]:
    """Where a reference's content may be, mirrors first. Raises Denied for a blocked one."""
    said = settings.find(options.registries, reference.name)
    if said is None:
        return [Endpoint(host=reference.registry, repository=reference.repository)]
    if said.blocked:
        raise errors.Denied(
            f"registry {said.prefix} is blocked", hint="see [registries] in atoll.toml for who is asked for what"
        )
    wildcard = said.prefix.startswith("*.")
    rest = reference.name.removeprefix(said.prefix) if not wildcard else "/" + reference.repository
    found = [_at(one.location + rest, insecure=one.insecure, mirror=True, pull=one.pull) for one in said.mirrors]
    own = said.location + rest if said.location else reference.name
    return [*found, _at(own, insecure=said.insecure)]


def _at(name: str, *, insecure: bool, mirror: bool = False, pull: str = "all") -> Endpoint:
    host, _, repository = name.partition("/")
    return Endpoint(host=host, repository=repository, insecure=insecure, mirror=mirror, pull=pull)


class Repository:
    """`Source` over a registry and its mirrors. Safe to use from several threads."""

    def __init__(self, reference: Reference, options: RegistryOptions | None = None) -> None:
        self.reference = reference
        self.options = options or RegistryOptions()
        self.where = f"registry {reference.registry}"
        self._places = endpoints(reference, self.options)
        self._registries: dict[str, Registry] = {}
        self._stopped = False
        self._problems: list[str] = []

    def digest(self, at: str) -> str | None:
        """What a tag points at, by HEAD."""
        return self._first(at, lambda registry, repository: registry.manifest_digest(repository, at))

    def document(self, at: str) -> Document:
        """The manifest or index from the first place that has it."""
        found = self._first(at, lambda registry, repository: registry.manifest(repository, at))
        assert found is not None
        return found

    def blob(self, digest: str, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
        """Its bytes; a place that fails in the middle is gone on from at the next."""
        position = offset
        places = [one for one in self._places if one.serves(digest)] or self._places[-1:]
        for place in places:
            try:
                for at, chunk in self._registry(place).blob(place.repository, digest, position, size):
                    yield at, chunk
                    position = at + len(chunk)
                return
            except _PASSED_OVER as error:
                self._pass_over(place, error, last=place is places[-1])

    def names(self) -> tuple[str, ...]:
        """Its tags are a request away and may be many: none are told."""
        return ()

    def referrers(self, digest: str) -> Document | None:
        """The index of what refers to a manifest, of the first place that tells."""
        from atoll.images.listing import referrers

        return self._first(digest, lambda registry, repository: referrers(registry, repository, digest))

    def without_mirrors(self) -> Repository | None:
        """The registry itself as a source: a mirror's content was not what its digest says. None if there were no
        mirrors."""
        if not any(one.mirror for one in self._places):
            return None
        alone = Repository(self.reference, self.options)
        alone._places = [one for one in self._places if not one.mirror]
        return alone

    def stop(self) -> None:
        """End all requests, from another thread."""
        self._stopped = True
        for registry in list(self._registries.values()):
            registry.stop()

    def close(self) -> None:
        """Close the connections."""
        for registry in self._registries.values():
            registry.close()

    def _first(self, at: str, ask: Callable[[Registry, str], T]) -> T:
        places = [one for one in self._places if one.serves(at)] or self._places[-1:]
        for place in places:
            try:
                return ask(self._registry(place), place.repository)
            except _PASSED_OVER as error:
                self._pass_over(place, error, last=place is places[-1])
        raise errors.Internal("no place to ask")

    def _pass_over(self, place: Endpoint, error: errors.AtollError, *, last: bool) -> None:
        """Raise `error` at the last place, with what the mirrors said; else remember it."""
        if last or self._stopped:
            for problem in self._problems:
                error.add_note(problem)
            raise error
        problem = f"mirror {place.host}: {error.message}"
        if problem not in self._problems:
            self._problems.append(problem)

    def _registry(self, place: Endpoint) -> Registry:
        known = self._registries.get(place.host)
        if known is None:
            options = self.options
            if place.mirror:  # the next place is tried sooner than the same one for a fifth time
                options = options.replace(attempts=min(options.attempts, 2), credentials=None)
            known = Registry(place.host, options, insecure=place.insecure)
            known = self._registries.setdefault(place.host, known)
        return known
