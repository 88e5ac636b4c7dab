"""The plan of a container in its durable directory: what a later `start` carries out again.

Holds: `save`, `load`, `is_whole`. The file is written last when a container is made, so its being there says that
everything else is. One that goes with its end has it in its run directory instead, for `restart`.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.isolation.protocol import ContainerPlan, EventPlan, HealthPlan, LogPlan
from atoll.monitor.requests import MachinePlan
from atoll.spec import codec
from atoll.spec.rootfs import RootPlan
from atoll.spec.runtime import Spec

PLAN = "plan.json"
_PLAIN = ("id", "bundle", "run", "terminal", "stdin", "stdin_stays", "cache")


def save(plan: ContainerPlan, directory: str | None = None) -> None:
    """Write the plan into its bundle, or into another directory. Raises OSError."""
    document = {name: getattr(plan, name) for name in _PLAIN}
    document["spec"] = plan.spec.to_json()
    document["root"] = plan.root.to_json() if plan.root else None
    document["log"] = codec.dump(plan.log)
    document["on_exit"] = list(plan.on_exit)
    document["helpers"] = list(plan.helpers) if plan.helpers else None
    document["health"] = codec.dump(plan.health) if plan.health else None
    document["events"] = codec.dump(plan.events) if plan.events else None
    document["runtime"] = list(plan.runtime)
    document["machine"] = codec.dump(plan.machine) if plan.machine else None
    files.write_atomic(f"{directory or plan.bundle}/{PLAN}", jsontext.dumps(document))


def load(bundle: str) -> ContainerPlan:
    """The plan in a bundle. Raises NotFound, Corrupt."""
    try:
        document = jsontext.loads(files.read_bytes(f"{bundle}/{PLAN}"))
        helpers, health, events = document["helpers"], document.get("health"), document.get("events")
        machine = document.get("machine")
        return ContainerPlan(
            **{name: document[name] for name in _PLAIN},
            spec=_again(bundle, Spec.from_json(document["spec"])),
            root=RootPlan.from_json(document["root"]) if document["root"] else None,
            log=codec.parse(LogPlan, document["log"], "log"),
            on_exit=tuple(document["on_exit"]),
            helpers=(helpers[0], helpers[1]) if helpers else None,
            health=codec.parse(HealthPlan, health, "health") if health else None,
            events=codec.parse(EventPlan, events, "events") if events else None,
            runtime=tuple(document.get("runtime", ())),
            machine=codec.parse(MachinePlan, machine, "machine") if machine else None,
        )
    except FileNotFoundError:
        raise errors.NotFound(f"no plan in {bundle}") from None
    except (ValueError, KeyError, TypeError, errors.InvalidArgument) as error:
        raise errors.Corrupt(f"the plan in {bundle} is damaged: {error}") from None


def _again(bundle: str, spec: Spec) -> Spec:
    """A volume is filled from the image once, when its container is first launched: not again when it was emptied."""
    if not any("copyup" in mount.options for mount in spec.mounts) or not os.path.exists(f"{bundle}/launched"):
        return spec
    mounts = [
        mount.replace(options=tuple([option for option in mount.options if option != "copyup"]))
        for mount in spec.mounts
    ]
    return spec.replace(mounts=tuple(mounts))


def is_whole(bundle: str) -> bool:
    """Whether the container was made to the end."""
    return os.path.exists(f"{bundle}/{PLAN}")
