"""Control groups: v1, hybrid and v2 behind one object.

Holds: finding what the host has (`detect.py`), turning the runtime-spec's resources into writes (`v1.py`, `v2.py`,
pure), device rules (`devices.py`, and `devicebpf.py` which compiles them for v2), carrying the writes out
(`settings.py`), trees of cgroups: list, freeze, kill, remove (`tree.py`), numbers (`stats.py`); having systemd make
them (`systemd.py`, `units.py`, `dbus.py`).
Does not hold: which limits a container gets (engine).
May import: spec, linux, base.
Start reading at: `cgroup.py`, `Cgroup.create`.

    Hierarchy (detect)  +  path  ─►  directories (paths)  ─►  mkdir, cpuset, settings, devices  ─►  add(pid)

Nothing here follows a link: cgroup file systems hold none, mount points come from mountinfo, and a path with
`..` is refused before it is joined to one.
"""
