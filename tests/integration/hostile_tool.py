"""Unpacks archives as the calling user, each in the caged process that a pull uses; tells what came of each.

hostile_tool.py FOLDER COUNT     FOLDER/N.tar → FOLDER/store/…; JSON on stdout: "" and the tree, or the refusal
"""

from __future__ import annotations

import json
import os
import sys

from atoll.base import errors
from atoll.snapshots import policy
from atoll.snapshots.store import Snapshots
from atoll.snapshots.worker import Worker
from atoll.spec import idmap


def main(folder: str, count: str) -> int:
    mapping = idmap.for_user(os.getuid())
    snapshots = Snapshots(f"{folder}/store", mapping)
    rules = policy.for_map(rootless=mapping is not None, single=bool(mapping and mapping.single), bottom=False)
    answers = []
    worker = Worker(mapping, unpacks=True)
    for number in range(int(count)):
        staging = snapshots.prepare_layer("sha256:" + f"{number:064x}")
        answer = {"place": staging.fs, "refused": "", "opaque": rules.opaque_xattr}
        blob = os.open(f"{folder}/{number}.tar", os.O_RDONLY)
        root = os.open(staging.fs, os.O_RDONLY | os.O_DIRECTORY)
        size = os.fstat(blob).st_size
        try:
            worker.unpack(
                blob, size, root, rules, path=staging.fs, held=staging.lock_fd, available=lambda size=size: size
            )
        except errors.AtollError as error:
            answer["refused"] = f"{error.kind}: {error.message}"
            worker.kill()
            worker = Worker(mapping, unpacks=True)
        finally:
            os.close(blob)
            os.close(root)
        answers.append(answer)
    worker.close()
    print(json.dumps(answers))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
