"""A seccomp profile from a file: Docker's format (the runtime-spec's, with `archMap`, `includes`, `excludes`)."""

from __future__ import annotations

from atoll.base import errors, files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import Seccomp


def read_profile(path: str) -> Seccomp:
    """Parse a profile. Raises NotFound, InvalidArgument; Unsupported for conditional rules of Docker's format."""
    from atoll.spec import codec
    from atoll.spec.runtime import Seccomp

    try:
        document = jsontext.loads(files.read_bytes(path))
    except OSError as error:
        raise errors.from_os_error(error, "read the seccomp profile") from error
    except ValueError as error:
        raise errors.InvalidArgument(f"seccomp profile {path}: {error}") from None
    if isinstance(document, dict):
        for rule in document.get("syscalls") or ():
            if isinstance(rule, dict) and (rule.get("includes") or rule.get("excludes")):
                raise errors.Unsupported(
                    f"seccomp profile {path}: rules with 'includes' or 'excludes'",
                    hint="give a profile in the runtime-spec's own form",
                )
    return codec.parse(Seccomp, document, f"seccomp profile {path}")
