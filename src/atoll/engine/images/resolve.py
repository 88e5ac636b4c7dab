"""From what a user calls an image to the image here."""

from __future__ import annotations

from atoll.base import errors, files
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ImageRow

_HEX = frozenset("0123456789abcdef")


def find(engine: Engine, name: str, *, platform: str | None = None) -> ImageRow | None:
    """The image by full id, name with tag or digest, or unique beginning of its id, in that order; None if it is not
    here (or here for another platform than asked for).

    Raises InvalidArgument for what is neither, and for a beginning that several have.
    """
    row = _find(engine, name) if engine.config.registries_conf is None else _find_short(engine, name)
    if row is None or platform is None:
        return row
    from atoll.spec import platform as platforms
    from atoll.spec.image import parse_config

    have = parse_config(row.config.encode(), name).platform
    return row if platforms.rank(platforms.parse(platform), have) is not None else None


def _find_short(engine: Engine, name: str) -> ImageRow | None:
    """With a registries.conf: the first of what a short name may stand for, then the name as ever."""
    from atoll.engine.images.registries import candidates

    for one in (*candidates(engine, name), name):
        row = _find(engine, one)
        if row is not None:
            return row
    return None


def _find(engine: Engine, name: str) -> ImageRow | None:
    store = engine.store
    digits = name.removeprefix("sha256:")
    is_hex = bool(digits) and _HEX.issuperset(digits) and len(digits) <= 64
    if is_hex and len(digits) == 64:
        return store.image("sha256:" + digits)
    if name.startswith("sha256:"):
        return _by_prefix(engine, digits) if is_hex else None
    try:
        reference = references.parse(name)
    except errors.InvalidArgument:
        if is_hex:
            return _by_prefix(engine, digits)
        raise
    if reference.digest is not None:
        return store.image_by_digest(reference.name, reference.digest)
    found = store.image_by_reference(reference.full)
    return found or (_by_prefix(engine, digits) if is_hex else None)


def _by_prefix(engine: Engine, digits: str) -> ImageRow | None:
    found = engine.store.images_by_prefix(digits)
    if len(found) > 1:
        raise errors.InvalidArgument(f"Multiple IDs found with provided prefix: {digits}")
    return found[0] if found else None


def need(engine: Engine, name: str) -> ImageRow:
    """The image. Raises NotFound in Docker's words."""
    row = find(engine, name)
    if row is None:
        digits = name.removeprefix("sha256:")
        shown = name if _HEX.issuperset(digits) else references.parse(name).familiar
        raise errors.NotFound(f"No such image: {shown}")
    return row


def artifact_type(row: ImageRow) -> str | None:
    """The type of an artifact, which is known by its manifest; None for an image."""
    if row.id != row.manifest:
        return None
    from atoll.base import jsontext

    return str(jsontext.loads(row.config).get("artifactType"))


# --- admission ------------------------------------------------------------------------------------------------------

_SYSTEM_POLICY = "/etc/containers/policy.json"


def policy_text(engine: Engine) -> tuple[bytes, str]:
    """The policy in force and its path; (b"", "") when there is none. The settings' own first, which must be there;
    an ordinary user's before the system's; root's is the system's alone, whatever HOME says.

    Raises NotFound, Denied.
    """
    named = engine.config.trust_policy
    home = engine.environ.get("XDG_CONFIG_HOME") or engine.environ.get("HOME", "") + "/.config"
    usual = [_SYSTEM_POLICY] if engine.uid == 0 else [home + "/containers/policy.json", _SYSTEM_POLICY]
    for path in [named] if named else usual:
        try:
            return files.read_bytes(path), path
        except FileNotFoundError:
            if named:
                raise errors.NotFound(
                    f"the policy {named} does not exist", hint="see [trust] in atoll.toml"
                ) from None
        except OSError as error:
            raise errors.from_os_error(error, "read the policy") from error
    return b"", ""


def fingerprint(text: bytes) -> str:
    """What tells one policy from another: its text, and what it names if it names files."""
    if b"Path" not in text:
        return text.decode("utf-8", "replace")
    from atoll.engine.images.admission import complete_fingerprint

    return complete_fingerprint(text)


def check_admitted(engine: Engine, row: ImageRow) -> None:
    """Before an image is used: if it was pulled under another policy than the present one, that judges it now.

    Raises Denied, and Unsupported for an artifact. Costs a file and a row when nothing changed.
    """
    if row.id == row.manifest:
        raise errors.Unsupported(
            f"{row.id[7:19]} is an artifact of type {artifact_type(row)}, not a container image",
            hint="it can be inspected, pushed and saved: atoll image inspect",
        )
    text, _ = policy_text(engine)
    known = engine.store.read("SELECT policy FROM admissions WHERE image = ?", row.id)
    if not known:
        return
    present = fingerprint(text)
    if all(policy != present for (policy,) in known):
        from atoll.engine.images.admission import judge_again

        judge_again(engine, row)
