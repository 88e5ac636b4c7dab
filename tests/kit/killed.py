"""`atoll-runtime` that ends by SIGKILL at a chosen point: run as a program with POINT COUNT, then its arguments; with
`--cli` before them it is `atoll`.

Holds: the points, which are functions; the process dies just before (`before:`) or just after
(`after:`) the COUNT-th call of one. With `inner:` before that it is not the creator that dies but its child that
makes the call: the container's init, or an exec's newcomer. Does not hold: what is to be found afterwards.
"""

from __future__ import annotations

import os
import signal
import sys

POINTS = {
    "note": "atoll.runtime.state:note_creating",
    "cgroup": "atoll.runtime.cgroups.cgroup:Cgroup.create",
    "clone": "atoll.linux.process:clone3",
    "join": "atoll.runtime.cgroups.cgroup:Cgroup.add",
    "send": "atoll.runtime.sync:send",
    "receive": "atoll.runtime.sync:receive",
    "record": "atoll.runtime.state:write",
    "unlink": "os:unlink",
    "pidfile": "atoll.base.files:write_atomic",
    "kill": "atoll.runtime.cgroups.cgroup:Cgroup.kill",
    "remove": "atoll.runtime.cgroups.cgroup:Cgroup.delete",
    "tree": "atoll.base.files:remove_tree",
    "signal": "atoll.linux.process:pidfd_send_signal",
    "pivot": "atoll.linux.mount:pivot_root",
    "mount": "atoll.linux.mount:move_mount",
    "unshare": "atoll.linux.process:unshare",
    "hook": "atoll.runtime.hooks:run",
    "execute": "atoll.runtime.program:execute",
    # Networks, of a command:
    "addresses": "atoll.engine.networks.rows:claim",
    "ports": "atoll.engine.networks.rows:take_ports",
    "bridge": "atoll.network.bridge:ensure",
    "attach": "atoll.network.bridge:attach",
    "rules": "atoll.linux.nftables:commit",
    "links": "atoll.linux.netlink:Netlink.send",
    "tell": "atoll.engine.networks.helpers:tell",
    "withdraw": "atoll.engine.networks.release:withdraw",
    "forget": "atoll.network.bridge:forget",
    "rows": "atoll.engine.networks.rows:give_back",
}


def main(argv: list[str]) -> int:
    """Patch, then be the runtime."""
    inner = argv[0].startswith("inner:")
    when, _, point = argv[0].removeprefix("inner:").partition(":")
    wanted, calls, me = int(argv[1]), 0, os.getpid()
    module, _, path = POINTS[point].partition(":")
    __import__(module)
    holder = sys.modules[module]
    *outer, name = path.split(".")
    for part in outer:
        holder = getattr(holder, part)
    original = getattr(holder, name)

    def dying(*args: object, **named: object) -> object:
        nonlocal calls
        if (os.getpid() != me) is not inner:
            return original(*args, **named)
        calls += 1
        if calls == wanted and when == "before":
            signal.raise_signal(signal.SIGKILL)
            os._exit(99)  # the first of a pid namespace, which its own signals do not end
        result = original(*args, **named)
        if calls == wanted and (os.getpid() != me) is inner:
            signal.raise_signal(signal.SIGKILL)
            os._exit(99)
        return result

    bound = outer and hasattr(original, "__self__")  # a class method
    setattr(holder, name, staticmethod(dying) if bound else dying)
    if argv[2] == "--cli":
        from atoll.cli import main as command

        return command.main(argv[3:])
    from atoll.runtime import main as runtime
    from atoll.runtime import quick

    quick.is_sealed = lambda: True  # nothing hostile runs here, and a new program would lose the patch
    return runtime.main(argv[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
