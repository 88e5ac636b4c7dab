"""A program that the image tests run in processes of their own: pull, list a mounted image, be a `host` container.

    pull REFERENCE ROOT          pull into ROOT/content and ROOT/snapshots as the calling user; JSON on stdout
    tree ROOT CHAIN…             mount the overlay of these layers (bottom first) and list it; JSON on stdout
    remove ROOT CHAIN…           remove the layers
    host CWD SCRIPT              run a shell script in the root of the `host` image, as the runtime would build it

`host` and `tree` follow the runtime's order: sources pinned, clone, maps written from outside, root of the namespace.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys

from atoll.base import errors
from atoll.images import host
from atoll.images.content import ContentStore
from atoll.linux import mount as m
from atoll.linux import process, userns
from atoll.runtime import pin, rootfs
from atoll.snapshots.store import Snapshots
from atoll.spec import idmap, reference
from atoll.spec.rootfs import RootPlan


def main(argv: list[str]) -> int:
    verb, *rest = argv
    try:
        return {"pull": pull, "tree": tree, "remove": remove, "host": run_host}[verb](*rest)
    except errors.AtollError as error:
        print(f"{error.kind}: {error}", file=sys.stderr)
        return 125


def stores(root: str) -> tuple[ContentStore, Snapshots]:
    return ContentStore(root + "/content"), Snapshots(root + "/snapshots", idmap.for_user(os.getuid()))


def pull(text: str, root: str) -> int:
    from atoll.images.pull import pull as pull_image
    from atoll.images.values import RegistryOptions

    store, snapshots = stores(root)
    image = pull_image(
        reference.parse(text),
        store=store,
        snapshots=snapshots,
        options=RegistryOptions(auth_files=(), attempts=3, backoff=0.05),
    )
    print(
        json.dumps(
            {
                "fetched": image.fetched,
                "size": image.size,
                "chains": image.chain_ids,
                "config": image.config_digest,
                "manifest": image.manifest_digest,
            }
        )
    )
    return 0


def tree(root: str, *chains: str) -> int:
    _, snapshots = stores(root)
    plan = snapshots.plan(chains)
    target = root + "/mounted"
    os.makedirs(target, exist_ok=True)
    return in_namespace(
        RootPlan(steps=(plan,)), snapshots.idmap, target, lambda: print(json.dumps(listing(target))) or 0
    )


def remove(root: str, *chains: str) -> int:
    _, snapshots = stores(root)
    for chain in chains:
        snapshots.remove_layer(chain)
    return 0


def run_host(cwd: str, script: str) -> int:
    plan = host.plan(cwd=cwd, uid=os.getuid())
    place = os.environ.get("ATOLL_TEST_PLACE", "/media")

    def inside() -> int:
        os.chroot(place)
        os.chdir(plan.working_dir)
        os.execv("/bin/sh", ["sh", "-c", script])

    return in_namespace(plan.root, plan.idmap, place, inside)


def in_namespace(plan: RootPlan, maps: idmap.RootlessMap | None, place: str, inside) -> int:
    """Run `inside` in a child where the plan is mounted at `place`, with the given maps (None: no namespace)."""
    held: list[int] = []
    if os.getuid() == 0:
        plan = pin.pin_root(plan, pin.Detached(held))
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            process.unshare(process.CLONE_NEWNS | (process.CLONE_NEWUSER if maps else 0))
            os.write(ready_write, b"x")
            os.read(go_read, 1)
            target = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            if maps and not held:
                plan = pin.pin_root(plan, pin.Opened(held))
            if maps:
                if not maps.single:
                    os.setgroups([])
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
            m.set_propagation("/", m.MS_REC | m.MS_PRIVATE)
            rootfs.build_root(plan, place, target)
            code = inside()
            sys.stdout.flush()
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.read(ready_read, 1)
    if maps:
        userns.write_maps(
            child,
            [(one.inside, one.outside, one.count) for one in maps.uid_map],
            [(one.inside, one.outside, one.count) for one in maps.gid_map],
            newuidmap=maps.newuidmap,
            newgidmap=maps.newgidmap,
            deny_setgroups=maps.single,
        )
    os.write(go_write, b"x")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def listing(top: str, *, devices: bool = True) -> dict[str, list[object]]:
    """path → [type and mode, owner, group, time, links, content or target or device, attributes]."""
    found: dict[str, list[object]] = {}
    for folder, dirs, names in os.walk(top):
        for name in [*dirs, *names] + ([""] if folder == top else []):
            path = os.path.join(folder, name).rstrip("/")
            info = os.lstat(path)
            if not devices and not (
                stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode) or stat.S_ISLNK(info.st_mode)
            ):
                continue
            content: object = None
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as stream:
                    content = hashlib.sha256(stream.read()).hexdigest()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            elif not stat.S_ISDIR(info.st_mode):
                content = info.st_rdev
            links = info.st_nlink if not stat.S_ISDIR(info.st_mode) else 0
            attributes = {
                a: os.getxattr(path, a, follow_symlinks=False).hex()
                for a in os.listxattr(path, follow_symlinks=False)
                if not a.startswith(("trusted.", "user.containers.", "user.overlay."))
            }
            found[path[len(top) :] or "/"] = [
                info.st_mode,
                info.st_uid,
                info.st_gid,
                int(info.st_mtime),
                links,
                content,
                attributes,
            ]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
