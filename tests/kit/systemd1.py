"""A stand-in for systemd on a bus of its own: Debian's dbus-daemon, and `org.freedesktop.systemd1` on libdbus.

Holds: `FakeSystemd`, started and ended by a test. Run as a program by the system's Python (which has python3-dbus and
python3-gi) it is the service: it makes the scope's cgroup below the directory given, moves the processes there,
answers with jobs as systemd does, and notes each call as a line of JSON. The daemon checks the wire: it closes a
connection that breaks the specification. Does not hold: limits, of which the real one would do something.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={folder}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
<allow user="*"/></policy></busconfig>"""


class FakeSystemd:
    """The bus and the service; `tops` are the cgroup directories (one a hierarchy) in which units get their place."""

    def __init__(self, folder: str, tops: list[str], *, control_group: str = "") -> None:
        os.makedirs(folder, exist_ok=True)
        self.folder, self.log = folder, os.path.join(folder, "calls")
        self.address = f"unix:path={folder}/bus"
        config = os.path.join(folder, "bus.conf")
        with open(config, "w") as stream:
            stream.write(CONFIG.format(folder=folder))
        self.daemon = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"], stderr=subprocess.DEVNULL
        )
        self.service: subprocess.Popen[bytes] | None = None
        _await(f"{folder}/bus")
        os.chmod(f"{folder}/bus", 0o666)
        self.service = subprocess.Popen(
            ["/usr/bin/python3", os.path.abspath(__file__), self.address, self.log, control_group, *tops]
        )
        _await(self.log)

    def calls(self, member: str) -> list[list[Any]]:
        """What was asked of a method, in its order."""
        with open(self.log) as stream:
            lines = [json.loads(line) for line in stream]
        return [line[1:] for line in lines if line[0] == member]

    def stop(self) -> None:
        """End both."""
        for one in (self.service, self.daemon):
            if one is not None:
                one.terminate()
                one.wait(10)


def _await(path: str) -> None:
    deadline = time.monotonic() + 20
    while not os.path.exists(path):
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.02)


def serve(address: str, log: str, control_group: str, tops: list[str]) -> None:
    """The service: never returns."""
    import dbus
    import dbus.mainloop.glib
    import dbus.service
    from gi.repository import GLib

    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    bus = dbus.bus.BusConnection(address)
    manager = "org.freedesktop.systemd1.Manager"

    class Manager(dbus.service.Object):
        units: dict[str, str] = {}
        jobs = 0

        def note(self, *what: Any) -> None:
            with open(log, "a") as stream:
                stream.write(json.dumps(what) + "\n")

        def job(self, unit: str, result: str = "done") -> Any:
            self.jobs += 1
            path = dbus.ObjectPath(f"/org/freedesktop/systemd1/job/{self.jobs}")
            GLib.timeout_add(30, lambda: self.JobRemoved(self.jobs, path, unit, result))
            return path

        @dbus.service.signal(manager, signature="uoss")
        def JobRemoved(self, number: int, job: str, unit: str, result: str) -> None:
            """As systemd's."""

        @dbus.service.method(manager)
        def Subscribe(self) -> None:
            """As systemd's."""

        @dbus.service.method(manager, in_signature="ssa(sv)a(sa(sv))", out_signature="o")
        def StartTransientUnit(self, name: str, mode: str, properties: Any, others: Any) -> Any:
            """As systemd's: the cgroup, and the processes in it."""
            given = {str(key): value for key, value in properties}
            self.note("StartTransientUnit", name, mode, given)
            if name in self.units:
                raise dbus.DBusException(f"Unit {name} already exists.", name="org.freedesktop.systemd1.UnitExists")
            if "refused" in name:
                return self.job(name, "failed")
            stem, place = str(given.get("Slice", name)).removesuffix(".slice"), control_group
            parts = stem.split("-")
            for index in range(len(parts)):
                place += f"/{'-'.join(parts[: index + 1])}.slice"
            self.units[name] = place if name.endswith(".slice") else f"{place}/{name}"
            for top in tops:
                os.makedirs(top + self.units[name], exist_ok=True)
                for pid in given.get("PIDs", []):
                    with open(f"{top}{self.units[name]}/cgroup.procs", "w") as stream:
                        stream.write(str(int(pid)))
            return self.job(name)

        @dbus.service.method(manager, in_signature="ss", out_signature="o")
        def StopUnit(self, name: str, mode: str) -> Any:
            """As systemd's, but for the killing."""
            self.note("StopUnit", name)
            if self.units.pop(name, None) is None:
                raise dbus.DBusException(f"Unit {name} not loaded.", name="org.freedesktop.systemd1.NoSuchUnit")
            return self.job(name)

        @dbus.service.method(manager, in_signature="s")
        def ResetFailedUnit(self, name: str) -> None:
            """As systemd's: a unit that has failed is forgotten."""
            self.note("ResetFailedUnit", name)
            if "stale" in name:
                self.units.pop(name, None)

        @dbus.service.method(manager, in_signature="sba(sv)")
        def SetUnitProperties(self, name: str, runtime: bool, properties: Any) -> None:
            """As systemd's."""
            self.note("SetUnitProperties", name, bool(runtime), {str(key): value for key, value in properties})

        @dbus.service.method("org.freedesktop.DBus.Properties", in_signature="ss", out_signature="v")
        def Get(self, _interface: str, name: str) -> Any:
            """ControlGroup alone."""
            assert name == "ControlGroup"
            return control_group

    made = Manager(bus, "/org/freedesktop/systemd1")
    made.units["atoll-stale.scope"] = ""
    name = dbus.service.BusName("org.freedesktop.systemd1", bus)
    with open(log, "a"):
        GLib.MainLoop().run()
    del name


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
