"""Another machine on this one: Debian's user-mode-linux, an older kernel (6.1) with pure cgroup v2.

`machine.py` boots it, `guest.py` is its first process. From the shell:

    python -m tests.uml.machine -- cat /sys/fs/cgroup/cgroup.controllers
"""
