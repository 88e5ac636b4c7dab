"""An image for another kind of machine: whether this one can run it, and if not, what is missing.

Holds: `check`. Loaded only for such an image. Source: Linux Documentation/admin-guide/binfmt-misc.rst.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.spec import platform as platforms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.platform import Platform

BINFMT = "/proc/sys/fs/binfmt_misc"
# GOARCH to qemu's name of the machine.
_QEMU = {
    "amd64": "x86_64", "386": "i386", "arm64": "aarch64", "arm": "arm", "ppc64le": "ppc64le", "s390x": "s390x",
    "riscv64": "riscv64", "mips64le": "mips64el", "loong64": "loongarch64",
}  # fmt: skip


def check(
    image: Platform,
    *,
    asked: str | None,
    seccomp: str = "unconfined",
    host: Platform | None = None,
    binfmt: str = BINFMT,
) -> list[str]:
    """Warnings to give for an image of this platform. Raises Unsupported where nothing here can run it, saying what
    would."""
    here = host or platforms.host()
    if image.os not in ("linux", "unknown", ""):
        raise errors.Unsupported(f"the image is for {image.os}, and this host is {here}", hint="another --platform?")
    if image.architecture in ("unknown", "") or image.architecture == here.architecture:
        return []
    if (here.architecture, image.architecture) in (("amd64", "386"), ("arm64", "arm")):
        if seccomp == "default":
            raise errors.Unsupported(
                f"the image is for {image}, whose 32-bit entry points into the kernel the default profile keeps shut",
                hint="open them: --security-opt allow_32bit",
            )
        return []
    _emulated(image, here, binfmt)
    if asked is not None:
        return []
    return [
        f"The requested image's platform ({image}) does not match the detected host platform ({here}) and no "
        "specific platform was requested"
    ]


def _emulated(image: Platform, here: Platform, binfmt: str) -> None:
    name = _QEMU.get(image.architecture, image.architecture)
    missing = errors.Unsupported(
        f"the image is for {image}, this machine is {here}, and no emulator for {image.architecture} is registered "
        "with the kernel",
        hint="install one (Debian: apt-get install qemu-user-static binfmt-support), or take another image",
    )
    try:
        with open(f"{binfmt}/qemu-{name}") as file:
            lines = file.read().splitlines()
    except OSError:
        raise missing from None
    if not lines or lines[0] != "enabled":
        raise errors.Unsupported(
            f"the image is for {image}; the emulator qemu-{name} is registered but switched off",
            hint=f"run as root: echo 1 > {os.path.join(binfmt, 'qemu-' + name)}",
        )
    flags = next((line.removeprefix("flags:").strip() for line in lines if line.startswith("flags:")), "")
    if "F" not in flags:
        raise errors.Unsupported(
            f"the image is for {image}; the emulator qemu-{name} is registered without the flag F, so that it is "
            "looked for in the container, which does not have it",
            hint="register it again with F (package qemu-user-static does)",
        )
