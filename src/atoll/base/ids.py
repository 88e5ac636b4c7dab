"""Identifiers and names: container ids, the names users see, and what is legal in them."""

from __future__ import annotations

import os

_ADJECTIVES = (
    "amber ancient ardent azure balmy blithe bold brave breezy bright brisk calm candid careful cheerful clear "
    "clever coastal coral cosy curious daring deft dreamy eager early earnest easy fair fleet fond frank fresh "
    "gentle gifted glad golden graceful grand happy hardy hidden honest humble jolly keen kind lively loyal lucid "
    "lucky mellow merry mild misty modest nimble noble patient placid polite proud quick quiet ready serene sharp "
    "shiny silent simple sleek smooth solid steady still stout sunny swift tender tidal tidy tranquil trusty "
    "upbeat vivid warm wise witty young zesty"
).split()
_NOUNS = (
    "albatross anchor anemone atoll bay beacon boat bonito breaker breeze buoy canoe cape cay clam cockle conch "
    "cove crab current cuttle dolphin dory driftwood dugong dune egret estuary ferry fjord foam frigate galleon "
    "gannet grouper gull gust haddock harbour heron isle islet jetty kelp keel lagoon lighthouse limpet lobster "
    "mangrove manta marlin mast moray mussel narwhal nautilus oar octopus osprey oyster palm pearl pelican petrel "
    "pier pilot plover porpoise prawn puffin quay raft reef sail sandbar schooner seal shoal skiff spray starfish "
    "strait surf swell tern tide trawler turtle urchin wave whale wharf yawl"
).split()

NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def new_id() -> str:
    """A fresh container id: 64 hex digits, never all decimal in its first twelve (Docker refuses those: they
    would read as a number where a hostname is made of them)."""
    while True:
        candidate = os.urandom(32).hex()
        if not candidate[:12].isdecimal():
            return candidate


def short_id(full: str) -> str:
    """The twelve digits shown to people; a `sha256:` in front is dropped."""
    return full.removeprefix("sha256:")[:12]


def random_name() -> str:
    """A name like `quiet_heron`. Not unique: the store decides, the caller tries again."""
    first, second = os.urandom(2), os.urandom(2)
    adjective = _ADJECTIVES[int.from_bytes(first, "big") % len(_ADJECTIVES)]
    return f"{adjective}_{_NOUNS[int.from_bytes(second, 'big') % len(_NOUNS)]}"


def valid_name(name: str) -> bool:
    """Whether `name` may name a container or volume: Docker's `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 255."""
    return 2 <= len(name) <= 255 and name[0] not in "_.-" and all(c in NAME_CHARACTERS for c in name)
