"""User namespaces of one id, entered by an ordinary process of one thread."""

import os

from atoll.linux import userns
from atoll.spec import idmap
from unit.linux.clones import in_clone


def test_the_root_of_a_namespace_of_one_id():
    uid, gid = os.geteuid(), os.getegid()

    def enter():
        userns.enter(**idmap.single(uid, gid).ways())
        with open("/proc/self/uid_map") as uids, open("/proc/self/setgroups") as groups:
            return os.getresuid(), os.getresgid(), uids.read().split(), groups.read().strip()

    assert in_clone(enter) == str(((0, 0, 0), (0, 0, 0), ["0", str(uid), "1"], "deny"))
