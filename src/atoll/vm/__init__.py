"""Virtual machines: kernels, machine monitors (VMMs) and what they boot, each as data before it is carried out.

Holds: the driver protocol and QEMU behind it, kernels that are installed, the closure that guests and jails are made
of, templates. Does not hold: what runs inside a guest or beside a VMM (`guest`), which container gets a machine
(`isolation/vm.py`), networks.
May import: spec, linux, base.
Start reading at: `machine.py`, then `qemu.py`; docs/vm.md explains the whole to users.
"""
